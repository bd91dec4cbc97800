"""Colour profiles, as small as they get."""

import struct

import numpy as np


def profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (ICC.1:2001-04), as small as they get."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(body)
    white = struct.pack(">3i", 63190, 65536, 54061)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s12x4s", size, b"test", 0x02400000, kind, space, connection, b"acsp")
    return (head.ljust(68, b"\0") + white).ljust(128, b"\0") + table + body


def text(value: str) -> bytes:
    return b"desc" + struct.pack(">II", 0, len(value) + 1) + value.encode() + bytes(1 + 4 + 4 + 2 + 1 + 67)


DISPLAY_P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])  # to XYZ, D50
SRGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7142]])


def rgb_profile(name: str) -> bytes:
    """Display P3's primaries with a plain gamma of 2.2."""
    colorants = {
        b"%cXYZ" % channel: b"XYZ " + bytes(4) + struct.pack(">3i", *np.round(DISPLAY_P3[:, i] * 65536).astype(int))
        for i, channel in enumerate(b"rgb")
    }
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(2.2 * 256))
    return profile(b"RGB ", b"XYZ ", {b"desc": text(name), **colorants, **{b"%cTRC" % c: curve for c in b"rgb"}})


def cmyk_profile() -> bytes:
    """Paper is white, all inks together are black, and any other mix is a strong red: no plain conversion does that."""
    ramp = bytes(range(256))
    white, red, black = bytes((255, 128, 128)), bytes((128, 200, 180)), bytes((0, 128, 128))  # L*, a*, b* in 8 bits
    corners = white + red * 14 + black
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + ramp * 4 + corners + ramp * 3
    return profile(b"CMYK", b"Lab ", {b"desc": text("red ink"), b"A2B0": lut})
