"""Choosing defaults and withdrawing versions, in a folder and in an object store."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cameo.errors import StoreError, UnknownVersion
from cameo.store import Draft, open_store, publish, set_default, withdraw
from cameo.store.snapshot import StoreConfig
from tests.s3 import S3
from training.__main__ import main as training

WRITERS = 6


@pytest.fixture(params=["folder", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path, make_draft: Callable[..., Draft]) -> str:
    """Six models, each in the versions 1 and 2."""
    if request.param == "folder":
        where = str(tmp_path / "store")
        Path(where).mkdir()
    else:
        s3: S3 = request.getfixturevalue("s3")
        where = s3.url(f"defaults/{tmp_path.name}")
    for key in ((f"m{number}", version) for number in range(WRITERS) for version in (1, 2)):
        publish(where, make_draft(*key), weights=b"w", dtype="float32", card="", check=lambda stored: None)
    return where


def config(store: str) -> StoreConfig:
    return StoreConfig.parse(open_store(store).read_config()[0])


def test_nobodys_choice_is_lost(store: str) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda number: set_default(store, f"m{number}", 1), range(WRITERS)))
    assert config(store).default_versions == {f"m{number}": 1 for number in range(WRITERS)}


def test_of_those_who_read_the_same_one_wins(store: str) -> None:
    opened = open_store(store)
    set_default(store, "m0")
    _, before = opened.read_config()
    texts = [f'{{"default_model": "m{number}"}}'.encode() for number in range(1, WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(lambda text: open_store(store).write_config(text, before), texts))
    assert sum(won) == 1
    assert opened.read_config()[0] == texts[won.index(True)]
    assert not opened.write_config(b"{}", before)


def test_what_is_not_there_is_not_chosen(store: str) -> None:
    with pytest.raises(StoreError, match="names version 3 of 'm0', which is not in the store"):
        set_default(store, "m0", 3)
    with pytest.raises(StoreError, match="names the model 'nobody', which is not in the store"):
        set_default(store, "nobody")
    assert open_store(store).read_config()[0] is None


def test_a_default_is_not_withdrawn(store: str) -> None:
    set_default(store, "m0", 1)
    with pytest.raises(StoreError, match=r"m0/1 is a default in store\.json: make another one the default first"):
        withdraw(store, ("m0", 1))
    withdraw(store, ("m0", 2))
    assert [version for name, version in open_store(store).look()[0] if name == "m0"] == [1]
    with pytest.raises(UnknownVersion):
        withdraw(store, ("m0", 2))


def test_the_commands(store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["training", *words, "--store", store])
        return training()

    assert [run("default", "m1"), run("default", "m0/1"), run("withdraw", "m0/2")] == [0, 0, 0]
    said = (
        '{"default_model":"m1"}\n{"default_model":"m1","default_versions":{"m0":1}}\n' + f"m0/2 is gone from {store}\n"
    )
    assert capsys.readouterr().out == said
    assert [run("withdraw", "m0/1"), run("default", "m0/x")] == [1, 1]
    errors = capsys.readouterr().err
    assert "error: m0/1 is a default in store.json" in errors
    assert "error: 'm0/x' is no version: give NAME/VERSION" in errors
