"""BMP: a header of fixed size."""

import struct
from typing import Final

from cameo.pictures.scan.header import Header, limit

_CORE_HEADER: Final = 12
_RUN_LENGTH: Final = (1, 2)  # compressions
MAX_RUN_LENGTH_BYTES: Final = 2**20  # Pillow decodes runs in Python


def read_header(data: bytes, format_: str) -> Header:
    """The header has a fixed size and comes before the pixels."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size == _CORE_HEADER:
        width, height = struct.unpack_from("<HH", data, 18)
        return Header(format_, width, height)
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in _RUN_LENGTH:
        limit(format_, "bytes of run-length code", len(data), MAX_RUN_LENGTH_BYTES)
    return Header(format_, abs(width), abs(height))


def strip(data: bytes, header: Header, max_pixels: int) -> bytes:
    """The file, unchanged."""
    return data
