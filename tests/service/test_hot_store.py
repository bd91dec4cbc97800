"""A store that changes while the service answers."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cameo import codec
from cameo.store import StoredVersion, read_version
from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import PHOTO
from tests.service.server import PATIENCE, Server, problem, serve, until
from tests.tiny import publish_tiny

PAYLOAD = {"Content-Type": "application/vnd.cameo"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    publish_tiny(root, "tiny-vae", seed=1)
    return root


@pytest.fixture
def server(store: Path, tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path / "log", store=store, workers=2, store_poll_seconds=0.1) as server:
        yield server


def compress(client: httpx.Client) -> tuple[str, bytes]:
    """The name and version of the model that made it, and the payload of the photo."""
    answer = client.post("/compress", content=PHOTO, headers=TAKE_PAYLOAD)
    assert answer.status_code == 200, answer.text
    made_by = re.match(r'name="(.+)", version=(\d+),', answer.headers["Cameo-Model"])
    assert made_by
    return "/".join(made_by.groups()), answer.content


def reconstruct(client: httpx.Client, payload: bytes) -> bytes:
    answer = client.post("/reconstruct", content=payload, headers=PAYLOAD)
    assert answer.status_code == 200, answer.text
    return answer.content


def default_version(server: Server) -> int:
    version = server.client.get("/models/tiny-vae").json()["default_version"]
    assert isinstance(version, int)
    return version


def refusals(server: Server) -> dict[int, str]:
    return {one["version"]: one["reason"] for one in server.client.get("/models").json()["refused"]}


@contextmanager
def clients(server: Server, count: int = 3) -> Iterator[list[tuple[str, bytes]]]:
    """Clients that ask all the time; each of their answers has to be good. Gives the versions and pictures so far."""
    answers: list[tuple[str, bytes]] = []
    failures: list[BaseException] = []
    enough = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=PATIENCE) as client:
            try:
                while not enough.is_set():
                    model, payload = compress(client)
                    answers.append((model, reconstruct(client, payload)))
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        enough.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not failures, failures


def publish_aside(store: Path, seed: int) -> StoredVersion:
    """The next version of tiny-vae, beside the store, as if it came from another machine."""
    aside = store.with_name("aside")
    shutil.copytree(store, aside, dirs_exist_ok=True)
    return publish_tiny(aside, "tiny-vae", seed)


def test_a_new_version_serves_without_a_dropped_request(server: Server, store: Path) -> None:
    model, old = compress(server.client)
    assert model == "tiny-vae/1"
    drawn = reconstruct(server.client, old)
    with clients(server) as answers:
        until(lambda: len(answers) >= 3)
        publish_tiny(store, "tiny-vae", seed=2)
        until(lambda: default_version(server) == 2)
        seen = len(answers)
        until(lambda: len(answers) >= seen + 6)
    one_picture_each = dict(answers)
    assert set(answers) == set(one_picture_each.items())
    assert sorted(one_picture_each) == ["tiny-vae/1", "tiny-vae/2"]
    assert answers[-1][0] == "tiny-vae/2"
    assert one_picture_each[model] == drawn
    assert reconstruct(server.client, old) == drawn
    assert server.metric("cameo_model_info", model="tiny-vae") == 2
    assert server.metric("cameo_loaded_models", model="tiny-vae") == 2
    assert server.metric("cameo_store_changes_total", outcome="taken") == 2
    assert server.client.get("/readyz").json()["models"] == ["tiny-vae/1", "tiny-vae/2"]


def test_store_json_and_removed_versions_are_followed(server: Server, store: Path) -> None:
    removed = publish_tiny(store, "tiny-vae", seed=2)
    until(lambda: default_version(server) == 2)
    _, payload = compress(server.client)
    with clients(server) as answers:
        (store / "store.json").write_text('{"default_versions": {"tiny-vae": 1}}')
        until(lambda: default_version(server) == 1)
        until(lambda: {model for model, _ in answers[-20:]} == {"tiny-vae/1"})  # nobody has a payload of the other
        shutil.rmtree(removed.folder)
        until(lambda: len(server.client.get("/models/tiny-vae").json()["versions"]) == 1)
        until(lambda: refusals(server) == {})
    answer = server.client.post("/reconstruct", content=payload, headers=PAYLOAD)
    problem(answer, "unknown-tag", 422)


def test_a_broken_store_json_is_visible_and_changes_nothing(server: Server, store: Path) -> None:
    with clients(server):
        (store / "store.json").write_text('{"default_model": ')
        until(lambda: server.client.get("/readyz").json()["store_problem"] is not None)
        assert "store.json is broken" in server.client.get("/models").json()["store_problem"]
        assert server.client.get("/readyz").json()["ready"] is True
        until(lambda: server.metric("cameo_store_problem") == 1)
        (store / "store.json").unlink()
        until(lambda: server.client.get("/readyz").json()["store_problem"] is None)
        until(lambda: server.metric("cameo_store_problem") == 0)
    assert server.log.count("store.json is broken") == 1


def test_a_damaged_version_is_refused_and_the_old_one_serves(server: Server, store: Path) -> None:
    new = publish_aside(store, seed=2)
    new.weights.write_bytes(new.weights.read_bytes()[:-1] + b"?")
    with clients(server) as answers:
        new.folder.rename(store / "tiny-vae" / "2")
        until(lambda: "SHA-256" in refusals(server).get(2, ""))
        until(lambda: server.metric("cameo_refused_version_info", model="tiny-vae", version="2") == 1)
        until(lambda: len(answers) >= 6)
    assert {model for model, _ in answers} == {"tiny-vae/1"}
    problem(server.client.get("/models/tiny-vae/2"), "refused-version", 503)


def test_a_half_copied_version_is_served_when_it_is_whole(server: Server, store: Path) -> None:
    new = publish_aside(store, seed=2)
    copy = store / "tiny-vae" / "2"
    weights = new.weights.read_bytes()
    with clients(server) as answers:
        copy.mkdir()
        until(lambda: "manifest.json" in refusals(server).get(2, ""))
        shutil.copy(new.folder / "manifest.json", copy)
        until(lambda: "model.safetensors" in refusals(server).get(2, ""))
        with (copy / "model.safetensors").open("wb", buffering=0) as file:
            file.write(weights[:1000])
            until(lambda: "have 1000 bytes" in refusals(server).get(2, ""))
            assert {model for model, _ in list(answers)} <= {"tiny-vae/1"}
            file.write(weights[1000:])
        until(lambda: default_version(server) == 2)
        until(lambda: bool(answers) and answers[-1][0] == "tiny-vae/2")
    assert refusals(server) == {}
    assert server.metric("cameo_refused_version_info") == 0


def test_versions_over_the_budget_load_when_they_are_asked_for(store: Path, tmp_path: Path) -> None:
    publish_tiny(store, "tiny-vae", seed=2)
    with serve(tmp_path / "log", store=store, workers=2, model_memory_mb=0, store_poll_seconds=0) as server:

        def loaded() -> list[bool]:
            versions = server.client.get("/models/tiny-vae").json()["versions"]
            in_metrics = [server.metric("cameo_loaded_models", version=str(one["version"])) for one in versions]
            assert [one["loaded"] for one in versions] == [bool(value) for value in in_metrics]
            return [one["loaded"] for one in versions]

        assert loaded() == [False, True]
        answer = server.client.post("/compress?version=1", content=PHOTO, headers=TAKE_PAYLOAD)
        assert answer.status_code == 200, answer.text
        assert loaded() == [True, True]


def test_what_is_withdrawn_before_it_is_loaded_is_unknown(store: Path, tmp_path: Path) -> None:
    older = read_version(store / "tiny-vae" / "1")
    publish_tiny(store, "tiny-vae", seed=2)
    with serve(tmp_path / "log", store=store, workers=2, model_memory_mb=0, store_poll_seconds=0) as server:
        newer = codec.unwrap(compress(server.client)[1])
        shutil.rmtree(older.folder)
        by_name = server.client.post("/compress?version=1", content=PHOTO, headers=TAKE_PAYLOAD)
        assert problem(by_name, "unknown-version", 404)["known"] == [2]
        payload = codec.wrap(replace(newer, tag=older.tag))
        by_tag = server.client.post("/reconstruct", content=payload, headers=PAYLOAD)
        found = problem(by_tag, "unknown-tag", 422)
        assert (found["tag"], found["known"]) == (older.tag.hex(), {newer.tag.hex(): "tiny-vae/2"})


def test_a_store_that_fills_later_makes_the_service_ready(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()

    def empty(ready: httpx.Response) -> bool:
        return "no usable version" in ready.json()["reason"]

    with serve(tmp_path / "log", empty, store=store, store_poll_seconds=0.1) as server:
        publish_tiny(store, "tiny-vae", seed=1)
        server.wait(lambda ready: ready.is_success)
        assert compress(server.client)[0] == "tiny-vae/1"
