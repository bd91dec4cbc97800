"""A model store in an object store: S3, Google Cloud Storage, Azure, or a server that speaks as they do.

A version is there when its manifest is. A publisher writes the weights first, under a name with their digest, so that
two publishers of one version never overwrite each other's; then the manifest, only if there is none. So whoever sees
a manifest sees all of its version, and of several publishers one wins. A listing gives the ETags of all manifests and
weights: a look at a store in which nothing has changed is one request, and no download.
"""

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cameo.errors import StoreError, StoreUnavailable
from cameo.store.bucket import Bucket, Conflict, Object
from cameo.store.cache import Cache
from cameo.store.folder import unknown_version, version_exists
from cameo.store.manifest import Draft, Manifest, digest, tag
from cameo.store.reader import (
    CARD,
    MANIFEST,
    MOST_JSON_BYTES,
    THRESHOLDS,
    Fingerprint,
    Key,
    StoredVersion,
    check_path,
    is_name,
    is_number,
    refusal,
)
from cameo.store.snapshot import CONFIG

log = logging.getLogger("cameo.store")

WEIGHTS_SUFFIX = ".safetensors"


class ObjectStore:
    """``<url>/<name>/<version>/``. Implements :class:`cameo.store.base.Store`."""

    def __init__(self, url: str, cache: Cache) -> None:
        self._bucket, self._cache = Bucket(url), cache

    def __str__(self) -> str:
        return str(self._bucket)

    def look(self) -> tuple[dict[Key, Fingerprint], Fingerprint]:
        objects = self._bucket.list()
        config = tuple((one.path, one.etag, one.size) for one in objects if one.path == CONFIG)
        return _versions(objects), config

    def settled(self, stamp: Fingerprint) -> bool:
        return True  # an ETag changes with every change

    def read(self, key: Key, stamp: Fingerprint | None = None) -> StoredVersion:
        name, version = key
        if stamp is None:
            stamp = _versions(self._bucket.list(_path(key))).get(key, ())
        sizes = {str(file): size for file, _, size in stamp}
        try:
            data, _ = self._bucket.get(_path(key, MANIFEST), MOST_JSON_BYTES)
            manifest = Manifest.parse(data)
            check_path(manifest, name, str(version))
            weights = manifest.weights
            if weights.file not in sizes:
                raise ValueError(f"{weights.file}: there is no such object.")
            if sizes[weights.file] != weights.bytes:
                raise ValueError(f"The weights have {sizes[weights.file]} bytes, not {weights.bytes}.")
        except (OSError, ValueError) as error:
            raise refusal(name, version, error) from error
        folder = self._cache.place(str(self), digest(data))
        return StoredVersion(manifest, folder, digest(data), tag(data), folder / weights.file)

    @contextmanager
    def local(self, stored: StoredVersion, stamp: Fingerprint | None) -> Iterator[StoredVersion]:
        # What is in the cache needs no look at the store: it has the digest that the manifest names.
        path = _path(stored.key, stored.manifest.weights.file)
        with ExitStack() as stack:
            try:
                chunks = self._bucket.chunks(path, stored.manifest.weights.bytes)
                stack.enter_context(self._cache.holding(stored, chunks))
                self._fetch_thresholds(stored)
            except (OSError, ValueError) as error:
                raise refusal(*stored.key, error) from error
            yield stored

    def stored_tag(self, key: Key) -> bytes | None:
        try:
            return tag(self._bucket.get(_path(key, MANIFEST), MOST_JSON_BYTES)[0])
        except (OSError, ValueError):
            return None

    def holds(self, key: Key) -> bool:
        try:
            return self._bucket.holds(_path(key, MANIFEST))
        except StoreError:
            return True

    def read_config(self) -> tuple[bytes | None, Any]:
        try:
            return self._bucket.get(CONFIG, MOST_JSON_BYTES)
        except FileNotFoundError:
            return None, None
        except ValueError as error:
            raise StoreError(f"{CONFIG} is broken: {error}", file=CONFIG) from error

    def write_config(self, data: bytes, before: Any) -> bool:
        try:
            self._bucket.put(CONFIG, data, replaces=before, create=before is None)
        except Conflict:
            return False
        except StoreUnavailable:
            there, now = self.read_config()
            if there != data and now == before:  # else it was written, by this or somebody else
                raise
            return there == data
        return True

    def weights_name(self, sha256: str) -> str:
        return f"model-{sha256}{WEIGHTS_SUFFIX}"

    @contextmanager
    def drafting(self, draft: Draft) -> Iterator[Path]:
        if self._bucket.holds(_path((draft.name, draft.version), MANIFEST)):
            raise version_exists(draft)
        with tempfile.TemporaryDirectory(prefix="cameo-") as folder:
            yield Path(folder)

    def commit(self, folder: Path, stored: StoredVersion) -> StoredVersion:
        key, weights, data = stored.key, stored.manifest.weights, (folder / MANIFEST).read_bytes()
        path = _path(key, weights.file)
        self._bucket.put(path, stored.weights)
        there = hashlib.sha256()
        for chunk in self._bucket.chunks(path, weights.bytes):
            there.update(chunk)
        if there.hexdigest() != weights.sha256:
            raise StoreError(f"The weights read differently from {self} than they were written.", root=str(self))
        if not self._create_manifest(key, data):
            self._forget_weights(key, weights.file)
            raise version_exists(stored.manifest)
        self._bucket.put(_path(key, CARD), folder / CARD)  # for people; nobody but the winner writes it
        final = self._cache.place(str(self), stored.digest)
        return replace(stored, folder=final, weights=final / weights.file)

    def withdraw(self, key: Key) -> None:
        paths = [one.path for one in self._bucket.list(_path(key))]
        manifest = _path(key, MANIFEST)
        if manifest not in paths:
            raise unknown_version(key, str(self))
        self._bucket.delete(manifest, *(path for path in paths if path != manifest))

    def _create_manifest(self, key: Key, data: bytes) -> bool:
        path = _path(key, MANIFEST)
        try:
            self._bucket.put(path, data, create=True)
        except (Conflict, StoreUnavailable):
            # A write whose answer was lost may have been done, or tried again against itself.
            try:
                return self._bucket.get(path, MOST_JSON_BYTES)[0] == data
            except FileNotFoundError:
                raise StoreUnavailable(f"{path} could not be written to {self}: try again.", root=str(self)) from None
            except ValueError:
                return False
        return True

    def _forget_weights(self, key: Key, file: str) -> None:
        """Delete what the publisher that lost has written, unless the winner's manifest names the same file."""
        with suppress(StoreError):  # nobody reads what no manifest names
            if self.read(key).manifest.weights.file != file:
                self._bucket.delete(_path(key, file))

    def _fetch_thresholds(self, stored: StoredVersion) -> None:
        """Thresholds may be added to a published version, or measured again; in an outage those of before serve."""
        file = stored.folder / THRESHOLDS
        try:
            data, _ = self._bucket.get(_path(stored.key, THRESHOLDS), MOST_JSON_BYTES)
        except FileNotFoundError:
            file.unlink(missing_ok=True)
        except (StoreUnavailable, ValueError) as error:
            log.warning("%s of %s/%d was not fetched: %s", THRESHOLDS, *stored.key, error)
        else:
            file.write_bytes(data)


def _versions(objects: list[Object]) -> dict[Key, Fingerprint]:
    """The manifests and weights of each version that has a manifest, with their ETags and sizes."""
    files: dict[Key, list[tuple[str | int, ...]]] = {}
    for one in objects:
        name, _, rest = one.path.partition("/")
        number, _, file = rest.partition("/")
        if is_name(name) and is_number(number) and (file == MANIFEST or file.endswith(WEIGHTS_SUFFIX)):
            files.setdefault((name, int(number)), []).append((file, one.etag, one.size))
    there = {key: tuple(sorted(found)) for key, found in files.items() if any(file[0] == MANIFEST for file in found)}
    return dict(sorted(there.items()))


def _path(key: Key, file: str | None = None) -> str:
    home = f"{key[0]}/{key[1]}"
    return home if file is None else f"{home}/{file}"
