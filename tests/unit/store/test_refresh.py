"""A registry follows its store while that changes."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cameo.errors import RefusedVersion, StoreError, UnknownTag, UnknownVersion
from cameo.store import Registry, StoredVersion, folder, reader

Put = Callable[..., StoredVersion]
Served = list[tuple[str, int]]


class Loads(list[int]):
    """A loader that remembers which versions it was called for."""

    def __call__(self, stored: StoredVersion) -> str:
        self.append(stored.manifest.version)
        return stored.weights.read_text()


@pytest.fixture
def loads() -> Loads:
    return Loads()


def opened(root: Path, load: Callable[[StoredVersion], str]) -> Registry[str]:
    registry = Registry(root, load)
    registry.open()
    return registry


def served(registry: Registry[str]) -> Served:
    return [entry.stored.key for entry in registry.entries]


def reasons(registry: Registry[str]) -> dict[int, str]:
    return {refusal.version: refusal.reason for refusal in registry.refused}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def test_where_nothing_changed_nothing_is_read(
    tmp_path: Path, put: Put, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SETTLED_NS", 0)
    put("vqvae-64", 1)
    put("vqvae-64", 2).weights.write_bytes(b"damaged")
    (tmp_path / "store.json").write_text('{"default_versions": {"vqvae-64": 1}}')
    store = opened(tmp_path, loads)
    monkeypatch.setattr(folder, "read_version", lambda folder: pytest.fail("verified for nothing"))
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read for nothing"))
    assert not store.refresh()
    assert loads == [1]


def test_a_new_version_is_loaded_and_becomes_the_default(tmp_path: Path, put: Put, loads: Loads) -> None:
    put("vqvae-64", 1)
    store = opened(tmp_path, loads)
    (old,) = store.entries
    put("vqvae-64", 2)
    assert store.refresh()
    assert served(store) == [("vqvae-64", 1), ("vqvae-64", 2)]
    assert store.get().model == "weights of vqvae-64/2"
    assert store.get(version=1) is old
    assert loads == [1, 2]


def test_a_new_version_is_not_seen_before_it_is_loaded(tmp_path: Path, put: Put) -> None:
    def load(stored: StoredVersion) -> str:
        seen.append(served(store))
        return "model"

    seen: list[Served] = []
    put("vqvae-64", 1)
    store = Registry(tmp_path, load)
    store.open()
    put("vqvae-64", 2)
    put("vqvae-64", 3)
    store.refresh()
    assert seen == [[], [("vqvae-64", 1)], [("vqvae-64", 1)]]


def test_a_removed_version_disappears(tmp_path: Path, put: Put, loads: Loads) -> None:
    put("vqvae-64", 1)
    removed = put("vqvae-64", 2)
    store = opened(tmp_path, loads)
    in_hand, before = store.get(), store.snapshot
    shutil.rmtree(removed.folder)
    assert store.refresh()
    assert store.get().stored.key == ("vqvae-64", 1)
    with pytest.raises(UnknownVersion):
        store.get(version=2)
    with pytest.raises(UnknownTag):
        store.by_tag(removed.tag)
    assert in_hand.model == "weights of vqvae-64/2"
    assert before.versions("vqvae-64") == (1, 2)


def test_store_json_is_followed(tmp_path: Path, put: Put, loads: Loads) -> None:
    for version in (1, 2):
        put("vqvae-64", version)
    store = opened(tmp_path, loads)
    (tmp_path / "store.json").write_text('{"default_versions": {"vqvae-64": 1}}')
    assert store.refresh()
    assert store.get().stored.key == ("vqvae-64", 1)
    (tmp_path / "store.json").unlink()
    assert store.refresh()
    assert store.get().stored.key == ("vqvae-64", 2)
    assert sorted(loads) == [1, 2]


def test_a_damaged_new_version_changes_nothing_for_the_others(
    tmp_path: Path, put: Put, loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    put("vqvae-64", 1)
    store = opened(tmp_path, loads)
    flip(put("vqvae-64", 2).weights)
    assert store.refresh()
    assert not store.refresh()
    assert store.get().stored.key == ("vqvae-64", 1)
    assert "SHA-256" in reasons(store)[2]
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "said once"
    flip(tmp_path / "vqvae-64" / "2" / "model.safetensors")
    assert store.refresh()
    assert store.get().model == "weights of vqvae-64/2"


def test_a_half_copied_version_is_served_when_the_last_byte_is_there(tmp_path: Path, put: Put, loads: Loads) -> None:
    put("vqvae-64", 1)
    whole = put("vqvae-64", 2).folder.rename(tmp_path / ".elsewhere")
    store = opened(tmp_path, loads)
    copy = tmp_path / "vqvae-64" / "2"
    manifest, weights = ((whole / name).read_bytes() for name in ("manifest.json", "model.safetensors"))

    def refused(because: str) -> None:
        store.refresh()
        assert served(store) == [("vqvae-64", 1)]
        assert because in reasons(store)[2]

    copy.mkdir()
    refused("manifest.json: No such file")
    (copy / "model.safetensors").write_bytes(weights[:5])
    refused("manifest.json: No such file")
    (copy / "manifest.json").write_bytes(manifest[:-10])
    refused("not JSON")
    (copy / "manifest.json").write_bytes(manifest)
    refused("The weights have 5 bytes, not 21.")
    (copy / "model.safetensors").write_bytes(weights[:-1] + b"\0")  # some copy programs reserve the whole size first
    refused("SHA-256")
    with (copy / "model.safetensors").open("r+b") as file:  # in place, with the times set back
        file.write(weights)
    os.utime(copy / "model.safetensors", (0, 0))
    store.refresh()
    assert served(store) == [("vqvae-64", 1), ("vqvae-64", 2)]
    assert reasons(store) == {}
    assert loads == [1, 2]


def test_a_version_whose_files_change_while_it_loads_is_refused_until_they_rest(tmp_path: Path, put: Put) -> None:
    def load(stored: StoredVersion) -> str:
        if stored.manifest.version == 2 and not tried:
            tried.append(2)
            stored.weights.touch()
        return stored.weights.read_text()

    tried: list[int] = []
    put("vqvae-64", 1)
    store = opened(tmp_path, load)
    put("vqvae-64", 2)
    store.refresh()
    assert reasons(store) == {2: "Its files changed while they were being read."}
    store.refresh()
    assert served(store) == [("vqvae-64", 1), ("vqvae-64", 2)]


def test_touched_files_keep_their_model(tmp_path: Path, put: Put, loads: Loads) -> None:
    stored = put("vqvae-64", 1)
    store = opened(tmp_path, loads)
    stored.weights.touch()
    (stored.folder / "manifest.json").touch()
    assert not store.refresh()
    assert loads == [1]


@pytest.mark.parametrize("file", ["manifest.json", "model.safetensors"])
def test_a_version_that_changed_is_refused_until_it_is_as_it_was(
    file: str, tmp_path: Path, put: Put, edit: Callable[..., None], loads: Loads
) -> None:
    stored = put("vqvae-64", 1)
    put("vqvae-64", 2)
    store = opened(tmp_path, loads)
    path = stored.folder / file
    original = path.read_bytes()
    if file == "manifest.json":
        edit(stored.folder, description="Another.")
    else:
        flip(path)
    assert store.refresh()
    assert served(store) == [("vqvae-64", 2)]
    assert ("published version is never changed" if file == "manifest.json" else "SHA-256") in reasons(store)[1]
    with pytest.raises(RefusedVersion):  # payloads were made of it: they are not of an unknown version
        store.by_tag(stored.tag)
    path.write_bytes(original)
    assert store.refresh()
    assert store.by_tag(stored.tag).model == "weights of vqvae-64/1"


def test_another_version_under_the_number_of_a_removed_one_is_refused(
    tmp_path: Path, put: Put, edit: Callable[..., None], loads: Loads
) -> None:
    put("vqvae-64", 1)
    removed = put("vqvae-64", 2)
    store = opened(tmp_path, loads)
    shutil.rmtree(removed.folder)
    store.refresh()
    put("vqvae-64", 2, description="Another.")
    store.refresh()
    assert "published version is never changed" in reasons(store)[2]
    assert served(opened(tmp_path, loads)) == [("vqvae-64", 1), ("vqvae-64", 2)], "a restart takes it"


@pytest.mark.parametrize("text", ["{", '{"default_model": "nobody"}', '{"default_versions": {"vqvae-64": 3}}'])
def test_a_broken_store_json_leaves_all_as_it_was(tmp_path: Path, put: Put, loads: Loads, text: str) -> None:
    put("vqvae-64", 1)
    store = opened(tmp_path, loads)
    (tmp_path / "store.json").write_text(text)
    put("vqvae-64", 2)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"store\.json"):
            store.refresh()
        assert served(store) == [("vqvae-64", 1)]
        assert store.problem is not None
    (tmp_path / "store.json").unlink()
    assert store.refresh()
    assert store.problem is None
    assert store.get().stored.key == ("vqvae-64", 2)


def test_a_store_that_cannot_be_listed_leaves_all_as_it_was(tmp_path: Path, put: Put, loads: Loads) -> None:
    put("vqvae-64", 1)
    away = tmp_path.with_name("away")
    store = opened(tmp_path, loads)
    tmp_path.rename(away)
    with pytest.raises(StoreError, match="cannot be read"):
        store.refresh()
    assert served(store) == [("vqvae-64", 1)]
    tmp_path.mkdir()  # as where a disk is not mounted
    with pytest.raises(StoreError, match="lost all its versions"):
        store.refresh()
    assert served(store) == [("vqvae-64", 1)]
    tmp_path.rmdir()
    away.rename(tmp_path)
    assert not store.refresh()
    assert store.problem is None
    assert loads == [1]


def test_a_store_that_was_empty_at_first_is_followed(tmp_path: Path, put: Put, loads: Loads) -> None:
    store = opened(tmp_path, loads)
    put("vqvae-64", 1)
    assert store.refresh()
    assert served(store) == [("vqvae-64", 1)]


@pytest.mark.parametrize(
    ("name", "text"),
    [("vqvae-64", '{"default_versions": {"vqvae-64": 2}}'), ("vae-64", '{"default_model": "vae-64"}')],
)
def test_a_choice_that_is_refused_is_not_taken_until_it_is_mended(
    tmp_path: Path, put: Put, loads: Loads, caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    put("vqvae-64", 1)
    (tmp_path / "store.json").write_text('{"default_model": "vqvae-64"}')
    store = opened(tmp_path, loads)
    chosen = put(name, 2)
    flip(chosen.weights)
    put("x-64", 1)
    (tmp_path / "store.json").write_text(text)
    assert store.refresh()
    assert store.get().stored.key == ("vqvae-64", 1)
    assert store.get("x-64").stored.key == ("x-64", 1), "what else is new is taken"
    says = f"store.json chooses version 2 of {name}, which is refused; the defaults stay as they were."
    store.refresh()
    assert store.problem == says
    assert caplog.text.count(says) == 1
    flip(chosen.weights)
    assert store.refresh()
    assert store.problem is None
    assert store.get(name).stored.key == (name, 2)


def test_a_tag_that_becomes_free_goes_to_the_next(
    tmp_path: Path, put: Put, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "tag", lambda data: b"\0\0")
    older = put("vqvae-64", 1)
    put("vqvae-64", 2)
    store = opened(tmp_path, loads)
    assert "Its tag 0000 is that of vqvae-64/1" in reasons(store)[2]
    shutil.rmtree(older.folder)
    assert store.refresh()
    assert served(store) == [("vqvae-64", 2)]


def test_a_default_that_is_withdrawn_while_it_loads_gives_way(tmp_path: Path, put: Put) -> None:
    def load(stored: StoredVersion) -> str:
        loaded.append(stored.manifest.version)
        if len(loaded) > 4:
            pytest.fail("tries for ever")
        if stored.manifest.version == 2:
            shutil.rmtree(stored.folder)
        return "model"

    loaded: list[int] = []
    put("vqvae-64", 1)
    put("vqvae-64", 2)
    store = opened(tmp_path, load)
    assert served(store) == [("vqvae-64", 1)]
    assert store.get().model == "model"
    assert loaded == [2, 1]
    assert not store.refused
