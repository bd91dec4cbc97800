import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cameo.errors import StoreError, VersionExists
from cameo.store import Draft, Manifest, StoredVersion, next_version, publish, read_version, scan
from cameo.store.manifest import tag

MakeDraft = Callable[..., Draft]
Put = Callable[..., StoredVersion]


def ignore(stored: StoredVersion) -> None:
    pass


def everything(root: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def publish_small(root: Path, draft: Draft, **changes: Any) -> StoredVersion:
    arguments: dict[str, Any] = {"weights": b"weights", "dtype": "float32", "card": "# Card\n", "check": ignore}
    return publish(root, draft, **(arguments | changes))


def test_a_version_is_three_files(tmp_path: Path, make_draft: MakeDraft) -> None:
    stored = publish_small(tmp_path, make_draft())
    assert stored.folder == tmp_path / "vqvae-64" / "1"
    files = everything(tmp_path)
    assert sorted(files) == [
        "vqvae-64",
        "vqvae-64/1",
        "vqvae-64/1/card.md",
        "vqvae-64/1/manifest.json",
        "vqvae-64/1/model.safetensors",
    ]
    assert files["vqvae-64/1/card.md"] == b"# Card\n"
    assert files["vqvae-64/1/model.safetensors"] == b"weights"
    assert stored == read_version(stored.folder)


def test_a_writer_writes_the_weights(tmp_path: Path, make_draft: MakeDraft) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"written")
        path.chmod(0o600)

    stored = publish_small(tmp_path, make_draft(), weights=write, dtype="float16")
    assert stored.weights.read_bytes() == b"written"
    assert stored.manifest.weights.bytes == len(b"written")
    assert stored.manifest.weights.dtype == "float16"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in stored.folder.iterdir()}
    assert len(modes) == 1, "the service can read the manifest but not the weights"


def test_check_sees_the_version_verified_but_not_yet_visible(tmp_path: Path, make_draft: MakeDraft) -> None:
    seen: list[StoredVersion] = []

    def check(stored: StoredVersion) -> None:
        assert stored.weights.read_bytes() == b"weights"
        assert stored.weights.parent == stored.folder
        assert scan(tmp_path) == []
        seen.append(stored)

    stored = publish_small(tmp_path, make_draft(), check=check)
    assert [(s.digest, s.tag, s.manifest) for s in seen] == [(stored.digest, stored.tag, stored.manifest)]


def test_a_version_is_never_replaced(tmp_path: Path, make_draft: MakeDraft) -> None:
    publish_small(tmp_path, make_draft())
    before = everything(tmp_path)
    with pytest.raises(VersionExists) as caught:
        publish_small(tmp_path, make_draft(), weights=lambda path: pytest.fail("written for nothing"))
    assert caught.value.facts == {"name": "vqvae-64", "version": 1}
    assert everything(tmp_path) == before


def test_the_second_of_two_at_the_same_time_loses(tmp_path: Path, make_draft: MakeDraft) -> None:
    def overtake(stored: StoredVersion) -> None:
        publish_small(tmp_path, make_draft(), weights=b"first")

    with pytest.raises(VersionExists):
        publish_small(tmp_path, make_draft(), weights=b"second", check=overtake)
    assert (tmp_path / "vqvae-64" / "1" / "model.safetensors").read_bytes() == b"first"
    assert [path.name for path in (tmp_path / "vqvae-64").iterdir()] == ["1"]


def test_a_failed_check_leaves_nothing(tmp_path: Path, make_draft: MakeDraft) -> None:
    def check(stored: StoredVersion) -> None:
        raise ArithmeticError("the round trip gave other tokens")

    with pytest.raises(ArithmeticError):
        publish_small(tmp_path, make_draft(), check=check)
    assert everything(tmp_path) == {}


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path, make_draft: MakeDraft, put: Put) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half of the wei")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    put()
    before = everything(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        publish_small(tmp_path, make_draft(version=2), weights=write)
    assert everything(tmp_path) == before


def test_an_interrupt_leaves_nothing(tmp_path: Path, make_draft: MakeDraft) -> None:
    def check(stored: StoredVersion) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_small(tmp_path, make_draft(), check=check)
    assert everything(tmp_path) == {}


def test_a_writer_that_writes_nothing_leaves_nothing(tmp_path: Path, make_draft: MakeDraft) -> None:
    with pytest.raises(FileNotFoundError):
        publish_small(tmp_path, make_draft(), weights=lambda path: None)
    assert everything(tmp_path) == {}


def test_a_killed_publisher_leaves_no_visible_version(tmp_path: Path, make_draft: MakeDraft, put: Put) -> None:
    script = """
import os, sys
from pathlib import Path
from cameo.store import Draft, publish
publish(
    Path(sys.argv[1]),
    Draft.model_validate_json(sys.stdin.read()),
    weights=b"weights",
    dtype="float32",
    card="",
    check=lambda stored: os._exit(9),
)
"""
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        input=make_draft(version=2).model_dump_json().encode(),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == 9
    assert scan(tmp_path) == []
    assert [path.name[:7] for path in (tmp_path / "vqvae-64").iterdir()] == [".tmp-2-"]
    # What it left does not stand in the way of the next attempt.
    put(version=2)
    assert [folder.name for folder in scan(tmp_path)] == ["2"]


def test_a_tag_in_use_is_avoided(tmp_path: Path, make_draft: MakeDraft) -> None:
    weights = publish_small(tmp_path, make_draft("first")).manifest.weights
    # The manifest to be published is known beforehand; vary it until it collides with one of another model.
    by_tag: dict[bytes, Draft] = {}
    for i in range(1000):
        draft = make_draft("a", description=str(i))
        by_tag[tag(Manifest.complete(draft, weights).to_json())] = draft
    ours = next(
        draft
        for draft in (make_draft("b", description=str(i)) for i in range(100_000))
        if tag(Manifest.complete(draft, weights).to_json()) in by_tag
    )
    colliding = tag(Manifest.complete(ours, weights).to_json())
    theirs = publish_small(tmp_path, by_tag[colliding])
    assert theirs.tag == colliding

    stored = publish_small(tmp_path, ours)
    assert stored.tag != colliding
    assert stored.manifest.created > ours.created
    assert stored.manifest.model_copy(update={"created": ours.created}) == Manifest.complete(ours, weights)
    assert stored == read_version(stored.folder)


def test_a_missing_store_is_not_made(tmp_path: Path, make_draft: MakeDraft) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        publish_small(tmp_path / "modle_store", make_draft())
    assert everything(tmp_path) == {}


def test_next_version_counts_on_from_the_highest(tmp_path: Path, put: Put) -> None:
    assert next_version(tmp_path, "vqvae-64") == 1
    put(version=2)
    put(version=10)
    put("vae-64", 20)
    (tmp_path / "vqvae-64" / "10" / "manifest.json").write_bytes(b"")
    assert next_version(tmp_path, "vqvae-64") == 11
