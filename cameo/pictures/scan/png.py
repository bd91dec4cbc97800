"""PNG: chunks. Pillow reads them one by one in Python, so only a few are passed on."""

import struct
import zlib
from typing import Final

from cameo.pictures.scan.header import (
    BYTES_PER_PIXEL,
    MAX_PARTS,
    MAX_PIXEL_PARTS,
    MAX_PROFILE_BYTES,
    Header,
    exif_orientation,
    limit,
    too_complex,
)

_SIGNATURE_BYTES: Final = 8
_CHANNELS: Final = {2: 3, 4: 2, 6: 4}  # by the type of colour; others have one
_NEEDED: Final = (b"PLTE", b"tRNS")
_END: Final = b"\0\0\0\0IEND\xae\x42\x60\x82"


def read_header(data: bytes, format_: str) -> Header:
    """Read up to the first chunk of pixels."""
    length, kind, width, height, bits, colour = struct.unpack_from(">I4sIIBB", data, _SIGNATURE_BYTES)
    if kind != b"IHDR" or length != 13:
        raise ValueError("no IHDR first")
    header = Header(format_, width, height)
    header.facts["bytes"] = -(-width * bits * _CHANNELS.get(colour, 1) // 8) * height
    at = _SIGNATURE_BYTES + 12 + length
    kept = [data[:at]]
    needed: set[bytes] = set()
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind == b"IDAT":
            header.facts |= {"kept": kept, "pixels_at": at}
            return header
        if kind == b"IEND":
            raise ValueError("no IDAT")
        if kind in _NEEDED and kind not in needed:
            needed.add(kind)
            kept.append(data[at:end])
        elif kind == b"eXIf":
            header.orientation = exif_orientation(data[at + 8 : end - 4])
        elif kind == b"iCCP" and header.profile is None:
            header.profile = data[at + 8 : end - 4]  # still compressed
        at = end
    raise too_complex(format_, "chunks before its pixels", MAX_PARTS + 1, MAX_PARTS)


def strip(data: bytes, header: Header, max_pixels: int) -> bytes:
    """The first run of pixel chunks, and the orientation that may follow them."""
    limit(header.format, "bytes of pixels", header.facts["bytes"], BYTES_PER_PIXEL * max_pixels)
    header.profile = _unpack(header.profile, header.format)
    start = at = header.facts["pixels_at"]
    end, chunks = 0, 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks += 1
        if kind == b"IDAT" and not end:
            limit(header.format, "chunks of pixels", chunks, MAX_PIXEL_PARTS)
        elif not end:
            end, chunks = at, 1
        if end:
            if kind == b"IEND" or chunks > MAX_PARTS:
                break
            if kind == b"eXIf":
                header.orientation = exif_orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
    pixels = data[start:end] + _END if end else data[start:]
    return b"".join([*header.facts["kept"], pixels])


def _unpack(chunk: bytes | None, format_: str) -> bytes | None:
    """The profile in a chunk ``iCCP``; None where it is broken."""
    if chunk is None:
        return None
    name_end = chunk.find(b"\0", 0, 80)
    try:
        profile = zlib.decompressobj().decompress(chunk[name_end + 2 :], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return None
    limit(format_, "bytes of colour profile", len(profile), MAX_PROFILE_BYTES)
    return profile
