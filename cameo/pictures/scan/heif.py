"""AVIF and HEIC: boxes of an ISO base media file. Items are pictures, tiles of one, thumbnails, and metadata."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from cameo.pictures.scan.av1 import most_pixels
from cameo.pictures.scan.header import MAX_PROFILE_BYTES, Header, limit

MAX_BOXES: Final = 1000  # an iPhone's HEIC of 48 megapixels has 200 tiles, and a box for each
MAX_DEPTH: Final = 8  # moov, trak, mdia, minf, stbl, stsz
MAX_META_BYTES: Final = MAX_PROFILE_BYTES + 2**20
MAX_EXTENTS: Final = 2000  # pieces of the file that make up its items
LEAST_STREAM: Final = 1024**2  # pixels; a tile may be larger than the picture
MAX_FRAMES: Final = 16_384  # of a sequence, whose first is the picture

# Bytes of a box before its inner boxes.
_CONTAINERS: Final = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
_ITEM_TYPES: Final = {2: 8, 3: 10}  # offset of the type in a box infe, by version
_CHUNK_OFFSETS: Final = {b"stco": "I", b"co64": "Q"}
_EXIF, _NOTHING = b"Exif", b"none"


class _Box(NamedTuple):
    kind: bytes
    start: int  # of its contents
    end: int


def read_header(data: bytes, format_: str) -> Header:
    """The largest size that any item or track states."""
    header, sizes, exif = Header(format_, 0, 0), [(0, 0)], []
    pieces: list[int] = []  # where items and samples of tracks begin
    held = 0  # where the box idat begins, in which items may be, too
    for count, (kind, start, end) in enumerate(_walk(data, 0, len(data)), 1):
        if count > MAX_BOXES:
            limit(format_, "boxes", count, MAX_BOXES)
        if kind == b"meta":
            limit(format_, "bytes of metadata", end - start, MAX_META_BYTES)
        elif kind == b"ispe":
            sizes.append(struct.unpack_from(">II", data, start + 4))
        elif kind == b"tkhd":
            width, height = struct.unpack_from(">II", data, end - 8)
            sizes.append((width >> 16, height >> 16))
        elif kind == b"stsz":
            limit(format_, "frames", struct.unpack_from(">I", data, start + 8)[0], MAX_FRAMES)
        elif kind == b"iloc":
            pieces += _extents(data, start, end, format_)
        elif kind == b"idat":
            held = start
        elif kind in _CHUNK_OFFSETS:
            (chunks,) = struct.unpack_from(">I", data, start + 4)
            limit(format_, "chunks of its track", chunks, MAX_EXTENTS)
            pieces += struct.unpack_from(f">{chunks}{_CHUNK_OFFSETS[kind]}", data, start + 8)
        elif kind == b"infe" and (at := _ITEM_TYPES.get(data[start])) and data.startswith(_EXIF, start + at):
            exif.append(start + at)
    header.width, header.height = max(sizes, key=lambda size: size[0] * size[1])
    if not header.width or not header.height:
        raise ValueError("no size")
    header.facts |= {"exif": exif, "pieces": pieces, "held": held}
    return header


def strip(data: bytes, header: Header, max_pixels: int) -> bytes:
    """The file without EXIF, which only repeats the boxes. Checks the limit of pixels in AV1 streams."""
    if header.format == "AVIF":
        for piece in header.facts["pieces"]:
            for at in {piece, piece + header.facts["held"]}:
                limit(header.format, "pixels in a stream", most_pixels(data, at), max(max_pixels, LEAST_STREAM))
    if not header.facts["exif"]:
        return data
    stripped = bytearray(data)
    for at in header.facts["exif"]:
        stripped[at : at + 4] = _NOTHING
    return bytes(stripped)


def _walk(data: bytes, at: int, end: int, depth: int = 0) -> Iterator[_Box]:
    """All boxes, those within others after them."""
    if depth > MAX_DEPTH:
        raise ValueError("boxes within boxes without end")
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        box = _Box(kind, start, min(at + size, end) if size else end)
        if box.end < start:
            raise ValueError("a box smaller than its head")
        yield box
        within = _CONTAINERS.get(kind)
        if kind == b"iinf":
            within = 6 if data[start] == 0 else 8
        if within is not None:
            yield from _walk(data, start + within, box.end, depth + 1)
        at = box.end


def _extents(data: bytes, start: int, end: int, format_: str) -> list[int]:
    """The offsets of the pieces of all items. Items may not reuse the same bytes again and again."""
    version, sizes = data[start], struct.unpack_from(">H", data, start + 4)[0]
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if version in (1, 2) else 0
    word = 4 if version == 2 else 2
    at = start + 6
    items, at = int.from_bytes(data[at : at + word]), at + word
    begins: list[int] = []
    extents = total = 0
    limit(format_, "items", items, MAX_EXTENTS)
    for _ in range(items):
        at += word + (2 if version in (1, 2) else 0) + 2
        base, at = int.from_bytes(data[at : at + base_bytes]), at + base_bytes
        (pieces,) = struct.unpack_from(">H", data, at)
        at += 2
        extents += pieces
        limit(format_, "pieces of items", extents, MAX_EXTENTS)
        for _ in range(pieces):
            at += index_bytes
            begins.append(base + int.from_bytes(data[at : at + offset_bytes]))
            at += offset_bytes
            total += int.from_bytes(data[at : at + length_bytes])
            at += length_bytes
    if at > end:
        raise ValueError("iloc is cut short")
    limit(format_, "bytes in its items", total, 2 * len(data))
    return begins
