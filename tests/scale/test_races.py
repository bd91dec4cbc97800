"""Fifty writers at the same time, on an S3 server that keeps its conditions in a race: SeaweedFS."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from bench.server import free_port
from cameo.errors import StoreUnavailable, VersionExists
from cameo.store import Registry, open_store, publish, set_default
from cameo.store.bucket import Bucket
from cameo.store.reader import StoredVersion
from cameo.store.snapshot import StoreConfig
from tests.s3 import BUCKET, CREDENTIALS, PATIENCE, names
from tests.unit.store.conftest import draft

pytestmark = pytest.mark.scale

WRITERS = 50
SERVERS = ("master", "volume", "filer", "s3")
WEED = Path(sys.executable).with_name("weed")

T = TypeVar("T")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("weed")
    ports = {f"-{server}.port{kind}": free_port() for server in SERVERS for kind in ("", ".grpc")}
    command = [
        str(WEED),
        "server",
        "-s3",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3.port.iceberg=0",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *(f"{name}={port}" for name, port in ports.items())], stdout=log, stderr=log
        )  # fmt: skip
    url = f"http://127.0.0.1:{ports['-s3.port']}"
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(url):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        return httpx.put(f"{url}/{BUCKET}").is_success or httpx.head(f"{url}/{BUCKET}").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def url(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name, value in {"AWS_ENDPOINT_URL": endpoint, **CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"s3://{BUCKET}/{tmp_path.name}"


def all_at_once(act: Callable[[int], T]) -> list[T]:
    together = threading.Barrier(WRITERS)

    def one(number: int) -> T:
        together.wait()
        return act(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(one, range(WRITERS)))


def write(url: str, number: int) -> bool:
    """Publish version 1, with weights that name the writer: whether it was this writer's."""
    weights = f"weights of writer {number}".encode() * 1000
    while True:
        try:
            publish(
                url, draft("m", 1, description=f"by {number}"), weights=weights, dtype="float32", card=f"by {number}",
                check=lambda stored: None,
            )  # fmt: skip
        except VersionExists:
            return False
        except StoreUnavailable:  # the server was busy, and nothing was written
            continue
        return True


def test_one_version_has_one_publisher_and_nobody_sees_half_of_it(url: str) -> None:
    def load(stored: StoredVersion) -> str:
        return stored.weights.read_text()

    def watch() -> None:
        while not done.is_set():
            registry = Registry(url, load)
            try:
                registry.open()
            except StoreUnavailable:
                continue
            looks.append(([entry.model for entry in registry.entries], registry.refused))

    looks: list[tuple[list[str], object]] = []
    done = threading.Event()
    reader = threading.Thread(target=watch)
    reader.start()
    try:
        won = all_at_once(lambda number: write(url, number))
    finally:
        done.set()
        reader.join()
    (winner,) = [number for number, mine in enumerate(won) if mine]
    whole = f"weights of writer {winner}" * 1000
    registry = Registry(url, load)
    registry.open()
    looks.append(([entry.model for entry in registry.entries], registry.refused))
    assert all(models in ([], [whole]) and refused == () for models, refused in looks)
    assert looks[-1][0] == [whole]
    bucket = Bucket(url)
    assert bucket.get("m/1/card.md", 100)[0] == f"by {winner}".encode()
    assert len(names(bucket)) == 3, "the others have left nothing"
    print(f"{WRITERS} writers, 1 winner, {len(looks)} looks")


def test_of_those_who_read_the_same_default_one_changes_it(url: str) -> None:
    for name in ("m", "n"):
        publish(url, draft(name, 1), weights=b"w", dtype="float32", card="", check=lambda stored: None)
    for _ in range(5):
        set_default(url, "n")
        before = open_store(url).read_config()[1]
        texts = [f'{{"default_model": "m"}}{" " * number}'.encode() for number in range(WRITERS)]

        def swap(number: int, texts: list[bytes] = texts, before: object = before) -> bool:
            return open_store(url).write_config(texts[number], before)

        won = all_at_once(swap)
        assert sum(won) == 1
        assert open_store(url).read_config()[0] == texts[won.index(True)]


def test_fifty_changes_of_the_default_are_all_there(url: str) -> None:
    everyone = [f"m{number}" for number in range(WRITERS)]
    for name in everyone:
        publish(url, draft(name, 1), weights=b"w", dtype="float32", card="", check=lambda stored: None)

    def choose(number: int) -> None:
        while True:
            try:
                set_default(url, everyone[number], 1)
            except StoreUnavailable:
                continue
            return

    all_at_once(choose)
    config = StoreConfig.parse(open_store(url).read_config()[0])
    assert config.default_versions == dict.fromkeys(everyone, 1)
