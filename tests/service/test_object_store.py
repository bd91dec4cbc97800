"""A service whose models lie in an object store, on a real S3 server, while that changes and fails."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import cameo
from cameo.store import open_store, publish, set_default, withdraw
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


@pytest.fixture
def url(s3: S3, tmp_path: Path) -> str:
    """A store of this test's own."""
    return s3.url(tmp_path.name)


@pytest.fixture
def first(url: str, versions: list[StoredVersion]) -> StoredVersion:
    """The one version that is in it."""
    return copy(versions[0], url)


@pytest.fixture
def server(first: StoredVersion, url: str, tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path / "log", store=url, cache=tmp_path / "cache", workers=2, store_poll_seconds=0.1) as server:
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
    bucket = Bucket(url)
    bucket.put("tiny-vae/2/manifest.json", (versions[1].folder / "manifest.json").read_bytes())
    until(lambda: "no such object" in str(ready(server)["refused"]))
    assert server.metric("cameo_refused_version_info", model="tiny-vae", version="2") == 1
    assert compress(server.client)[1:3] == first.tag


def test_credentials_that_expire_are_visible_and_nothing_stops(server: Server, s3: S3) -> None:
    before = compress(server.client)
    s3.refuse(True)
    try:
        until(lambda: "refuses the credentials" in str(ready(server)["store_problem"]))
        assert server.metric("cameo_store_problem") == 1
        assert compress(server.client) == before
    finally:
        s3.refuse(False)
    until(lambda: ready(server)["store_problem"] is None)
    assert server.metric("cameo_store_problem") == 0
    assert server.log.count("refuses the credentials") == 1


def test_an_outage_is_visible_and_nothing_stops(
    server: Server, s3: S3, url: str, versions: list[StoredVersion]
) -> None:
    before = compress(server.client)
    s3.kill()
    try:
        until(lambda: "does not answer" in str(ready(server)["store_problem"]))
        assert server.metric("cameo_store_problem") == 1
        assert compress(server.client) == before
    finally:
        s3.start()  # with none of its objects
    until(lambda: "lost all its versions" in str(ready(server)["store_problem"]))
    assert copy(versions[0], url).tag == before[1:3]
    until(lambda: ready(server)["store_problem"] is None)
    second = copy(versions[1], url)
    until(lambda: ready(server)["models"] == ["tiny-vae/1", "tiny-vae/2"])
    assert compress(server.client)[1:3] == second.tag


def test_a_bucket_that_is_not_there_is_named_at_the_start(s3: S3, tmp_path: Path) -> None:
    with serve(
        tmp_path / "log", lambda answer: "There is no bucket" in answer.text, store="s3://nobody/store",
        cache=tmp_path / "cache", store_poll_seconds=0.1,
    ) as server:  # fmt: skip
        assert server.client.get("/readyz").status_code == 503
        assert "There is no bucket for s3://nobody/store." in server.log
        httpx.put(f"{s3.endpoint}/nobody").raise_for_status()
        until(lambda: "no usable version" in server.client.get("/readyz").json()["reason"])


def test_another_scheme_stops_the_start() -> None:
    env = os.environ | {"CAMEO_STORE": "ftp://server/store"}
    done = subprocess.run([sys.executable, "-m", "app"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ftp://server/store is no model store: give a folder, or one of s3://bucket/prefix" in done.stderr


@pytest.mark.usefixtures("first")
def test_the_library_and_the_command_take_a_url(url: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PHOTO)
    with cameo.open(url) as c:
        payload = c.compress(photo).payload
        assert repr(c).startswith(f"<Cameo on {url}, ")
    out = tmp_path / "face.cameo"
    command = [sys.executable, "-m", "cameo.cli", "compress", str(photo), "-o", str(out), "--store", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == payload
    nobody = [*command[:-1], "s3://nobody-else/store"]
    done = subprocess.run(nobody, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "There is no bucket for s3://nobody-else/store." in done.stderr


@pytest.mark.usefixtures("first")
def test_choosing_and_withdrawing_by_command(url: str) -> None:
    def training(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "training", *words, "--store", url]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    chosen = training("default", "tiny-vae/1")
    assert chosen.stdout == '{"default_versions":{"tiny-vae":1}}\n', chosen.stderr
    refused = training("withdraw", "tiny-vae/1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "error: tiny-vae/1 is a default in store.json: make another one the default first." in refused.stderr
    assert list(open_store(url).look()[0]) == [("tiny-vae", 1)]
    assert "is no version: give NAME/VERSION" in training("withdraw", "tiny-vae/x").stderr
