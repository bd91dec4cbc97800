"""Put a new version into a store: all of it, verified, or nothing."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from errno import EEXIST, ENOTEMPTY
from pathlib import Path

from cameo.errors import StoreError, VersionExists
from cameo.store.manifest import Draft, Dtype, Manifest, Weights, tag
from cameo.store.reader import CARD, MANIFEST, WEIGHTS, StoredVersion, read_folder, scan, stored_tag


def next_version(root: Path, name: str) -> int:
    """One more than the highest version of ``name`` in the store, refused ones included; 1 if there is none."""
    return 1 + max((int(folder.name) for folder in scan(root) if folder.parent.name == name), default=0)


def publish(
    root: Path,
    draft: Draft,
    *,
    weights: bytes | Callable[[Path], object],
    dtype: Dtype,
    card: str,
    check: Callable[[StoredVersion], object],
) -> StoredVersion:
    """Write ``<root>/<name>/<version>`` and make it visible in one rename, after it has proved itself.

    ``weights`` are the bytes of the file, or a function that writes it at the path it is given. ``check``
    gets the version as read back from the disk, still in its temporary folder, and raises unless the model
    loads from there and survives a round trip. The manifest's ``created`` may move by microseconds, so that
    no other version in the store has the same tag.

    Raises VersionExists, since a version is never replaced; StoreError if the store's folder is missing;
    and whatever ``weights``, ``check`` or the disk raise. An error up to the rename leaves the store as it was.
    """
    if not root.is_dir():
        raise StoreError("The model store's folder does not exist.", root=str(root))
    home = root / draft.name
    final = home / str(draft.version)
    if final.exists():
        raise _exists(draft)
    with _temporary_folder(home, draft.version) as folder:
        _write(folder / CARD, card.encode())
        described = _write_weights(folder, weights, dtype)
        manifest = _with_a_tag_of_its_own(root, Manifest.complete(draft, described))
        _write(folder / MANIFEST, manifest.to_json())
        _sync(folder)
        stored = read_folder(folder)
        check(stored)
        try:
            folder.rename(final)
        except OSError as error:
            if error.errno in (EEXIST, ENOTEMPTY):
                raise _exists(draft) from error
            raise
    _sync(home)
    _sync(root)
    return replace(stored, folder=final, weights=final / WEIGHTS)


@contextmanager
def _temporary_folder(home: Path, version: int) -> Iterator[Path]:
    # The name is random and not the process id, which is 1 in every container that shares the store.
    home.mkdir(exist_ok=True)
    folder = home / f".tmp-{version}-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # other versions live there
            home.rmdir()
        raise


def _write_weights(folder: Path, weights: bytes | Callable[[Path], object], dtype: Dtype) -> Weights:
    path = folder / WEIGHTS
    if callable(weights):
        weights(path)
        # safetensors makes its files private to their owner; a service of another user must read them, too.
        shutil.copymode(folder / CARD, path)
    else:
        path.write_bytes(weights)
    _sync(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Weights(file=WEIGHTS, sha256=sha256, bytes=path.stat().st_size, dtype=dtype)


def _with_a_tag_of_its_own(root: Path, manifest: Manifest) -> Manifest:
    taken = {stored_tag(folder) for folder in scan(root)}
    while tag(manifest.to_json()) in taken:
        manifest = manifest.model_copy(update={"created": manifest.created + timedelta(microseconds=1)})
    return manifest


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


def _sync(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's entries, before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exists(draft: Draft) -> VersionExists:
    return VersionExists(
        f"Version {draft.version} of {draft.name} is already in the store; publish under a new number.",
        name=draft.name,
        version=draft.version,
    )
