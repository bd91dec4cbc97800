"""AV1: the size that a stream's sequence header states, whatever the boxes around it say."""

from typing import Final

MAX_UNITS: Final = 64  # units read of one item: the sequence header is the first or the second
_SEQUENCE_HEADER, _HAS_SIZE, _EXTENDED = 1, 2, 4


def most_pixels(data: bytes, at: int) -> int:
    """The pixels in the sequence headers of the units (OBUs) from ``at`` on; 0 where none can be read."""
    pixels = 0
    for _ in range(MAX_UNITS):
        if at >= len(data) or not data[at] & _HAS_SIZE or data[at] & 0x80:
            break
        kind = data[at] >> 3 & 15
        at += 2 if data[at] & _EXTENDED else 1
        size = shift = 0
        while shift < 35 and at < len(data):  # LEB128
            byte = data[at]
            size |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                break
        if kind == _SEQUENCE_HEADER:
            width, height = _size(_Bits(data[at : at + min(size, 256)]))
            pixels = max(pixels, width * height)
        at += size
    return pixels


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def __call__(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("a sequence header that is cut short")
        return self._value >> self._left & (1 << count) - 1

    def uvlc(self) -> None:
        zeros = 0
        while not self(1):
            zeros += 1
        self(min(zeros, 32))


def _size(bits: _Bits) -> tuple[int, int]:
    """Width and height, AV1 specification 5.5.1."""
    bits(4)  # profile, still picture
    if bits(1):  # reduced header
        bits(5)  # level
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits(4) + 1, bits(4) + 1
    return bits(width_bits) + 1, bits(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits(1):  # timing
        bits(64)
        if bits(1):
            bits.uvlc()
        if bits(1):  # decoder model
            delay_bits = bits(5) + 1
            bits(42)
    initial_delay = bits(1)
    for _ in range(bits(5) + 1):
        bits(12)
        if bits(5) > 7:  # level
            bits(1)  # tier
        if delay_bits and bits(1):
            bits(2 * delay_bits + 1)
        if initial_delay and bits(1):
            bits(4)
