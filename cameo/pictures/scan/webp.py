"""WebP: chunks of a RIFF file. The first frame of an animation is the picture."""

import struct
from typing import Final

from cameo.pictures.scan.header import MAX_PIXEL_PARTS, Header, exif_orientation, limit, unsupported

SHARE: Final = 2  # other pictures may have so many times its pixels: each takes 15 bytes of memory here, and 7 there
LEAST: Final = 2**18  # pixels that a picture may always have

_FIRST: Final = 12  # "RIFF", size, "WEBP"


def read_header(data: bytes, format_: str) -> Header:
    """Read the first chunk, which gives the canvas or is the picture."""
    (kind,) = struct.unpack_from("4s", data, _FIRST)
    body = _FIRST + 8
    if kind == b"VP8X":
        across, down = data[body + 4 : body + 7], data[body + 7 : body + 10]
        if len(down) < 3:
            raise ValueError("cut short")
        return Header(format_, int.from_bytes(across, "little") + 1, int.from_bytes(down, "little") + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, body + 6)
        return Header(format_, width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, body + 1)
        return Header(format_, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    raise unsupported(format_, f"a first chunk {kind!r}")


def strip(data: bytes, header: Header, max_pixels: int) -> bytes:
    """Check its size; the file, unchanged: libwebp skips metadata and all frames but the first at almost no cost."""
    limit(header.format, "pixels", header.width * header.height, max(max_pixels // SHARE, min(max_pixels, LEAST)))
    at, chunks = _FIRST, 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            header.orientation = exif_orientation(data[at + 8 : at + 8 + length])
            break
        chunks += 1
        limit(header.format, "chunks", chunks, MAX_PIXEL_PARTS)
        at += 8 + length + (length & 1)
    return data
