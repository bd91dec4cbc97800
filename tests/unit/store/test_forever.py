import shutil
import subprocess
from pathlib import Path

import pytest

from cameo.errors import StoreError
from cameo.store import forever, withdraw
from tests.tiny import publish_tiny


@pytest.fixture
def store(tmp_path: Path, tiny_store: Path) -> Path:
    """A store with its list, not that of other tests."""
    root = tmp_path / "store"
    shutil.copytree(tiny_store, root)
    (root / forever.FILE).touch()
    for manifest in sorted(root.glob("*/*/manifest.json")):
        forever.add(root, manifest.parts[-3], int(manifest.parts[-2]))
    return root


def test_a_store_as_it_was_published_has_no_problem(store: Path) -> None:
    assert forever.problems(store) == []
    assert "tiny-vae/2" in forever.versions(store)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", forever.FILE], cwd=store, check=True)


def test_a_version_may_not_leave(store: Path) -> None:
    shutil.rmtree(store / "tiny-vae" / "1")
    found = forever.problems(store)
    assert [line.split()[0] for line in found] == ["tiny-vae/1/manifest.json", "tiny-vae/1/model.safetensors"]
    assert "has left" in found[0]


@pytest.mark.parametrize("kept", forever.KEPT)
def test_a_version_may_not_change(store: Path, kept: str) -> None:
    with (store / "tiny-vae/1" / kept).open("ab") as file:
        file.write(b" ")
    (problem,) = forever.problems(store)
    assert f"tiny-vae/1/{kept} has changed" in problem


def test_card_and_thresholds_may_change(store: Path) -> None:
    (store / "tiny-vae/1/card.md").write_text("better")
    (store / "tiny-vae/1/verification.json").unlink()
    assert forever.problems(store) == []


def test_a_version_that_is_not_listed_is_named(store: Path) -> None:
    shutil.copytree(store / "tiny-vae/2", store / "tiny-vae/3")
    found = forever.problems(store)
    assert len(found) == 2
    assert "tiny-vae/3/manifest.json is not listed" in found[0]
    forever.add(store, "tiny-vae", 3)
    assert forever.problems(store) == []


def test_what_is_published_is_listed_and_cannot_be_withdrawn(store: Path) -> None:
    publish_tiny(store, "tiny-vae", seed=3)
    assert forever.problems(store) == []
    with pytest.raises(StoreError, match="tiny-vae/3 is listed in FOREVER"):
        withdraw(store, ("tiny-vae", 3))
    assert (store / "tiny-vae/3").is_dir()


def test_a_store_without_a_list_gets_none(tiny_store: Path) -> None:
    forever.add(tiny_store, "tiny-vae", 1)
    assert not (tiny_store / forever.FILE).exists()


def test_a_damaged_list_is_an_error(store: Path) -> None:
    for line in ("abc  tiny-vae/1/manifest.json", "0" * 64 + "  tiny-vae/1/card.md", "0" * 64 + " x"):
        (store / forever.FILE).write_text(line + "\n")
        with pytest.raises(ValueError, match="has a line that is not"):
            forever.problems(store)


def test_a_list_only_grows() -> None:
    assert forever.removed("a\nb\n", "b\nc\na\n") == []
    assert forever.removed("a\nb\n", "b\n") == ["a"]
