"""Copies of versions of object stores, on a disk of this machine."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from cameo.store.reader import StoredVersion, check_weights

LIMIT_BYTES = 4 * 2**30


class Cache:
    """A folder that processes of one machine share; ``limit`` bounds the bytes in it.

    ``stores/<store>/<digest of the manifest>/`` holds the weights of a version, and whatever else it needs. The weights
    are compared with their digest whenever they are used. What was used least recently goes first. One process at a
    time uses the cache, from the download to the end of the load: each file comes once, and none goes too early.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT_BYTES) -> None:
        self._folder = folder or default_folder()
        self._limit = limit

    def place(self, store: str, digest: str) -> Path:
        """Where the files of a version belong."""
        return self._folder / "stores" / hashlib.sha256(store.encode()).hexdigest()[:16] / digest

    @contextmanager
    def holding(self, stored: StoredVersion, chunks: Iterable[bytes]) -> Iterator[None]:
        """Have the weights of a version at ``stored.weights`` for as long as the context lasts.

        ``chunks`` are their bytes, asked for only where they are not there yet. ValueError where they are not what the
        manifest says, or more than the whole cache may have; OSError, with what to do, where the cache cannot be
        written; and whatever ``chunks`` raise.
        """
        with self._lock():
            if not _good(stored):
                self._make_room(stored)
                self._download(stored, chunks)
            os.utime(stored.folder)
            yield

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._folder / ".lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _download(self, stored: StoredVersion, chunks: Iterable[bytes]) -> None:
        part = stored.folder / "part"
        try:
            with self._writing():
                stored.folder.mkdir(parents=True)
                file = part.open("wb", buffering=0)
            with file:
                for chunk in chunks:
                    with self._writing():
                        file.write(chunk)
            check_weights(part, stored.manifest.weights)
            part.replace(stored.weights)
        except BaseException:
            shutil.rmtree(stored.folder, ignore_errors=True)
            raise

    def _make_room(self, stored: StoredVersion) -> None:
        wanted = stored.manifest.weights.bytes
        if wanted > self._limit:
            raise ValueError(f"Its weights have {wanted} bytes, and the cache may have {self._limit}: CAMEO_CACHE_MB.")
        shutil.rmtree(stored.folder, ignore_errors=True)  # damaged, or half of it
        sizes = {
            folder: sum(file.stat().st_size for file in folder.iterdir())
            for folder in sorted(self._folder.glob("stores/*/*/"), key=lambda folder: folder.stat().st_mtime_ns)
        }
        used = sum(sizes.values())
        for folder, size in sizes.items():
            if used + wanted <= self._limit:
                break
            shutil.rmtree(folder)
            used -= size
        free = shutil.disk_usage(self._folder).free
        if free < wanted:  # nothing is fetched in vain, again and again
            raise self._full(f"{wanted} bytes are needed, and {free} are free")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._full(error.strerror or str(error)) from error

    def _full(self, why: str) -> OSError:
        return OSError(
            f"The cache {self._folder} cannot be written: {why}. Make room, or name a folder in CAMEO_CACHE."
        )


def default_folder() -> Path:
    """``$CAMEO_CACHE``, or else ``cameo-faces`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if named := os.environ.get("CAMEO_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cameo-faces"


def _good(stored: StoredVersion) -> bool:
    try:
        check_weights(stored.weights, stored.manifest.weights)
    except (OSError, ValueError):
        return False
    return True
