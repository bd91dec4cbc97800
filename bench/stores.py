"""Small model stores for measurements: one version alone, and copies of it under the next numbers."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.server import BenchError
from cameo import codec
from cameo.store.manifest import Draft
from cameo.store.publish import publish
from cameo.store.reader import CARD, StoredVersion, read_version, scan


def default_version(store: Path, name: str | None = None) -> StoredVersion:
    """The version that a request gets that names no version, of ``name`` or of the store's default model."""
    config_file = store / "store.json"
    config = json.loads(config_file.read_bytes()) if config_file.exists() else {}
    folders = scan(store)
    name = name or config.get("default_model") or (folders[0].parent.name if folders else None)
    numbers = [int(folder.name) for folder in folders if folder.parent.name == name]
    if name is None or not numbers:
        raise BenchError(f"there is no model {name!r} in {store}")
    return read_version(store / name / str(config.get("default_versions", {}).get(name, max(numbers))))


@contextlib.contextmanager
def store_of_one(stored: StoredVersion) -> Iterator[Path]:
    """A store that holds one version and nothing else, by a link."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, stored.manifest.name)
        home.mkdir()
        (home / str(stored.manifest.version)).symlink_to(stored.folder.resolve(), target_is_directory=True)
        yield Path(folder)


def republish(store: Path, stored: StoredVersion, version: int) -> StoredVersion:
    """Publish a version again under another number: the same weights and tokens, a tag of its own."""
    kept = stored.manifest.model_dump(exclude={"weights"})
    draft = Draft(**kept | {"version": version, "created": datetime.now(UTC)})

    def proven(_: StoredVersion) -> None:
        """Its weights are those of a version that serves."""

    weights = stored.weights.read_bytes()
    card = (stored.folder / CARD).read_text()
    return publish(store, draft, weights=weights, dtype=stored.manifest.weights.dtype, card=card, check=proven)


def withdraw(stored: StoredVersion) -> None:
    """Take a version out of its store in one step: no reader sees half of it."""
    hidden = stored.folder.with_name(f".withdrawn-{stored.folder.name}")
    stored.folder.rename(hidden)
    shutil.rmtree(hidden)


def retag(payload: bytes, stored: StoredVersion) -> bytes:
    """What ``stored`` makes of the picture of which a version with the same weights made ``payload``.

    Not where ``payload`` is progressive and lacks bytes of its budget, which its own checksum made the coder leave out.
    """
    return codec.wrap(replace(codec.unwrap(payload), tag=stored.tag))


def copy_version(stored: StoredVersion, store: Path) -> StoredVersion:
    """The same version in another store, its bytes and tag unchanged, visible in one rename."""
    name, number = stored.manifest.name, str(stored.manifest.version)
    home = store / name
    home.mkdir(exist_ok=True)
    hidden = home / f".copy-{number}"
    shutil.copytree(stored.folder, hidden)
    final = hidden.rename(home / number)
    return replace(stored, folder=final, weights=final / stored.weights.name)
