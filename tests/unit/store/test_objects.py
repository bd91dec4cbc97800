"""A store in an object store, on a real S3 server."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cameo.errors import RefusedVersion, StoreError, StoreUnavailable, UnknownTag, UnknownVersion, VersionExists
from cameo.store import (
    Cache,
    Draft,
    Registry,
    StoredVersion,
    next_version,
    open_store,
    publish,
    set_default,
    withdraw,
)
from cameo.store.bucket import Bucket
from cameo.store.cache import default_folder
from tests.s3 import BUCKET, S3, names

MakeDraft = Callable[..., Draft]
Put = Callable[..., StoredVersion]
GET, LIST = "GET", f"GET /{BUCKET}"


@pytest.fixture
def url(s3: S3, tmp_path: Path) -> str:
    """A store of this test's own, empty."""
    return s3.url(f"stores/{tmp_path.name}")


@pytest.fixture
def put(url: str, make_draft: MakeDraft) -> Put:
    def put(name: str = "vqvae-64", version: int = 1, **changes: Any) -> StoredVersion:
        weights = f"weights of {name}/{version}".encode()
        draft = make_draft(name, version, **changes)
        return publish(url, draft, weights=weights, dtype="float32", card="# A card\n", check=lambda stored: None)

    return put


def opened(url: str, *, cache: Cache | None = None, eager: bool = True) -> Registry[str]:
    store = open_store(url, cache)
    registry = Registry(store, lambda stored: stored.weights.read_text(), eager=eager)
    registry.open()
    return registry


def served(registry: Registry[str]) -> list[tuple[str, int]]:
    return [entry.stored.key for entry in registry.entries]


def cached() -> list[Path]:
    return sorted(default_folder().glob("stores/*/*/model-*"))


def test_a_version_is_its_manifest_and_what_that_names(url: str, put: Put) -> None:
    stored = put()
    sha256 = stored.manifest.weights.sha256
    files = ["card.md", "manifest.json", f"model-{sha256}.safetensors"]
    assert names(Bucket(url)) == [f"vqvae-64/1/{file}" for file in files]
    assert open_store(url).read(("vqvae-64", 1)) == stored
    assert next_version(url, "vqvae-64") == 2
    with pytest.raises(VersionExists):
        put()


def test_what_did_not_change_is_not_downloaded(s3: S3, url: str, put: Put) -> None:
    put("vqvae-64", 1)
    put("vqvae-64", 2)
    registry = opened(url)
    assert [entry.model for entry in registry.entries] == ["weights of vqvae-64/1", "weights of vqvae-64/2"]
    s3.requests()
    assert not registry.refresh()
    assert s3.requests() == [LIST], "one request says that nothing has changed"
    put("vqvae-64", 3)
    s3.requests()
    assert registry.refresh()
    read = [path.rpartition("/")[2] for path in s3.requests() if path.startswith(GET) and path != LIST]
    assert sorted(read) == sorted(
        ["manifest.json", registry.get().stored.weights.name, "store.json", "verification.json"]
    )
    assert registry.get().model == "weights of vqvae-64/3"


def test_a_second_start_downloads_no_weights(s3: S3, url: str, put: Put) -> None:
    put()
    opened(url)
    s3.requests()
    assert opened(url).get().model == "weights of vqvae-64/1"
    assert not [path for path in s3.requests() if path.endswith("safetensors")]


def test_a_library_downloads_what_it_uses(url: str, put: Put) -> None:
    put("vqvae-64", 1)
    put("vqvae-64", 2)
    registry = opened(url, eager=False)
    assert cached() == []
    assert registry.get("vqvae-64", 1).model == "weights of vqvae-64/1"
    assert [path.read_text() for path in cached()] == ["weights of vqvae-64/1"]


def test_a_cached_file_that_is_damaged_is_fetched_again(url: str, put: Put) -> None:
    put()
    opened(url)
    (file,) = cached()
    file.write_text("weights of vqvae-64/9")
    assert opened(url).get().model == "weights of vqvae-64/1"


def test_the_cache_is_bounded_and_loses_what_was_used_least_recently(url: str, put: Put) -> None:
    sizes = [put("vqvae-64", version).manifest.weights.bytes for version in (1, 2, 3)]
    registry = opened(url, cache=Cache(limit=sum(sizes[:2])), eager=False)
    for version in (1, 2, 1, 3):
        registry.get(version=version).drop()
        assert registry.get(version=version).model == f"weights of vqvae-64/{version}"
    assert sorted(path.read_text() for path in cached()) == ["weights of vqvae-64/1", "weights of vqvae-64/3"]


def test_weights_larger_than_the_cache_are_refused(url: str, put: Put) -> None:
    put()
    registry = opened(url, cache=Cache(limit=5))
    assert [one.reason for one in registry.refused] == [
        "Its weights have 21 bytes, and the cache may have 5: CAMEO_CACHE_MB."
    ]


def test_a_cache_that_cannot_be_written_says_what_to_do(url: str, put: Put, tmp_path: Path) -> None:
    put()
    (tmp_path / "file").touch()
    registry = opened(url, cache=Cache(tmp_path / "file" / "cache"))
    assert "Not a directory. Make room, or name a folder in CAMEO_CACHE." in registry.refused[0].reason


def test_a_full_disk_of_the_cache_is_an_error_and_heals(url: str, put: Put, make_draft: MakeDraft) -> None:
    """The cache on a file system of 80 kB, in a name space of its own, in which one of two versions has room."""
    put("vqvae-64", 1)
    publish(
        url, make_draft("vqvae-64", 2), weights=bytes(60_000), dtype="float32", card="", check=lambda stored: None
    )  # fmt: skip
    script = """
import sys
from pathlib import Path
from cameo.store import Cache, Registry, open_store
cache = Path(sys.argv[2])
def fill(size): (cache / "ballast").write_bytes(bytes(size))
fill(40_000)
registry = Registry(open_store(sys.argv[1], Cache(cache)), lambda stored: stored.weights.stat().st_size)
registry.open()
print([entry.stored.key for entry in registry.entries], [each.reason for each in registry.refused])
fill(0)
registry.refresh()
print([entry.stored.key for entry in registry.entries], registry.refused)
"""
    disk = Path(os.environ["XDG_CACHE_HOME"])
    disk.mkdir()
    mounted = f"mount -t tmpfs -o size=81920 none {disk} || exit 99; exec {sys.executable} -c '{script}' {url} {disk}"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode in (99, 127) or "unshare" in done.stderr:
        pytest.skip(f"no name space with a file system of its own: {done.stderr}")
    assert done.returncode == 0, done.stderr
    full, room = done.stdout.splitlines()
    assert full.startswith(f"[('vqvae-64', 1)] ['The cache {disk} cannot be written: 60000 bytes are needed, and ")
    assert room == "[('vqvae-64', 1), ('vqvae-64', 2)] ()"


def test_several_processes_share_one_download(s3: S3, url: str, put: Put) -> None:
    stored = put()
    s3.requests()
    script = """
import sys
from cameo.store import Registry
registry = Registry(sys.argv[1], lambda stored: stored.weights.read_text())
registry.open()
print(registry.get().model)
"""
    command = [sys.executable, "-c", script, url]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(3)]
    assert {process.communicate()[0] for process in processes} == {b"weights of vqvae-64/1\n"}
    asked = s3.requests()
    assert sum(path.endswith(stored.manifest.weights.file) for path in asked) == 1


def test_a_manifest_without_its_weights_is_refused_and_the_others_serve(url: str, put: Put) -> None:
    put("vqvae-64", 1)
    broken = put("vqvae-64", 2)
    bucket = Bucket(url)
    file = f"vqvae-64/2/{broken.manifest.weights.file}"
    bucket.delete(file)
    registry = opened(url)
    assert served(registry) == [("vqvae-64", 1)]
    assert "there is no such object" in registry.refused[0].reason
    with pytest.raises(RefusedVersion):
        registry.by_tag(broken.tag)
    bucket.put(file, b"weights of vqvae-64/9")
    registry.refresh()
    assert "SHA-256" in registry.refused[0].reason
    bucket.put(file, b"weights of vqvae-64/2")
    registry.refresh()
    assert registry.get().model == "weights of vqvae-64/2"


def test_weights_without_a_manifest_are_no_version(url: str, put: Put) -> None:
    Bucket(url).put("vqvae-64/1/model-x.safetensors", b"weights")
    registry = opened(url)
    assert (registry.entries, registry.refused) == ((), ())
    put()
    registry.refresh()
    assert served(registry) == [("vqvae-64", 1)]


def test_a_withdrawn_version_disappears(url: str, put: Put) -> None:
    put("vqvae-64", 1)
    removed = put("vqvae-64", 2)
    registry = opened(url)
    in_hand = registry.get()
    withdraw(url, ("vqvae-64", 2))
    assert registry.refresh()
    assert registry.get().stored.key == ("vqvae-64", 1)
    with pytest.raises(UnknownTag):
        registry.by_tag(removed.tag)
    assert in_hand.model == "weights of vqvae-64/2"
    assert not [name for name in names(Bucket(url)) if name.startswith("vqvae-64/2/")]
    with pytest.raises(UnknownVersion):
        withdraw(url, ("vqvae-64", 2))


def test_a_version_withdrawn_before_it_was_loaded_is_unknown(url: str, put: Put) -> None:
    put("vqvae-64", 1)
    put("vqvae-64", 2)
    registry = opened(url, eager=False)
    withdraw(url, ("vqvae-64", 1))
    with pytest.raises(UnknownVersion):
        _ = registry.get(version=1).model


def test_the_default_is_followed(url: str, put: Put) -> None:
    put("vqvae-64", 1)
    put("vqvae-64", 2)
    put("vae-64", 1)
    registry = opened(url)
    set_default(url, "vqvae-64", 1)
    set_default(url, "vqvae-64")
    registry.refresh()
    assert registry.get().stored.key == ("vqvae-64", 1)


def test_of_writers_at_the_same_time_one_wins(url: str, make_draft: MakeDraft) -> None:
    def write(number: int) -> int | None:
        draft = make_draft(description=f"by {number}")
        together.wait()
        try:
            publish(
                url, draft, weights=f"by {number}".encode(), dtype="float32", card=f"by {number}",
                check=lambda stored: None,
            )  # fmt: skip
        except VersionExists:
            return None
        return number

    together = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        (winner,) = [number for number in pool.map(write, range(8)) if number is not None]
    assert opened(url).get().model == f"by {winner}"
    bucket = Bucket(url)
    assert len(names(bucket)) == 3, "the others have left nothing"
    assert bucket.get("vqvae-64/1/card.md", 100)[0] == f"by {winner}".encode()


def test_an_outage_keeps_what_is_loaded_and_says_so(url: str, put: Put, s3: S3) -> None:
    put("vqvae-64", 1)
    put("vqvae-64", 2)
    registry = opened(url, eager=False)
    assert registry.get().model == "weights of vqvae-64/2"
    s3.refuse(True)
    try:
        with pytest.raises(StoreUnavailable, match=r"refuses the credentials .*InvalidAccessKeyId"):
            registry.refresh()
        assert "refuses the credentials" in str(registry.problem)
        assert registry.get().model == "weights of vqvae-64/2"
        with pytest.raises(StoreUnavailable):  # what is neither in memory nor in the cache
            _ = registry.get(version=1).model
        registry.get().drop()
        assert registry.get().model == "weights of vqvae-64/2", "from the cache"
    finally:
        s3.refuse(False)
    assert registry.get(version=1).model == "weights of vqvae-64/1", "an outage is no fault of the version"
    registry.refresh()
    assert registry.problem is None


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_an_error() -> None:
    with pytest.raises(StoreError, match=r"There is no bucket for s3://nobody/store; correct the name"):
        opened("s3://nobody/store")


def test_a_server_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(StoreUnavailable, match="does not answer for s3://nobody/store"):
        opened("s3://nobody/store")


@pytest.mark.parametrize("url", ["ftp://server/store", "s3://", "https://server/store"])
def test_another_scheme_is_an_error(url: str) -> None:
    with pytest.raises(StoreError, match="give a folder, or one of s3://bucket/prefix"):
        open_store(url)


def test_without_the_extra_the_error_names_it() -> None:
    script = """
import sys
sys.modules["obstore"] = None
from cameo.errors import StoreError
from cameo.store import open_store
try:
    open_store("s3://bucket/store")
except StoreError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "s3://bucket/store needs the extra objects: pip install 'cameo-faces[objects]'\n"
