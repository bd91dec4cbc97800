"""The members of a tar (POSIX.1-2001, GNU), read in place. :mod:`tarfile` is not used: it copies every earlier extended
header into every member, and keeps all of them.
"""

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from cameo.errors import BrokenArchive

BLOCK = tarfile.BLOCKSIZE
EXTENDED_BYTES = 2**16  # of an extended header; it is for one member's name and size here
RECORDS = 200  # in it

_IS_EXTENDED = 482  # where an old GNU header says that the map of a sparse file goes on in the next block
_GOES_ON = 504  # and where that one says so


class Member(NamedTuple):
    """``start`` and ``size`` of its bytes in the tar; ``is_file`` for a regular one that is not sparse."""

    name: str
    start: int
    size: int
    is_file: bool


def members(body: bytes, most_headers: int) -> Iterator[Member]:
    """In order; BrokenArchive, also after ``most_headers``."""
    at = 0
    extended: dict[str, str] = {}  # what headers of their own say of the next member
    for _ in range(most_headers):
        header = body[at : at + BLOCK]
        if at > len(body):
            raise BrokenArchive(f"the tar is cut short: {len(body)} of at least {at} bytes", bytes=len(body))
        if at and not any(header):  # its end, also without the blocks of zeros
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            if header and len(header) == BLOCK and not any(header):
                return  # of nothing
            raise BrokenArchive(f"the tar cannot be read: no header at byte {at}", offset=at) from error
        at += BLOCK
        if info.type in {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}:
            extended |= _records(_inside(body, at, info.size))
            at += _whole(info.size)
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            extended["path"] = _text(_inside(body, at, info.size).partition(b"\0")[0])
            at += _whole(info.size)
        elif info.type in {tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}:
            at += _whole(info.size)
        else:
            sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in extended)
            if info.type == tarfile.GNUTYPE_SPARSE:
                at = _after_map(body, header, at)
            size = _size(extended.get("size"), info.size, at)
            yield Member(extended.get("path", info.name), at, size, info.isreg() and not sparse)
            if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES:  # of others the size counts no bytes
                at += _whole(size)
            extended = {}
    raise BrokenArchive(f"the tar has more than {most_headers} headers", limit=most_headers)


def _inside(body: bytes, start: int, size: int) -> bytes:
    """The content of an extended header."""
    if not 0 <= size <= EXTENDED_BYTES:
        raise BrokenArchive(
            f"the tar has an extended header of {size} bytes at byte {start}; up to {EXTENDED_BYTES} are read",
            bytes=size, limit=EXTENDED_BYTES,
        )  # fmt: skip
    return body[start : start + size]


def _records(data: bytes) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" that matter here."""
    found: dict[str, str] = {}
    at = 0
    for _ in range(RECORDS):
        length = data[at : at + 8].partition(b" ")[0]
        if not length.isdigit():  # its end, or what is no record
            return found
        key, _, value = data[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        if key in {b"path", b"size"} or key.startswith(b"GNU.sparse."):
            found[_text(key)] = _text(value)
        at += max(int(length), 1)
    raise BrokenArchive(f"the tar has an extended header with more than {RECORDS} records", limit=RECORDS)


def _size(said: str | None, size: int, at: int) -> int:
    if said is not None:
        size = int(said) if said.isdecimal() and len(said) < 20 else -1
    if size < 0:
        raise BrokenArchive(f"the tar cannot be read: a file at byte {at} has no size", offset=at)
    return size


def _after_map(body: bytes, header: bytes, at: int) -> int:
    goes_on = header[_IS_EXTENDED]
    while goes_on and at + BLOCK <= len(body):
        goes_on = body[at + _GOES_ON]
        at += BLOCK
    return at


def _whole(size: int) -> int:
    """Bytes of the blocks that so many bytes take."""
    if size < 0:
        raise BrokenArchive("the tar cannot be read: a header has no size")
    return -(-size // BLOCK) * BLOCK


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
