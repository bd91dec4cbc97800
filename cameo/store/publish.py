"""Put a new version into a store: all of it, verified, or nothing."""

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cameo.store.base import Store, open_store
from cameo.store.folder import sync, write
from cameo.store.manifest import Draft, Dtype, Manifest, Weights, tag
from cameo.store.reader import CARD, MANIFEST, WEIGHTS, StoredVersion, read_folder


def next_version(store: Store | str | os.PathLike[str], name: str) -> int:
    """One more than the highest version of ``name`` in the store, refused ones included; 1 if there is none."""
    return 1 + max((version for other, version in open_store(store).look()[0] if other == name), default=0)


def publish(
    store: Store | str | os.PathLike[str],
    draft: Draft,
    *,
    weights: bytes | Callable[[Path], object],
    dtype: Dtype,
    card: str,
    check: Callable[[StoredVersion], object],
) -> StoredVersion:
    """Write the version into ``store`` and make it visible at once, after it has proved itself.

    ``weights`` are the bytes of the file, or a function that writes it at the path it is given. ``check``
    gets the version as read back from the disk, still in its temporary folder, and raises unless the model
    loads from there and survives a round trip. The manifest's ``created`` may move by microseconds, so that
    no other version in the store has the same tag.

    Raises VersionExists, since a version is never replaced; StoreError if the store is missing; and whatever
    ``weights``, ``check`` or the disk raise. An error before the version is visible leaves no version behind.
    """
    store = open_store(store)
    with store.drafting(draft) as folder:
        write(folder / CARD, card.encode())
        described = _write_weights(folder, weights, dtype, store.weights_name)
        manifest = _with_a_tag_of_its_own(store, Manifest.complete(draft, described))
        write(folder / MANIFEST, manifest.to_json())
        sync(folder)
        stored = read_folder(folder)
        check(stored)
        return store.commit(folder, stored)


def _write_weights(
    folder: Path, weights: bytes | Callable[[Path], object], dtype: Dtype, name: Callable[[str], str]
) -> Weights:
    path = folder / WEIGHTS
    if callable(weights):
        weights(path)
        # safetensors makes its files private to their owner; a service of another user must read them, too.
        shutil.copymode(folder / CARD, path)
    else:
        path.write_bytes(weights)
    sync(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    path = path.rename(folder / name(sha256))
    return Weights(file=path.name, sha256=sha256, bytes=path.stat().st_size, dtype=dtype)


def _with_a_tag_of_its_own(store: Store, manifest: Manifest) -> Manifest:
    taken = {store.stored_tag(key) for key in store.look()[0]}
    while tag(manifest.to_json()) in taken:
        manifest = manifest.model_copy(update={"created": manifest.created + timedelta(microseconds=1)})
    return manifest
