"""What the scanners of all formats share: the header, the limits, and EXIF's orientation."""

import struct
from dataclasses import dataclass, field
from typing import Any, Final

from cameo.errors import TooComplex, UnsupportedImage

# Ordinary pictures stay far below: a camera's JPEG has some 20 segments, its PNG or WebP as many chunks, an iPhone's
# HEIC of 48 megapixels 200 items, a TIFF 40 tags.
MAX_PARTS: Final = 1000  # segments, chunks, blocks, boxes or tags before the pixels
MAX_PIXEL_PARTS: Final = 16_384  # chunks of pixels, strips, tiles: 16 MB in pieces of 1 KB; one strip for each row
BYTES_PER_PIXEL: Final = 4  # of unpacked pixels, for each pixel that is allowed: 8 bits of RGBA, or 16 of half as many
MAX_PROFILE_BYTES: Final = 4 * 2**20  # of a colour profile; profiles for print have 0.5 to 2.5 MB

_EXIF_PREFIX: Final = b"Exif\0\0"
_ORIENTATION_TAG: Final = 0x112
_SHORT: Final = 3


@dataclass
class Header:
    """What is known of a picture before it is decoded. ``parts`` are slices of the file that its decoder needs."""

    format: str
    width: int
    height: int
    orientation: int = 1
    """1 to 8, as in EXIF: how the stored pixels must be turned. Only EXIF counts, as in browsers; XMP does not."""
    profile: bytes | None = None
    """The ICC profile, where the decoder does not read it itself."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Data for the ``strip`` function of the format."""


def limit(format_: str, what: str, value: int, most: int) -> None:
    """TooComplex where ``value`` exceeds ``most``."""
    if value > most:
        raise too_complex(format_, what, value, most)


def too_complex(format_: str, what: str, value: int, most: int) -> TooComplex:
    """``value`` may be too low: counting stops soon after the limit."""
    return TooComplex(
        f"The {format_} picture has {value} {what}, or more; the limit is {most}. Save it again as a JPEG or PNG.",
        what=what, value=value, limit=most,
    )  # fmt: skip


def unsupported(format_: str, variant: str) -> UnsupportedImage:
    """The error for a file that is complete, but of a variant that is not decoded."""
    return UnsupportedImage(
        f"{format_} is decoded here, but not {variant}; save the picture as a usual JPEG or PNG.",
        format=format_,
        variant=variant,
    )


def exif_orientation(block: bytes) -> int:
    """The orientation in a block of EXIF, with or without its prefix; 1 where there is none, or the block is broken."""
    tiff = block[6:] if block.startswith(_EXIF_PREFIX) else block
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for i in range(min(count, MAX_PARTS)):
            tag, kind, values, value = struct.unpack_from(order + "HHIH", tiff, at + 2 + 12 * i)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
