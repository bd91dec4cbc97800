"""A model store in a folder."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from typing import Any

from filelock import FileLock

from cameo.errors import StoreError, UnknownVersion, VersionExists
from cameo.store import forever, reader
from cameo.store.manifest import Draft
from cameo.store.reader import (
    WEIGHTS,
    Fingerprint,
    Key,
    StoredVersion,
    fingerprint,
    folder_fingerprint,
    read_json,
    read_version,
    scan,
)
from cameo.store.snapshot import CHANGED, CONFIG, not_served


class FolderStore:
    """``<root>/<name>/<version>``; a version appears by one rename. Implements :class:`cameo.store.base.Store`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def look(self) -> tuple[dict[Key, Fingerprint], Fingerprint]:
        try:
            folders = {(folder.parent.name, int(folder.name)): folder for folder in scan(self.root)}
            stamps = {key: folder_fingerprint(folder) for key, folder in folders.items()}
        except OSError as error:
            raise StoreError(f"The model store cannot be read: {error}.", root=str(self)) from error
        return stamps, fingerprint(self.root / CONFIG)

    def settled(self, stamp: Fingerprint) -> bool:
        return reader.settled(stamp)

    def read(self, key: Key, stamp: Fingerprint | None = None) -> StoredVersion:
        return read_version(self._folder(key))

    @contextmanager
    def local(self, stored: StoredVersion, stamp: Fingerprint | None) -> Iterator[StoredVersion]:
        if stamp is None:
            stamp = folder_fingerprint(stored.folder)
            if read_version(stored.folder).digest != stored.digest:
                raise not_served(stored.key, CHANGED)
        yield stored
        if folder_fingerprint(stored.folder) != stamp:
            raise not_served(stored.key, "Its files changed while they were being read.")

    def stored_tag(self, key: Key) -> bytes | None:
        return reader.stored_tag(self._folder(key))

    def holds(self, key: Key) -> bool:
        return self._folder(key).exists()

    def read_config(self) -> tuple[bytes | None, Any]:
        path = self.root / CONFIG
        try:
            data = read_json(path) if path.exists() else None
        except ValueError as error:
            raise StoreError(f"{CONFIG} is broken: {error}", file=CONFIG) from error
        except OSError as error:
            raise StoreError(f"The model store cannot be read: {error}.", root=str(self)) from error
        return data, data

    def write_config(self, data: bytes, before: Any) -> bool:
        with FileLock(self.root / f".{CONFIG}.lock"):
            if self.read_config()[1] != before:
                return False
            temporary = self.root / f".tmp-{CONFIG}"
            write(temporary, data)
            temporary.replace(self.root / CONFIG)
            sync(self.root)
        return True

    def weights_name(self, sha256: str) -> str:
        return WEIGHTS

    @contextmanager
    def drafting(self, draft: Draft) -> Iterator[Path]:
        if not self.root.is_dir():
            raise StoreError("The model store's folder does not exist.", root=str(self))
        if self.holds((draft.name, draft.version)):
            raise version_exists(draft)
        # The name is random and not the process id, which is 1 in every container that shares the store.
        home = self.root / draft.name
        home.mkdir(exist_ok=True)
        folder = home / f".tmp-{draft.version}-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # other versions live there
                home.rmdir()
            raise

    def commit(self, folder: Path, stored: StoredVersion) -> StoredVersion:
        final = self._folder(stored.key)
        sync(folder)
        try:
            folder.rename(final)
        except OSError as error:
            if error.errno in (EEXIST, ENOTEMPTY):
                raise version_exists(stored.manifest) from error
            raise
        sync(final.parent)
        sync(self.root)
        forever.add(self.root, *stored.key)
        return replace(stored, folder=final, weights=final / stored.manifest.weights.file)

    def withdraw(self, key: Key) -> None:
        folder = self._folder(key)
        if forever.lists(self.root, *key):
            raise StoreError(f"{key[0]}/{key[1]} is listed in {forever.FILE}: it stays.", root=str(self))
        hidden = folder.with_name(f".tmp-{folder.name}-{secrets.token_hex(4)}")
        try:
            folder.rename(hidden)
        except FileNotFoundError as error:
            raise unknown_version(key, str(self)) from error
        shutil.rmtree(hidden)

    def _folder(self, key: Key) -> Path:
        return self.root / key[0] / str(key[1])


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync(path)


def sync(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's entries, before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def version_exists(draft: Draft) -> VersionExists:
    return VersionExists(
        f"Version {draft.version} of {draft.name} is already in the store; publish under a new number.",
        name=draft.name,
        version=draft.version,
    )


def unknown_version(key: Key, store: str) -> UnknownVersion:
    name, version = key
    return UnknownVersion(f"There is no version {version} of {name} in {store}.", name=name, version=version)
