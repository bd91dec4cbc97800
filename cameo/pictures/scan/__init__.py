"""The cost of a picture, read from its bytes before any decoder sees them.

Two steps. :func:`read_header` looks at what comes before the pixels; it takes at most about a millisecond whatever the
file holds, because each loop in it ends at a count. :func:`strip` looks at the rest, raises ``TooComplex`` where the
file exceeds a limit, and gives the decoder a file without metadata: only what pixels and colours need.

Both raise ``TooComplex``, ``UnsupportedImage``, and for what is cut short or damaged ``struct.error``, ``IndexError``
or ``ValueError``.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

from cameo.pictures.scan import bmp, gif, heif, jpeg, png, tiff, webp
from cameo.pictures.scan.header import Header

_SCANNERS: Final[Mapping[str, ModuleType]] = {
    "JPEG": jpeg,
    "PNG": png,
    "WebP": webp,
    "AVIF": heif,
    "HEIC": heif,
    "GIF": gif,
    "BMP": bmp,
    "TIFF": tiff,
}

FORMATS: Final = tuple(_SCANNERS)
"""The formats that are read."""


def read_header(data: bytes, format_: str) -> Header:
    """Size and other facts of a picture whose format is known by its signature."""
    read: Callable[[bytes, str], Header] = _SCANNERS[format_].read_header
    return read(data, format_)


def strip(data: bytes, header: Header, max_pixels: int) -> bytes:
    """The same picture without metadata, once it is known to be within every limit.

    ``header`` is what :func:`read_header` gave and :func:`strip` completes: an orientation may stand behind the pixels.
    """
    complete: Callable[[bytes, Header, int], bytes] = _SCANNERS[header.format].strip
    return complete(data, header, max_pixels)


__all__ = ["FORMATS", "Header", "read_header", "strip"]
