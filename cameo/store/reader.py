"""Find the versions in a store, and verify one before anything is loaded from it."""

import errno
import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from cameo.errors import RefusedVersion
from cameo.store.manifest import NAME_PATTERN, Manifest, Weights, digest, tag

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
CARD = "card.md"
THRESHOLDS = "verification.json"  # of verification, see cameo.faces.verification
MOST_JSON_BYTES = 2**20  # of a manifest, or store.json; the largest so far has 30 kB
SETTLED_NS = 2_000_000_000  # no common file system keeps times coarser than this

Key = tuple[str, int]
Fingerprint = tuple[tuple[str | int, ...], ...]


@dataclass(frozen=True)
class StoredVersion:
    """A verified version. ``digest`` is the SHA-256 of its manifest file, ``tag`` its first two bytes."""

    manifest: Manifest
    folder: Path
    digest: str
    tag: bytes
    weights: Path

    @property
    def key(self) -> Key:
        """Name and version."""
        return self.manifest.name, self.manifest.version


def scan(root: Path) -> list[Path]:
    """The folders ``<root>/<name>/<version>``, by name and then by number, verified or not.

    Hidden, temporary and any other entries are passed over. Raises OSError if a folder cannot be listed.
    """
    return [
        folder
        for home in sorted(root.iterdir())
        if is_name(home.name) and home.is_dir()
        for folder in sorted((f for f in home.iterdir() if is_number(f.name) and f.is_dir()), key=lambda f: int(f.name))
    ]


def read_version(folder: Path) -> StoredVersion:
    """Verify the version in ``<root>/<name>/<version>``; this reads all of its weights once.

    Raises RefusedVersion, with the reason: the manifest cannot be read, has an unknown schema or belongs
    into another folder, or the weights are missing or differ from what the manifest says.
    """
    name, number = folder.parent.name, folder.name
    try:
        stored = read_folder(folder)
        check_path(stored.manifest, name, number)
    except (OSError, ValueError) as error:
        raise refusal(name, int(number) if is_number(number) else number, error) from error
    return stored


def check_path(manifest: Manifest, name: str, number: str) -> None:
    """ValueError for a manifest that belongs elsewhere."""
    if (name, number) != (manifest.name, str(manifest.version)):
        raise ValueError(f"The manifest is of {manifest.name} version {manifest.version}.")


def refusal(name: str, number: int | str, error: Exception) -> RefusedVersion:
    """What to raise for a version that cannot be read because of ``error``."""
    reason = _reason(error)
    return RefusedVersion(
        f"Version {number} of {name} failed verification: {reason}", name=name, version=number, reason=reason
    )


def read_folder(folder: Path) -> StoredVersion:
    """Verify a version that may still lie in a folder of another name. Raises OSError or ValueError."""
    data = read_json(folder / MANIFEST)
    manifest = Manifest.parse(data)
    weights = folder / manifest.weights.file
    check_weights(weights, manifest.weights)
    return StoredVersion(manifest, folder, digest(data), tag(data), weights)


def check_weights(path: Path, expected: Weights) -> None:
    """Read a file of weights once. OSError, or ValueError where it is not the one that a manifest names."""
    with _open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size != expected.bytes:
            raise ValueError(f"The weights have {size} bytes, not {expected.bytes}.")
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.sha256:
        raise ValueError(f"The weights have the SHA-256 {found}, not {expected.sha256}.")


def stored_tag(folder: Path) -> bytes | None:
    """The tag in payloads of the version in ``folder``, verified or not; None if its manifest is unreadable."""
    try:
        return tag(read_json(folder / MANIFEST))
    except (OSError, ValueError):
        return None


def read_json(path: Path) -> bytes:
    """The bytes of a manifest or of ``store.json``. Raises OSError, or ValueError for one that cannot be one."""
    with _open_regular(path) as file:
        data = file.read(MOST_JSON_BYTES + 1)
    if len(data) > MOST_JSON_BYTES:
        raise ValueError(f"{path.name} has more than {MOST_JSON_BYTES} bytes.")
    return data


def _open_regular(path: Path) -> BufferedReader:
    """A file to read. OSError, or ValueError for a pipe or a device, of which reading may never end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise ValueError(f"{path.name} is not a file.")
    return os.fdopen(descriptor, "rb")


def fingerprint(*paths: Path) -> Fingerprint:
    """What the file system says of files without reading them; another one after any change. Never raises.

    The time of the last change of any kind is part of it, since a copy may set the time of modification back.
    """
    return tuple(_stat(path) for path in paths)


def folder_fingerprint(folder: Path) -> Fingerprint:
    """The :func:`fingerprint` of a version's manifest and weights."""
    return fingerprint(folder / MANIFEST, *sorted(folder.glob("*.safetensors")))


def settled(stamp: Fingerprint) -> bool:
    """Whether all files were last changed so long ago that the next change gives them another time."""
    now = time.time_ns()
    return all(len(one) == 2 or abs(now - int(one[-1])) > SETTLED_NS for one in stamp)


def _stat(path: Path) -> tuple[str | int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return path.name, error.errno or 0
    return path.name, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_name(name: str) -> bool:
    return re.fullmatch(NAME_PATTERN, name) is not None


def is_number(name: str) -> bool:
    return re.fullmatch("[1-9][0-9]*", name) is not None


def _reason(error: Exception) -> str:
    # An OSError's own words hold the path on this machine, which is no business of the service's clients.
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name}: {error.strerror}."
    return str(error)
