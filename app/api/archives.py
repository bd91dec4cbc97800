"""Many files in one body: zip, tar, or lines of JSON; and the tar of an answer.

What is in an archive is known before anything of it is unpacked, and a member is unpacked when it is read, up to a
limit. Names are for people: nothing here or elsewhere uses them as paths.
"""

import base64
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cameo.errors import BadRequest, BodyTooLarge, BrokenArchive, CameoError, InvalidParameter, TooManyItems
from cameo.validation import first_problem

NAME_CHARACTERS = 100
SPARE_ENTRIES = 1000  # entries of an archive that are no files, beyond as many as there may be files
TAR_END = bytes(2 * tarfile.BLOCKSIZE)

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
    try:
        archive = zipfile.ZipFile(io.BytesIO(body))
    except Exception as error:  # the parser has many ways to fail, and documents one
        raise BrokenArchive(f"the zip cannot be read: {_short(error)}") from error
    members = [info for info in archive.infolist() if _is_file(info)]
    _require_few(len(members), limits.items, limits)
    for info in members:
        if info.flag_bits & _ENCRYPTED:
            name = label(info.filename, 0)
            raise BrokenArchive(f"{name} is encrypted; send archives without a password", name=name)
    return [
        Item(label(info.filename, i), partial(_unzip_one, archive, info, limits.bytes))
        for i, info in enumerate(members)
    ]


def untar(body: bytes, limits: Limits) -> list[Item]:
    """The files of a tar that is not compressed, in order; BrokenArchive or TooManyItems."""
    items: list[Item] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as archive:
            for entries, info in enumerate(archive, 1):
                if info.isreg() and not info.issparse():
                    read = partial(_untar_one, body, info.offset_data, info.size, limits.bytes)
                    items.append(Item(label(info.name, len(items)), read))
                _require_few(len(items), limits.items, limits)
                _require_few(entries, 2 * limits.items + SPARE_ENTRIES, limits)
            end = archive.offset
    except CameoError:
        raise
    except Exception as error:  # as above; RecursionError, for instance
        raise BrokenArchive(f"the tar cannot be read: {_short(error)}") from error
    if any(body[end : end + tarfile.BLOCKSIZE]):  # tarfile takes a broken header for the end
        raise BrokenArchive(f"the tar cannot be read: no header at byte {end}", offset=end)
    return items


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


def _untar_one(body: bytes, start: int, size: int, most: int) -> bytes:
    data = body[start : start + min(size, most + 1)]
    _within(data, size, most)
    if len(data) < size:
        raise BrokenArchive(f"the file is cut short: {len(data)} of {size} bytes", bytes=len(data), expected=size)
    return data


def _line(line: bytes, index: int, most: int) -> Item:
    try:
        asked = Line.model_validate_json(line)
    except ValidationError as error:
        first = first_problem(error)
        if first.kind == "json_invalid":
            return Item(str(index), partial(_fail, BadRequest(f"the line is not JSON: {first.message}")))
        detail = first.described("the line")
        return Item(str(index), partial(_fail, InvalidParameter(detail, parameter=first.place)))
    return Item(label(asked.name or "", index), partial(_decode, asked.payload, most))


def _decode(text: str, most: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidParameter(f"payload is not base64: {error}", parameter="payload") from error
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
