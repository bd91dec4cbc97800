"""Many files in one body: zip, tar, or lines of JSON; and the tar of an answer.

What is in an archive is known before anything of it is unpacked, and a member is unpacked when it is read, up to a
limit. Names are only shown: nothing uses them as paths.
"""

import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from app.api import json_body, tar
from app.api.bodies import INFLATED_BYTES, Inflate
from app.api.payloads import decode_base64
from cameo.errors import BadRequest, BodyTooLarge, BrokenArchive, CameoError, TooManyItems
from cameo.pictures.junk import is_junk

NAME_CHARACTERS = 100
SPARE_ENTRIES = 1000  # entries of an archive that are no files, beyond as many as there may be files
TAR_END = bytes(2 * tarfile.BLOCKSIZE)

UNPACKED_BODIES = 16  # so many times as large as a body may be are the files of a zip together
EXTRA_BYTES = 2**17  # of the extra fields in a zip's directory, which zipfile reads in the square of their length
LINE_BYTES = 2**17  # of JSON: a payload of 65,536 bytes in base64, a name, and some room

_GZIP = b"\x1f\x8b"
_ZIP = b"PK"
_TAR, _TAR_AT = b"ustar", 257
_ZIP_ENTRY = b"PK\x01\x02"
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # of others one byte can ask for gigabytes
_ENCRYPTED = 0x1
_UNIX = 3


class Limits(NamedTuple):
    """``items`` of a body, and ``bytes`` of each, unpacked."""

    items: int
    bytes: int


class Item(NamedTuple):
    """``read`` gives its bytes, or raises a CameoError; blocking. Several may be read at once."""

    name: str
    read: Callable[[], bytes]


class Line(BaseModel):
    """One payload of many."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    payload: str = Field(description="a payload in base64")
    name: str | None = Field(default=None, description="comes back with the answer; its line's number by default")


def unzip(body: bytes, limits: Limits) -> list[Item]:
    """The files of a zip, in the order of its directory; BrokenArchive or TooManyItems."""
    # Before the directory is read into memory. No picture has this signature, but for a rare chance.
    _require_few(body.count(_ZIP_ENTRY), 2 * limits.items + SPARE_ENTRIES, limits)
    extra = sum(max(0, _extra_bytes(body, found.start()) - 256) for found in re.finditer(_ZIP_ENTRY, body))
    if extra > EXTRA_BYTES:
        raise BrokenArchive(f"the zip has {extra} bytes of extra fields, the limit is {EXTRA_BYTES}")
    try:
        archive = zipfile.ZipFile(io.BytesIO(body))
    except Exception as error:  # the parser has many ways to fail, and documents one
        raise BrokenArchive(f"the zip cannot be read: {_short(error)}") from error
    members = [info for info in archive.infolist() if _is_file(info) and not is_junk(info.filename)]
    _require_few(len(members), limits.items, limits)
    unpacked = sum(min(info.file_size, limits.bytes) for info in members)
    if unpacked > UNPACKED_BODIES * limits.bytes:
        most = UNPACKED_BODIES * limits.bytes
        raise BodyTooLarge(
            f"the files of the zip have {unpacked} bytes, the limit is {most}", bytes=unpacked, limit=most
        )
    for info in members:
        if info.flag_bits & _ENCRYPTED:
            name = label(info.filename, 0)
            raise BrokenArchive(f"{name} is encrypted; send archives without a password", name=name)
    return [
        Item(label(info.filename, i), partial(_unzip_one, archive, info, limits.bytes))
        for i, info in enumerate(members)
    ]


def untar(body: bytes, limits: Limits) -> list[Item]:
    """The files of a tar, compressed with gzip or not, in order; BrokenArchive, BodyTooLarge or TooManyItems."""
    if body.startswith(_GZIP):
        body = _gunzip(body, limits.bytes)
    items: list[Item] = []
    for member in tar.members(body, 4 * limits.items + SPARE_ENTRIES):
        if member.is_file and not is_junk(member.name):
            read = partial(_untar_one, body, member.start, member.size, limits.bytes)
            items.append(Item(label(member.name, len(items)), read))
            _require_few(len(items), limits.items, limits)
    return items


def unpack(body: bytes, limits: Limits) -> list[Item]:
    """The files of a zip or a tar, by how it begins; see the two."""
    return unzip(body, limits) if body.startswith(_ZIP) else untar(body, limits)


def unpack_payloads(body: bytes, limits: Limits) -> list[Item]:
    """The same, or the payloads of NDJSON."""
    is_archive = body.startswith((_ZIP, _GZIP)) or body.startswith(_TAR, _TAR_AT)
    return unpack(body, limits) if is_archive else lines(body, limits)


def lines(body: bytes, limits: Limits) -> list[Item]:
    """The payloads of NDJSON, see :class:`Line`; empty lines are no items. TooManyItems."""
    items: list[Item] = []
    for line in io.BytesIO(body):
        if line.strip():
            _require_few(len(items) + 1, limits.items, limits)
            items.append(_line(line, len(items), limits.bytes))
    return items


def tar_entry(name: str, data: bytes) -> bytes:
    """A file in a tar; the same name and data give the same bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def label(name: str, index: int) -> str:
    """What is shown of a member's name: printable, no folders, at most 100 characters; ``index`` if nothing is left."""
    base = re.split(r"[/\\]", name)[-1][:NAME_CHARACTERS]
    shown = "".join(c if c.isprintable() else "_" for c in base)
    return shown if shown.strip(". ") else str(index)


def _extra_bytes(body: bytes, entry: int) -> int:
    return int.from_bytes(body[entry + 30 : entry + 32], "little")


def _is_file(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == _UNIX else 0
    return not info.filename.endswith("/") and kind in {0, stat.S_IFREG}  # is_dir() fails where there is no name


def _unzip_one(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    if info.compress_type not in _ZIP_METHODS:
        raise BrokenArchive("the file is compressed in a way that is not read; use deflate, as zip does by itself")
    try:
        with archive.open(info) as member:
            data = member.read(most + 1)
    except Exception as error:  # as above
        raise BrokenArchive(f"the file cannot be unpacked: {_short(error)}") from error
    return _within(data, len(data), most)


def _gunzip(body: bytes, most: int) -> bytes:
    inflate, parts, size = Inflate(), list[bytes](), 0
    try:
        while body:
            part, body = inflate(body, INFLATED_BYTES)
            parts.append(part)
            size += len(part)
            if size > most:
                raise BodyTooLarge(f"the tar has at least {size} bytes, the limit is {most}", bytes=size, limit=most)
        inflate.require_end()
    except BadRequest as error:
        raise BrokenArchive(f"the tar.gz cannot be read: {error.detail}") from error
    return b"".join(parts)


def _untar_one(body: bytes, start: int, size: int, most: int) -> bytes:
    data = body[start : start + min(size, most + 1)]
    _within(data, size, most)
    if len(data) < size:
        raise BrokenArchive(f"the file is cut short: {len(data)} of {size} bytes", bytes=len(data), expected=size)
    return data


def _line(line: bytes, index: int, most: int) -> Item:
    try:
        if len(line) > LINE_BYTES:
            raise BodyTooLarge(
                f"the line has {len(line)} bytes, the limit is {LINE_BYTES}", bytes=len(line), limit=LINE_BYTES
            )
        asked = json_body.parse(Line, line, "the line")
    except CameoError as error:
        return Item(str(index), partial(_fail, error))
    return Item(label(asked.name or "", index), partial(_decode, asked.payload, most))


def _decode(text: str, most: int) -> bytes:
    data = decode_base64(text)
    return _within(data, len(data), most)


def _fail(error: CameoError) -> bytes:
    raise error


def _within(data: bytes, size: int, most: int) -> bytes:
    if size > most:
        raise BodyTooLarge(f"the file has at least {size} bytes, the limit is {most}", bytes=size, limit=most)
    return data


def _require_few(count: int, most: int, limits: Limits) -> None:
    if count > most:
        raise too_many(count, limits.items)


def too_many(count: int, limit: int) -> TooManyItems:
    return TooManyItems(f"there are at least {count} items, the limit is {limit}", items=count, limit=limit)


def _short(error: Exception) -> str:
    return str(error)[:100] or type(error).__name__
