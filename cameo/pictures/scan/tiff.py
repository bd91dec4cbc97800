"""TIFF and BigTIFF: the tags of the first picture, its strips and tiles.

The decoder gets the same file with a new directory at its end, of those tags alone that pixels and colours need. So
further pictures, EXIF, XMP and whatever else the file holds are never looked at.
"""

import struct
from dataclasses import dataclass
from typing import Final

from cameo.pictures.scan.header import (
    BYTES_PER_PIXEL,
    MAX_PARTS,
    MAX_PIXEL_PARTS,
    MAX_PROFILE_BYTES,
    Header,
    limit,
    unsupported,
)

MAX_VALUES: Final = 3 * 2**16  # of a tag, the colours of a palette
MAX_SCANS_PER_STRIP: Final = 4  # of JPEG in TIFF
LEAST_TILE: Final = 1024**2  # pixels; a tile may always be this large, even in a small picture

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 274, 277
_ROWS_PER_STRIP, _PLANES, _TILE_WIDTH, _TILE_HEIGHT, _JPEG_TABLES, _PROFILE = 278, 284, 322, 323, 347, 34675
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_NEEDED: Final = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, 262, 266, _STRIPS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANES, 292, 293,
    317, 320, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, 332, 338, 339, _JPEG_TABLES, 529, 530, 531, 532, _PROFILE,
}  # fmt: skip
_RAW: Final = 1
_JPEG: Final = 7
_COMPRESSIONS: Final = {_RAW, 2, 3, 4, 5, _JPEG, 8, 32771, 32773, 32946, 34925, 50000, 50001}
_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass
class _Tag:
    kind: int
    count: int
    entry: bytes  # the bytes in the directory
    value_at: int

    @property
    def bytes(self) -> int:
        return self.count * _BYTES.get(self.kind, 1)


class _Directory:
    """The first directory of a file."""

    def __init__(self, data: bytes, format_: str) -> None:
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = data[2:4] in (b"+\0", b"\0+")
        self._data = data
        word, entry_bytes, inline = ("Q", 20, 8) if self.big else ("I", 12, 4)
        (at,) = struct.unpack_from(self.order + word, data, 8 if self.big else 4)
        (count,) = struct.unpack_from(self.order + ("Q" if self.big else "H"), data, at)
        limit(format_, "tags", count, MAX_PARTS)
        at += 8 if self.big else 2
        self.tags: dict[int, _Tag] = {}
        for start in range(at, at + count * entry_bytes, entry_bytes):
            tag, kind, values = struct.unpack_from(self.order + "HH" + word, data, start)
            if tag in _NEEDED or tag == _ORIENTATION:
                value_at = start + entry_bytes - inline
                found = _Tag(kind, values, data[start : start + entry_bytes], value_at)
                if found.bytes > inline:
                    (found.value_at,) = struct.unpack_from(self.order + word, data, value_at)
                    if found.value_at + found.bytes > len(data):
                        raise ValueError(f"tag {tag} is cut short")
                self.tags[tag] = found

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag of whole numbers."""
        found = self.tags.get(tag)
        if found is None or not found.count:
            return default
        if found.kind not in _INTEGERS:
            raise ValueError(f"tag {tag} is no whole number")
        (value,) = struct.unpack_from(self.order + _INTEGERS[found.kind], self._data, found.value_at)
        return int(value)

    def count(self, tag: int) -> int:
        return self.tags[tag].count if tag in self.tags else 0


def read_header(data: bytes, format_: str) -> Header:
    """Tags, and how the pixels are divided."""
    directory = _Directory(data, format_)
    for tag, found in directory.tags.items():
        if tag == _PROFILE:
            limit(format_, "bytes of colour profile", found.bytes, MAX_PROFILE_BYTES)
        else:
            limit(format_, f"values of its tag {tag}", found.count, MAX_VALUES)
    header = Header(format_, directory.first(_WIDTH, 0), directory.first(_HEIGHT, 0))
    if not header.width or not header.height:
        raise ValueError("no size")
    compression = directory.first(_COMPRESSION, _RAW)
    if compression not in _COMPRESSIONS:
        raise unsupported(format_, f"compression {compression}")
    orientation = directory.first(_ORIENTATION, 1)
    header.orientation = orientation if 1 <= orientation <= 8 else 1
    header.facts |= {"directory": directory, "compression": compression}
    return header


def strip(data: bytes, header: Header, max_pixels: int) -> bytes:
    """Check the limits of strips and tiles; the file with a directory of the needed tags only."""
    directory: _Directory = header.facts["directory"]
    width, height, compression = header.width, header.height, header.facts["compression"]
    planes = directory.first(_SAMPLES, 1) if directory.first(_PLANES, 1) == 2 else 1
    if directory.count(_STRIPS):
        across, down = width, min(directory.first(_ROWS_PER_STRIP, height), height)
        offsets = directory.count(_STRIPS)
    else:
        across, down = directory.first(_TILE_WIDTH, 0), directory.first(_TILE_HEIGHT, 0)
        offsets = directory.count(_TILES)
        limit(header.format, "pixels in a tile", across * down, max(width * height, LEAST_TILE))
    if not across or not down:
        raise ValueError("strips or tiles without a size")
    parts = -(-width // across) * -(-height // down) * planes
    limit(header.format, "strips or tiles", parts, MAX_PIXEL_PARTS)
    limit(header.format, "strips or tiles where its size asks for fewer", offsets, parts)
    bits = directory.first(_BITS, 1) * (directory.first(_SAMPLES, 1) if planes == 1 else 1)
    if compression != _RAW:
        strip_bytes = -(-across * bits // 8) * down
        limit(header.format, "bytes in a strip or tile", strip_bytes, BYTES_PER_PIXEL * max_pixels)
    if compression == _JPEG:
        limit(header.format, "scans", data.count(b"\xff\xda"), MAX_SCANS_PER_STRIP * parts)
    return _rewritten(data, directory)


def _rewritten(data: bytes, directory: _Directory) -> bytes:
    entries = [found.entry for tag, found in sorted(directory.tags.items()) if tag in _NEEDED]
    padding = b"\0" * (-len(data) % 8)
    at, word = len(data) + len(padding), "Q" if directory.big else "I"
    start = data[:8] if directory.big else data[:4]
    first = struct.pack(directory.order + word, at)
    count = struct.pack(directory.order + ("Q" if directory.big else "H"), len(entries))
    none_next = struct.pack(directory.order + word, 0)
    return b"".join([start, first, data[len(start) + len(first) :], padding, count, *entries, none_next])
