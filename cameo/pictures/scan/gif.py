"""GIF: blocks up to the end of the first frame."""

import struct
from typing import Final

from cameo.pictures.scan.header import MAX_PARTS, Header, limit, too_complex

_FRAME, _EXTENSION = 0x2C, 0x21
_GRAPHIC_CONTROL: Final = b"\x21\xf9"
MAX_SUB_BLOCKS: Final = 16_384  # of comments and the like, 255 bytes each: 4 MiB


def read_header(data: bytes, format_: str) -> Header:
    """Read up to the first frame, which may be larger than the screen."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _colours(flags)
    kept = [data[:at]]
    sub_blocks = 0
    for _ in range(MAX_PARTS):
        if data[at] == _FRAME:
            left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
            header = Header(format_, max(width, left + across), max(height, top + down))
            header.facts |= {"kept": kept, "frame_at": at}
            return header
        if data[at] != _EXTENSION:
            raise ValueError("no frame")
        start = at
        at += 2
        while size := data[at]:
            at += 1 + size
            sub_blocks += 1
            if sub_blocks > MAX_SUB_BLOCKS:
                limit(format_, "blocks of comments", sub_blocks, MAX_SUB_BLOCKS)
        at += 1
        if data.startswith(_GRAPHIC_CONTROL, start):
            kept[1:] = [data[start:at]]
    raise too_complex(format_, "extensions before its pixels", MAX_PARTS + 1, MAX_PARTS)


def strip(data: bytes, header: Header, max_pixels: int) -> bytes:
    """Screen, colours, how the first frame is shown, and the frame; other frames are never read."""
    return b"".join([*header.facts["kept"], data[header.facts["frame_at"] :]])


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
