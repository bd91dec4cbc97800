"""The payload's frame, format 1: everything in a payload that is not tokens.

    byte 0        high nibble: format version, 1; low nibble: the coding of the body
    bytes 1-2     tag: names the model version
    bytes 3..n-2  body: the coded tokens
    byte n-1      CRC-8 of all bytes before it

The checksum is CRC-8/AUTOSAR (polynomial 0x2F, initial value 0xFF, final XOR 0xFF). At every length it
catches any damage that spans at most eight bits, so any one damaged byte, and any odd number of flipped
bits; of wider damage one case in 256 slips through. Up to 119 bits before the checksum its Hamming
distance is 4. No CRC-8 keeps a distance above 2 at the length of a hundred-byte payload.
"""

from dataclasses import dataclass
from enum import IntEnum

from app.errors import DamagedPayload, EmptyPayload, ForeignPayload, TruncatedPayload

FORMAT = 1
TAG_BYTES = 2
OVERHEAD = 1 + TAG_BYTES + 1


class Coding(IntEnum):
    """How the body is coded: the low nibble of the first byte."""

    FIXED = 0


@dataclass(frozen=True)
class Payload:
    """A payload taken apart. ``tag`` has two bytes; ``body`` may be empty."""

    coding: Coding
    tag: bytes
    body: bytes


def _crc8_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte << 1) ^ 0x12F if byte & 0x80 else byte << 1
    return byte


_CRC8 = bytes(_crc8_of_byte(byte) for byte in range(256))
_FIRST_BYTES = {FORMAT << 4 | coding: coding for coding in Coding}


def crc8(data: bytes) -> int:
    """CRC-8/AUTOSAR of ``data``, in [0, 255]. ``crc8(b"123456789") == 0xDF``."""
    crc = 0xFF
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc ^ 0xFF


def wrap(payload: Payload) -> bytes:
    """Frame a body. The result has ``OVERHEAD`` bytes more than the body.

    Raises ValueError if the tag does not have two bytes.
    """
    if len(payload.tag) != TAG_BYTES:
        raise ValueError(f"A tag has {TAG_BYTES} bytes, this one has {len(payload.tag)}.")
    framed = bytes([FORMAT << 4 | payload.coding]) + payload.tag + payload.body
    return framed + bytes([crc8(framed)])


def unwrap(data: bytes) -> Payload:
    """Take a payload apart: the inverse of :func:`wrap`.

    Raises EmptyPayload, TruncatedPayload (shorter than a frame), DamagedPayload (a payload with a wrong
    checksum) or ForeignPayload (something else, or a format or coding that this code does not know).
    """
    if not data:
        raise EmptyPayload("The payload has no bytes.")
    if len(data) < OVERHEAD:
        raise TruncatedPayload(
            f"The payload has {len(data)} of the at least {OVERHEAD} bytes that any payload has.",
            bytes=len(data),
            least=OVERHEAD,
        )
    first, expected, found = data[0], crc8(data[:-1]), data[-1]
    if first not in _FIRST_BYTES and not _only_first_byte_damaged(data):
        raise ForeignPayload(
            f"The bytes begin with 0x{first:02x}, which begins no payload that this service reads.",
            format=first >> 4,
            coding=first & 0x0F,
            known_formats=[FORMAT],
            known_codings=[int(coding) for coding in Coding],
        )
    if expected != found:
        raise DamagedPayload(
            f"The payload is damaged: its checksum is 0x{found:02x} and its bytes give 0x{expected:02x}.",
            expected=f"0x{expected:02x}",
            found=f"0x{found:02x}",
        )
    return Payload(_FIRST_BYTES[first], tag=data[1 : 1 + TAG_BYTES], body=data[1 + TAG_BYTES : -1])


def _only_first_byte_damaged(data: bytes) -> bool:
    # Exactly one first byte fits the rest and the checksum, so this takes one foreign file in 256 for damage.
    return any(crc8(bytes([first]) + data[1:-1]) == data[-1] for first in _FIRST_BYTES)
