import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cameo.errors import RefusedVersion
from cameo.store import StoredVersion, read_version, scan

Put = Callable[..., StoredVersion]


def refusal(folder: Path) -> dict[str, Any]:
    with pytest.raises(RefusedVersion) as caught:
        read_version(folder)
    assert str(folder.parent.parent) not in caught.value.detail, "a path of this machine in a message for clients"
    assert caught.value.facts["reason"] in caught.value.detail
    return caught.value.facts


def test_a_published_version_reads_back(put: Put) -> None:
    stored = put()
    assert read_version(stored.folder) == stored
    assert stored.tag.hex() == stored.digest[:4]
    assert stored.weights.read_bytes() == b"weights of vqvae-64/1"


def test_scan_orders_versions_as_numbers(tmp_path: Path) -> None:
    for path in ["b/2", "b/10", "b/1", "a-1/3"]:
        (tmp_path / path).mkdir(parents=True)
    assert [str(folder.relative_to(tmp_path)) for folder in scan(tmp_path)] == ["a-1/3", "b/1", "b/2", "b/10"]


@pytest.mark.parametrize(
    "path", [".git/1", "Model/1", "a_b/1", "a/.tmp-1-0a1b", "a/v1", "a/0", "a/01", "a/-1", "a/1.0", "a/\u0661", "a"]
)
def test_scan_passes_over_what_is_no_version(tmp_path: Path, path: str) -> None:
    (tmp_path / path).mkdir(parents=True)
    assert scan(tmp_path) == []


def test_scan_passes_over_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").touch()
    (tmp_path / "b").touch()
    (tmp_path / "store.json").touch()
    assert scan(tmp_path) == []


def test_scan_of_a_missing_store_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "none")


def test_one_flipped_bit_in_the_weights_is_refused(put: Put) -> None:
    stored = put()
    data = bytearray(stored.weights.read_bytes())
    data[5] ^= 1
    stored.weights.write_bytes(data)
    facts = refusal(stored.folder)
    assert (facts["name"], facts["version"]) == ("vqvae-64", 1)
    assert "SHA-256" in facts["reason"]


def test_cut_weights_are_refused(put: Put) -> None:
    stored = put()
    stored.weights.write_bytes(stored.weights.read_bytes()[:-1])
    assert refusal(stored.folder)["reason"] == "The weights have 20 bytes, not 21."


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_missing_file_is_refused(put: Put, name: str) -> None:
    stored = put()
    (stored.folder / name).unlink()
    assert refusal(stored.folder)["reason"] == f"{name}: No such file or directory."


def test_weights_that_are_a_folder_are_refused(put: Put) -> None:
    stored = put()
    stored.weights.unlink()
    stored.weights.mkdir()
    assert refusal(stored.folder)["reason"] == "model.safetensors: Is a directory."


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])
def test_a_pipe_is_refused_and_nobody_waits_at_it(put: Put, name: str) -> None:
    folder = put().folder
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert refusal(folder)["reason"] == f"{name} is not a file."


def test_a_manifest_larger_than_any_is_not_read_whole(put: Put) -> None:
    folder = put().folder
    (folder / "manifest.json").chmod(0o644)
    os.truncate(folder / "manifest.json", 3 * 2**30)  # a hole, which takes no room on the disk
    tracemalloc.start()
    assert refusal(folder)["reason"] == "manifest.json has more than 1048576 bytes."
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_every_truncation_of_the_manifest_is_refused(put: Put) -> None:
    stored = put()
    path = stored.folder / "manifest.json"
    data = path.read_bytes().rstrip()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert "not JSON" in refusal(stored.folder)["reason"]


def test_an_unknown_schema_is_refused(put: Put, edit: Callable[..., None]) -> None:
    stored = put()
    edit(stored.folder, schema_version=2)
    assert "schema version 2" in refusal(stored.folder)["reason"]


def test_an_unknown_key_is_refused(put: Put, edit: Callable[..., None]) -> None:
    stored = put()
    edit(stored.folder, colour="blue")
    assert "colour" in refusal(stored.folder)["reason"]


@pytest.mark.parametrize("path", ["vqvae-64/2", "vae-64/1"])
def test_a_version_in_the_wrong_folder_is_refused(put: Put, tmp_path: Path, path: str) -> None:
    folder = tmp_path / path
    shutil.copytree(put().folder, folder)
    facts = refusal(folder)
    assert f"{facts['name']}/{facts['version']}" == path
    assert facts["reason"] == "The manifest is of vqvae-64 version 1."


def test_a_folder_that_is_no_number_is_refused(put: Put) -> None:
    stored = put()
    assert refusal(stored.folder.rename(stored.folder.with_name("latest")))["version"] == "latest"


def test_a_version_written_by_hand_is_read(put: Put) -> None:
    """The layout of the text does not matter: only what is stored is hashed."""
    stored = put()
    path = stored.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7, sort_keys=True))
    again = read_version(stored.folder)
    assert again.manifest == stored.manifest
    assert again.digest != stored.digest
