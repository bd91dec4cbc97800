"""What a model store is to its readers and writers, whether a folder or an object store; and how one is opened."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from cameo.errors import StoreError
from cameo.store.folder import FolderStore
from cameo.store.manifest import Draft
from cameo.store.reader import Fingerprint, Key, StoredVersion

if TYPE_CHECKING:
    from cameo.store.cache import Cache

SCHEMES: Final = ("s3", "gs", "az")


class Store(Protocol):
    """Versions and ``store.json`` somewhere. ``str()`` names the place.

    Every method may raise StoreUnavailable where an object store does not answer or refuses the credentials, and
    StoreError where there is no store at all.
    """

    def look(self) -> tuple[dict[Key, Fingerprint], Fingerprint]:
        """All versions, and ``store.json``, each with a fingerprint that changes whenever its files do."""

    def settled(self, stamp: Fingerprint) -> bool:
        """Whether the next change is sure to give another fingerprint."""

    def read(self, key: Key, stamp: Fingerprint | None = None) -> StoredVersion:
        """A version, verified as far as that needs no download of weights. RefusedVersion, with the reason.

        ``stamp`` is its fingerprint, where that is known already.
        """

    def local(self, stored: StoredVersion, stamp: Fingerprint | None) -> AbstractContextManager[StoredVersion]:
        """The version with all its files verified on a disk of this machine, for as long as the context lasts.

        ``stamp`` is the fingerprint that :meth:`read` was given; None: verify again that it is the same version.
        RefusedVersion where it is not, or where its files change meanwhile.
        """

    def stored_tag(self, key: Key) -> bytes | None:
        """The tag in payloads of a version, verified or not; None if its manifest cannot be read."""

    def holds(self, key: Key) -> bool:
        """Whether the version is still there; True where nobody can tell."""

    def read_config(self) -> tuple[bytes | None, Any]:
        """The bytes of ``store.json``, None without one, and what :meth:`write_config` wants to know of it."""

    def write_config(self, data: bytes, before: Any) -> bool:
        """Replace ``store.json`` by compare-and-swap: False where it is no longer the one that was read."""

    def weights_name(self, sha256: str) -> str:
        """What the file of weights with this digest is called."""

    def drafting(self, draft: Draft) -> AbstractContextManager[Path]:
        """An empty folder for the files of a new version, which is gone in the end.

        VersionExists, if that version is there already.
        """

    def commit(self, folder: Path, stored: StoredVersion) -> StoredVersion:
        """Make what lies in ``folder`` a version, all at once. VersionExists, if somebody was faster."""

    def withdraw(self, key: Key) -> None:
        """Take a version away, its manifest first. UnknownVersion."""


def open_store(where: "Store | str | os.PathLike[str]", cache: "Cache | None" = None) -> Store:
    """The store in a folder, or at ``s3://bucket/prefix``, ``gs://...`` or ``az://...``; this asks for nothing yet.

    ``cache`` keeps what comes from object stores, by default as :class:`cameo.store.cache.Cache` does. StoreError for
    another scheme, or where the extra ``objects`` is not installed.
    """
    if not isinstance(where, str | os.PathLike):
        return where
    if is_url(where):
        require_scheme(str(where))
        from cameo.store.cache import Cache  # noqa: PLC0415 - most stores are folders
        from cameo.store.objects import ObjectStore  # noqa: PLC0415

        return ObjectStore(str(where), cache or Cache())
    return FolderStore(Path(where))


def is_url(where: str | os.PathLike[str]) -> bool:
    return "://" in os.fspath(where)


def require_scheme(url: str) -> None:
    """StoreError for a URL of something else than an object store."""
    scheme, _, place = url.partition("://")
    if scheme not in SCHEMES or not place.partition("/")[0]:
        known = ", ".join(f"{scheme}://bucket/prefix" for scheme in SCHEMES)
        raise StoreError(f"{url} is no model store: give a folder, or one of {known}.", root=url)
