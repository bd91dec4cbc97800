"""JPEG: segments up to the first scan, then how many scans there are.

Huffman-coded baseline, extended and progressive pictures of 8 bits are decoded: all that cameras and browsers write.
"""

import re
import struct
from typing import Final

from cameo.errors import TooManyPixels
from cameo.pictures.scan.header import (
    MAX_PARTS,
    MAX_PROFILE_BYTES,
    Header,
    exif_orientation,
    limit,
    too_complex,
    unsupported,
)

MAX_SCANS: Final = 64  # a progressive picture of libjpeg has 10, of mozjpeg up to 20
MAX_JUNK_BYTES: Final = 4096  # between segments, where none belongs
MAX_VISITS: Final = 20  # coefficients visited by all scans, for each pixel that is allowed; libjpeg's scans make 8.25
MAX_COEFFICIENTS: Final = 2  # kept until the last scan, 2 bytes each, for each pixel that is allowed; 1.5 in 4:2:0
MAX_SHRINK: Final = 5  # times the pixels that are allowed, where scaled decoding leaves no more than those

END: Final = b"\xff\xd9"
_SOI, _EOI, _SOS = b"\xff\xd8", 0xD9, 0xDA
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # a marker that ends the entropy-coded bytes of a scan
_PROGRESSIVE = 0xC2
_FRAMES: Final = {0xC0, 0xC1, _PROGRESSIVE}
_OTHER_FRAMES: Final = {
    0xC3: "lossless coding",
    0xC5: "hierarchical coding",
    0xC6: "hierarchical coding",
    0xC7: "hierarchical coding",
    0xC9: "arithmetic coding",
    0xCA: "arithmetic coding",
    0xCB: "lossless coding",
    0xCD: "hierarchical coding",
    0xCE: "hierarchical coding",
    0xCF: "hierarchical coding",
    0xDE: "hierarchical coding",
}
_WINDOW: Final = 2**18
_ALONE: Final = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_APP0, _APP1, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE


def read_header(data: bytes, format_: str) -> Header:
    """Up to the first scan. All metadata but JFIF's and Adobe's colour facts and the ICC profile is left out."""
    header = Header(format_, 0, 0)
    kept, at, junk, profile_bytes, exif = [_SOI], 2, 0, 0, b""
    for _ in range(MAX_PARTS):
        start = data.index(b"\xff", at)
        junk += start - at
        limit(format_, "bytes between its segments", junk, MAX_JUNK_BYTES)
        at = start + 1
        while data[at] == 0xFF:  # fill bytes
            at += 1
            junk += 1
            limit(format_, "bytes between its segments", junk, MAX_JUNK_BYTES)
        marker = data[at]
        at += 1
        if marker in _ALONE or marker == 0:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        body, end = at + 2, at + max(length, 2)
        if marker in _OTHER_FRAMES:
            raise unsupported(format_, _OTHER_FRAMES[marker])
        if marker in _FRAMES:
            _read_frame(data, body, marker, header)
        if marker == _SOS:
            if not header.width:
                raise ValueError("a scan before its frame")
            header.orientation = exif_orientation(exif)
            header.facts |= {"kept": kept, "scans_at": start}
            return header
        if marker == _APP1 and not exif and data.startswith(b"Exif\0\0", body):
            exif = data[body:end]
        wanted = not _APP0 <= marker <= _APP15 and marker != _COM
        if marker == _APP2 and data.startswith(b"ICC_PROFILE\0", body):
            profile_bytes += length
            limit(format_, "bytes of colour profile", profile_bytes, MAX_PROFILE_BYTES)
            wanted = True
        if wanted or marker in (_APP0, _APP14):
            kept.append(data[start:end])
        at = end
    raise too_complex(format_, "segments before its pixels", MAX_PARTS + 1, MAX_PARTS)


def _read_frame(data: bytes, at: int, marker: int, header: Header) -> None:
    precision, height, width, components = struct.unpack_from(">BHHB", data, at)
    if header.width:
        raise ValueError("two frames")
    if precision != 8:
        raise unsupported(header.format, f"samples of {precision} bits")
    if components not in (1, 3, 4):
        raise unsupported(header.format, f"{components} components")
    if not height:
        raise unsupported(header.format, "a height that stands behind the pixels (DNL)")
    header.width, header.height = width, height
    factors = {}
    for i in range(components):
        identifier, sampling, _ = struct.unpack_from(">BBB", data, at + 6 + 3 * i)
        factors[identifier] = (sampling >> 4, sampling & 15)
    across, down = (max(factor[axis] for factor in factors.values()) for axis in (0, 1))
    if not across or not down:
        raise ValueError("a sampling factor of 0")
    header.facts["progressive"] = marker == _PROGRESSIVE
    header.facts["areas"] = {i: width * height * h * v // (across * down) for i, (h, v) in factors.items()}


def shrink(header: Header, max_pixels: int) -> int:
    """The factor by which decoding must scale down: 1, 2, 4 or 8. TooManyPixels."""
    pixels = header.width * header.height
    for scale in (1, 2, 4, 8):
        if pixels <= MAX_SHRINK * max_pixels and -(-header.width // scale) * -(-header.height // scale) <= max_pixels:
            return scale
    raise TooManyPixels(
        f"The picture has {header.width} x {header.height} = {pixels} pixels; the limit is {MAX_SHRINK * max_pixels} "
        "for a JPEG, which is decoded at a smaller scale.",
        width=header.width,
        height=header.height,
        limit=MAX_SHRINK * max_pixels,
    )


def strip(data: bytes, header: Header, max_pixels: int) -> bytes:
    """Check the limits of scans; the file without metadata."""
    areas: dict[int, int] = header.facts["areas"]
    at: int = header.facts["scans_at"]
    if header.facts["progressive"] or data[at + 4] < len(areas):
        limit(header.format, "coefficients", sum(areas.values()), MAX_COEFFICIENTS * max_pixels)
        _count_scans(data, at, header, MAX_VISITS * max_pixels)
    return b"".join([*header.facts["kept"], data[at:]])


def _count_scans(data: bytes, at: int, header: Header, most: int) -> None:
    areas: dict[int, int] = header.facts["areas"]
    scans = visits = segments = 0
    while at + 4 <= len(data) and (marker := data[at + 1]) != _EOI:
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == _SOS:
            scans += 1
            limit(header.format, "scans", scans, MAX_SCANS)
            visits += sum(areas.get(component, 0) for component in data[at + 5 : at + 5 + 2 * data[at + 4] : 2])
            limit(header.format, "coefficients to visit in all scans", visits, most)
        segments += 1
        limit(header.format, "segments", segments, MAX_PARTS)
        at = _next_marker(data, at + 2 + length)


def _next_marker(data: bytes, at: int) -> int:
    """The offset of the next marker. Searched window by window, so that other threads get their turn in between."""
    while at < len(data):
        if found := _MARKER.search(data, at, at + _WINDOW):
            return found.start()
        at += _WINDOW - 1  # a marker has two bytes
    return len(data)


def lacks_end(stripped: bytes) -> bool:
    """Whether the end marker of the pixels is missing, as in a file without its last two bytes."""
    return stripped.rfind(END) < 0
