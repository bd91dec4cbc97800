"""Which models a registry keeps in memory."""

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cameo.errors import RefusedVersion, UnknownVersion
from cameo.store import Registry, StoredVersion

Put = Callable[..., StoredVersion]
ONE = len("weights of vqvae-64/1")  # what each of these models counts, bytes


class Loader:
    """Loads slowly, remembers what it loaded, and fails where ``error`` is set."""

    def __init__(self) -> None:
        self.loaded: list[int] = []
        self.error: Exception | None = None

    def __call__(self, stored: StoredVersion) -> str:
        time.sleep(0.01)
        if self.error:
            raise self.error
        self.loaded.append(stored.manifest.version)
        return stored.weights.read_text()


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def store(tmp_path: Path, put: Put, loader: Loader) -> Registry[str]:
    """Versions 1 to 4, the last of which is the default, and room for two models."""
    for version in (1, 2, 3, 4):
        put("vqvae-64", version)
    store = Registry(tmp_path, loader, 2 * ONE)
    store.open()
    return store


def loaded(store: Registry[str]) -> list[int]:
    return [entry.stored.manifest.version for entry in store.entries if entry.loaded]


def test_defaults_come_first_and_then_the_latest(store: Registry[str], loader: Loader) -> None:
    assert loader.loaded == [4, 3]
    assert loaded(store) == [3, 4]


def test_without_a_budget_all_are_loaded(tmp_path: Path, put: Put, loader: Loader) -> None:
    for version in (1, 2):
        put("vqvae-64", version)
    store = Registry(tmp_path, loader)
    store.open()
    assert loaded(store) == [1, 2]


def test_a_model_that_is_asked_for_takes_the_place_of_the_least_recently_used(store: Registry[str]) -> None:
    in_hand = store.get(version=3).model
    assert store.get(version=1).peek() is None
    assert store.get(version=1).model == "weights of vqvae-64/1"
    assert store.get(version=1).peek() == "weights of vqvae-64/1"
    assert loaded(store) == [1, 4]
    assert in_hand == "weights of vqvae-64/3"
    assert store.get(version=3).model == in_hand
    assert loaded(store) == [3, 4]


def test_what_is_used_stays(tmp_path: Path, put: Put, loader: Loader) -> None:
    for version in (1, 2, 3, 4):
        put("vqvae-64", version)
    store = Registry(tmp_path, loader, 3 * ONE)
    store.open()
    assert loaded(store) == [2, 3, 4]
    assert store.get(version=2).model
    assert store.get(version=1).model
    assert loaded(store) == [1, 2, 4]


def test_defaults_stay_over_any_budget(tmp_path: Path, put: Put, loader: Loader) -> None:
    put("vae-64", 1)
    put("vqvae-64", 1)
    put("vqvae-64", 2)
    store = Registry(tmp_path, loader, 0)
    store.open()
    assert [entry.loaded for entry in store.entries] == [True, False, True]
    assert store.get("vqvae-64", 1).model == "weights of vqvae-64/1"
    assert [entry.loaded for entry in store.entries] == [True, True, True]
    assert not store.refresh()
    assert loader.loaded == [1, 2, 1]


def test_a_new_default_takes_the_place_of_the_old(tmp_path: Path, put: Put, store: Registry[str]) -> None:
    assert store.get(version=4).model
    put("vqvae-64", 5)
    store.refresh()
    assert loaded(store) == [4, 5]
    (tmp_path / "store.json").write_text('{"default_versions": {"vqvae-64": 1}}')
    store.refresh()
    assert 1 in loaded(store)
    assert len(loaded(store)) == 2


def test_a_model_is_loaded_once_for_all_who_ask(store: Registry[str], loader: Loader) -> None:
    entry, start = store.get(version=1), threading.Barrier(8)

    def ask(_: int) -> str:
        start.wait()
        return entry.model

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == {"weights of vqvae-64/1"}
    assert loader.loaded.count(1) == 1


def test_look_ups_do_not_wait_for_a_model_that_loads(tmp_path: Path, put: Put) -> None:
    def load(stored: StoredVersion) -> str:
        if stored.manifest.version == 1:
            loading.set()
            assert looked_up.wait(30)
        return "model"

    loading, looked_up = threading.Event(), threading.Event()
    put("vqvae-64", 1)
    put("vqvae-64", 2)
    store = Registry(tmp_path, load, 0)
    store.open()
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(lambda: store.get(version=1).model)
        assert loading.wait(30)
        assert store.get().model == "model"
        assert not store.get(version=1).loaded
        assert not store.refresh()
        looked_up.set()
        assert slow.result(30) == "model"


def test_what_was_damaged_meanwhile_is_refused(store: Registry[str], loader: Loader) -> None:
    entry = store.get(version=1)
    original = entry.stored.weights.read_bytes()
    entry.stored.weights.write_bytes(bytes(ONE))
    with pytest.raises(RefusedVersion, match="SHA-256"):
        _ = entry.model
    assert 1 not in loader.loaded
    assert [(refusal.version, "SHA-256" in refusal.reason) for refusal in store.refused] == [(1, True)]
    with pytest.raises(RefusedVersion):
        store.by_tag(entry.stored.tag)
    with pytest.raises(RefusedVersion):
        _ = entry.model
    assert store.refresh(), "this is news to whoever asks refresh"
    entry.stored.weights.write_bytes(original)
    assert store.refresh()
    assert store.get(version=1).model == "weights of vqvae-64/1"


def test_what_was_withdrawn_meanwhile_is_unknown(store: Registry[str]) -> None:
    entry = store.get(version=1)
    shutil.rmtree(entry.stored.folder)
    for _ in range(2):
        with pytest.raises(UnknownVersion, match="no version 1 of vqvae-64 any more") as caught:
            _ = store.get(version=1).model
        assert caught.value.facts["known"] == [2, 3, 4]
    assert store.refresh()
    assert [entry.stored.manifest.version for entry in store.entries] == [2, 3, 4]


def test_what_is_withdrawn_while_it_loads_is_unknown(store: Registry[str], loader: Loader) -> None:
    entry, other = store.get(version=1), store.get(version=2)
    shutil.rmtree(entry.stored.folder)
    loader.error = FileNotFoundError(entry.stored.weights)
    with pytest.raises(UnknownVersion):
        _ = entry.model
    loader.error = KeyError("decoder")  # another version is refused, and the store served anew without it
    with pytest.raises(RefusedVersion):
        _ = other.model
    loader.error = None
    assert not any(refusal.version == 1 for refusal in store.refused)
    with pytest.raises(UnknownVersion):
        _ = store.get(version=1).model


def test_what_was_changed_meanwhile_is_refused(store: Registry[str], edit: Callable[..., None]) -> None:
    entry = store.get(version=1)
    edit(entry.stored.folder, description="Another.")
    with pytest.raises(RefusedVersion, match="never changed"):
        _ = entry.model


def test_what_does_not_load_is_refused_until_its_files_change(store: Registry[str], loader: Loader) -> None:
    entry, loader.error = store.get(version=1), KeyError("decoder")
    with pytest.raises(RefusedVersion, match="It does not load: KeyError: 'decoder'"):
        _ = entry.model
    loader.error = None
    assert store.refresh()
    with pytest.raises(RefusedVersion):
        store.get(version=1)
    entry.stored.weights.touch()
    assert store.refresh()
    assert store.get(version=1).model == "weights of vqvae-64/1"


def test_what_the_disk_did_not_give_is_tried_again(store: Registry[str], loader: Loader) -> None:
    entry, loader.error = store.get(version=1), OSError(24, "Too many open files")
    with pytest.raises(RefusedVersion, match="Too many open files"):
        _ = entry.model
    loader.error = None
    store.refresh()
    assert store.get(version=1).model == "weights of vqvae-64/1"
