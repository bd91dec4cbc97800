"""A service whose models lie in an object store, on a real S3 server, while that changes and fails."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cameo.store import publish, set_default, withdraw
from cameo.store.bucket import Bucket
from cameo.store.manifest import Draft
from cameo.store.reader import CARD, StoredVersion, read_version
from tests.s3 import S3
from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import PHOTO
from tests.service.server import Server, problem, serve, until

PAYLOAD = {"Content-Type": "application/vnd.cameo"}


def copy(stored: StoredVersion, url: str) -> StoredVersion:
    """Publish a version again, elsewhere: its weights have another name there, so its tag is another one."""
    return publish(
        url, Draft(**stored.manifest.model_dump(exclude={"weights"})), weights=stored.weights.read_bytes(),
        dtype=stored.manifest.weights.dtype, card=(stored.folder / CARD).read_text(), check=lambda stored: None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def versions(tiny_store: Path) -> list[StoredVersion]:
    """Two versions of tiny-vae, in a folder."""
    return [read_version(tiny_store / "tiny-vae" / number) for number in "12"]


@pytest.fixture(scope="module")
def url(s3_process: S3) -> Iterator[str]:
    """The store of all these tests, each of which leaves one version in it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_process.environment.items():
            patch.setenv(name, value)
        yield s3_process.url("service")


@pytest.fixture(scope="module")
def first(url: str, versions: list[StoredVersion]) -> StoredVersion:
    """That version."""
    return copy(versions[0], url)


@pytest.fixture(scope="module")
def server(first: StoredVersion, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("service")
    with serve(folder / "log", store=url, cache=folder / "cache", workers=2, store_poll_seconds=0.1) as server:
        yield server


def ready(server: Server) -> Any:
    answer = server.client.get("/readyz")
    assert answer.is_success, answer.text
    return answer.json()


def compress(client: httpx.Client) -> bytes:
    answer = client.post("/compress", content=PHOTO, headers=TAKE_PAYLOAD)
    assert answer.status_code == 200, answer.text
    return answer.content


def reconstruct(client: httpx.Client, payload: bytes) -> httpx.Response:
    return client.post("/reconstruct", content=payload, headers=PAYLOAD)


def test_what_is_published_chosen_and_withdrawn_is_followed(
    server: Server, url: str, versions: list[StoredVersion], first: StoredVersion
) -> None:
    assert ready(server)["models"] == ["tiny-vae/1"]
    old = compress(server.client)
    second = copy(versions[1], url)
    until(lambda: ready(server)["models"] == ["tiny-vae/1", "tiny-vae/2"])
    new = compress(server.client)
    assert [old[1:3], new[1:3]] == [first.tag, second.tag]
    assert reconstruct(server.client, old).is_success
    set_default(url, "tiny-vae", 1)
    until(lambda: compress(server.client)[1:3] == first.tag)
    withdraw(url, ("tiny-vae", 2))
    until(lambda: ready(server)["models"] == ["tiny-vae/1"])
    problem(reconstruct(server.client, new), "unknown-tag", 422)
    assert server.metric("cameo_store_problem") == 0


def test_a_version_without_its_weights_is_refused_by_name(
    server: Server, url: str, versions: list[StoredVersion], first: StoredVersion
) -> None:
    Bucket(url).put("tiny-vae/3/manifest.json", (versions[1].folder / "manifest.json").read_bytes())
    until(lambda: ready(server)["refused"] != [])
    reasons = [one["reason"] for one in server.client.get("/models").json()["refused"]]
    assert reasons == ["The manifest is of tiny-vae version 2."]
    edited = versions[1].manifest.model_copy(update={"version": 3})
    Bucket(url).put("tiny-vae/3/manifest.json", edited.to_json())
    until(lambda: "model.safetensors: there is no such object." in server.client.get("/models").text)
    assert server.metric("cameo_refused_version_info", model="tiny-vae", version="3") == 1
    assert compress(server.client)[1:3] == first.tag
    withdraw(url, ("tiny-vae", 3))
    until(lambda: ready(server)["refused"] == [])


def test_credentials_that_expire_are_visible_and_nothing_stops(server: Server, s3_process: S3) -> None:
    before = compress(server.client)
    s3_process.refuse(True)
    try:
        until(lambda: "refuses the credentials" in str(ready(server)["store_problem"]))
        until(lambda: server.metric("cameo_store_problem") == 1)
        assert compress(server.client) == before
    finally:
        s3_process.refuse(False)
    until(lambda: ready(server)["store_problem"] is None)
    until(lambda: server.metric("cameo_store_problem") == 0)
    assert server.log.count("refuses the credentials") == 1


def test_an_outage_is_visible_and_nothing_stops(
    server: Server, s3_process: S3, url: str, versions: list[StoredVersion]
) -> None:
    before = compress(server.client)
    s3_process.kill()
    try:
        until(lambda: "does not answer" in str(ready(server)["store_problem"]))
        until(lambda: server.metric("cameo_store_problem") == 1)
        assert compress(server.client) == before
    finally:
        s3_process.start()  # with none of its objects
    until(lambda: "lost all its versions" in str(ready(server)["store_problem"]))
    assert copy(versions[0], url).tag == before[1:3]
    until(lambda: ready(server)["store_problem"] is None)
    second = copy(versions[1], url)
    until(lambda: ready(server)["models"] == ["tiny-vae/1", "tiny-vae/2"])
    assert compress(server.client)[1:3] == second.tag


@pytest.mark.usefixtures("url")
def test_a_bucket_that_is_not_there_is_named_at_the_start(s3_process: S3, tmp_path: Path) -> None:
    with serve(
        tmp_path / "log", lambda answer: "There is no bucket" in answer.text, store="s3://nobody/store",
        cache=tmp_path / "cache", store_poll_seconds=0.1,
    ) as server:  # fmt: skip
        assert server.client.get("/readyz").status_code == 503
        assert "There is no bucket for s3://nobody/store; correct the name" in server.log
        httpx.put(f"{s3_process.endpoint}/nobody").raise_for_status()
        until(lambda: "no usable version" in server.client.get("/readyz").json()["reason"])


def test_another_scheme_stops_the_start() -> None:
    env = os.environ | {"CAMEO_STORE": "ftp://server/store"}
    done = subprocess.run([sys.executable, "-m", "app"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ftp://server/store is no model store: give a folder, or one of s3://bucket/prefix" in done.stderr
