"""Files, and objects of an object store, by their address: a path, or s3://bucket/name, gs:// or az://.

What goes wrong is an OSError, or in an object store a CameoError.
"""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cameo.cli.folder import photos
from cameo.pictures.junk import is_junk

if TYPE_CHECKING:
    from cameo.store.bucket import Bucket

MOST_BYTES = 2**30  # of one photo or part, to be read at once


def is_remote(address: str) -> bool:
    return "://" in address


def join(address: str, name: str) -> str:
    return f"{address.rstrip('/')}/{name}"


def find(address: str) -> list[str]:
    """Addresses of a file, or of all in a folder or under a prefix, at any depth and without hidden ones; sorted."""
    if not is_remote(address):
        return photos.find([address])
    bucket, path = _split(address)
    found = [each.path for each in bucket.list(path or None)]
    if not found and path and bucket.holds(path):
        found = [path]
    inside = (name for name in found if not any(part.startswith(".") for part in name[len(path) :].split("/")))
    return [join(bucket.url, name) for name in sorted(inside) if not is_junk(name)]


def read(address: str) -> bytes:
    if not is_remote(address):
        return Path(address).read_bytes()
    bucket, path = _split(address)
    return bucket.get(path, MOST_BYTES)[0]


def reader(address: str) -> BinaryIO:
    """A file to read and seek in."""
    if not is_remote(address):
        return Path(address).open("rb")
    bucket, path = _split(address)
    return bucket.reader(path)


def create(address: str, data: bytes) -> None:
    """All of a new file, or nothing. FileExistsError where there is one, whoever else writes it at the same time."""
    if is_remote(address):
        from cameo.store.bucket import Conflict  # noqa: PLC0415 - an extra

        bucket, path = _split(address)
        try:
            bucket.put(path, data, create=True)
        except Conflict:
            raise FileExistsError(None, "it is there already", address) from None
        return
    target = Path(address)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        target.hardlink_to(partial)  # unlike a rename, it never replaces a file
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _split(address: str) -> "tuple[Bucket, str]":
    scheme, _, rest = address.partition("://")
    name, _, path = rest.partition("/")
    return _bucket(f"{scheme}://{name}"), path.rstrip("/")


@cache
def _bucket(url: str) -> "Bucket":
    from cameo.store.bucket import Bucket  # noqa: PLC0415 - an extra

    return Bucket(url)
