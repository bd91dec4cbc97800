"""The payload's frame, format 1: everything in a payload that is not tokens.

    byte 0        high nibble: format version, 1; low nibble: the coding of the body, and more, see below
    bytes 1-2     tag: names the model version
    bytes 3..n-2  body: the coded tokens
    byte n-1      CRC-8 of all bytes before it

The checksum is CRC-8/AUTOSAR (polynomial 0x2F, initial value 0xFF, final XOR 0xFF). At every length it
catches any damage that spans at most eight bits, so any one damaged byte, and any odd number of flipped
bits; of wider damage one case in 256 slips through. Up to 119 bits before the checksum its Hamming
distance is 4. No CRC-8 keeps a distance above 2 at the length of a hundred-byte payload.

The low nibble is 0 for fixed coding, whose bodies are all of one length. Progressive bodies may have any length
but none, so a cut payload has to show in its frame: there the nibble is 1 + n mod 15 for a payload of n bytes.
A cut by 15 bytes or a multiple of them passes that, and its last byte is its checksum once in 256. ``wrap`` returns
no such payload, but one that is a byte shorter. So a part of a payload is never accepted as a payload.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from cameo.errors import DamagedPayload, EmptyPayload, ForeignPayload, TruncatedPayload

FORMAT = 1
TAG_BYTES = 2
OVERHEAD = 1 + TAG_BYTES + 1


class Coding(IntEnum):
    """How the body is coded."""

    FIXED = 0
    PROGRESSIVE = 1


@dataclass(frozen=True)
class Payload:
    """A payload taken apart. ``tag`` has two bytes; ``body`` may be empty unless it is progressive."""

    coding: Coding
    tag: bytes
    body: bytes


def _crc8_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte << 1) ^ 0x12F if byte & 0x80 else byte << 1
    return byte


_CRC8 = bytes(_crc8_of_byte(byte) for byte in range(256))
_LENGTHS_TOLD_APART = 15


def crc8(data: bytes) -> int:
    """CRC-8/AUTOSAR of ``data``, in [0, 255]. ``crc8(b"123456789") == 0xDF``."""
    crc = 0xFF
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc ^ 0xFF


def wrap(payload: Payload) -> bytes:
    """Frame a body. The result has ``OVERHEAD`` bytes more than the body.

    Of a progressive body the last bytes may be left out, see above: one byte of one payload in forty at 96 bytes.

    Here the body's sixth byte, 0x7A, happens to be the checksum of all before it. A payload of these 24 bytes, cut by
    15, would be a payload of 9 bytes, since its first byte fits that length, too. So it gets 23:

    >>> body = bytes(range(0x75, 0x89))
    >>> crc8(bytes.fromhex("1a5a01 7576777879")) == body[5]
    True
    >>> wrap(Payload(Coding.PROGRESSIVE, bytes.fromhex("5a01"), body)).hex(" ", 8)
    '195a0175767778 797a7b7c7d7e7f80 818283848586871b'

    Raises ValueError if the tag does not have two bytes, or for a progressive body without bytes.
    """
    if len(payload.tag) != TAG_BYTES:
        raise ValueError(f"A tag has {TAG_BYTES} bytes, this one has {len(payload.tag)}.")
    if payload.coding is Coding.FIXED:
        return _framed(payload)
    if not payload.body:
        raise ValueError("A progressive body has at least one byte, this one has none.")
    data = _framed(payload)
    while _could_be_cut(data):
        payload = replace(payload, body=payload.body[:-1])
        data = _framed(payload)
    return data


def unwrap(data: bytes) -> Payload:
    """Take a payload apart: the inverse of :func:`wrap`.

    Raises EmptyPayload, TruncatedPayload (shorter than a frame, or than its first byte says), DamagedPayload (a
    payload with a wrong checksum) or ForeignPayload (something else, or a format that this code does not know).
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
    if first >> 4 != FORMAT and not _only_first_byte_damaged(data):
        raise ForeignPayload(
            f"The bytes begin with 0x{first:02x}, which begins no payload that this service reads.",
            format=first >> 4,
            known_formats=[FORMAT],
        )
    if expected != found:
        raise DamagedPayload(
            f"The payload is damaged: its checksum is 0x{found:02x} and its bytes give 0x{expected:02x}.",
            expected=f"0x{expected:02x}",
            found=f"0x{found:02x}",
        )
    coding = Coding.PROGRESSIVE if first & 0x0F else Coding.FIXED
    if first != _first_byte(coding, len(data)) or (coding is Coding.PROGRESSIVE and len(data) == OVERHEAD):
        raise TruncatedPayload(
            f"The payload has {len(data)} bytes, which is not the length that its first byte 0x{first:02x} tells.",
            bytes=len(data),
        )
    return Payload(coding, tag=data[1 : 1 + TAG_BYTES], body=data[1 + TAG_BYTES : -1])


def _first_byte(coding: Coding, size: int) -> int:
    return FORMAT << 4 | (1 + size % _LENGTHS_TOLD_APART if coding is Coding.PROGRESSIVE else 0)


def _framed(payload: Payload) -> bytes:
    framed = bytes([_first_byte(payload.coding, OVERHEAD + len(payload.body))]) + payload.tag + payload.body
    return framed + bytes([crc8(framed)])


def _could_be_cut(data: bytes) -> bool:
    """Whether some first part of a progressive payload is a payload, too."""
    crc, sizes = 0xFF, range(len(data) - _LENGTHS_TOLD_APART, OVERHEAD, -_LENGTHS_TOLD_APART)
    for size, byte in enumerate(data, 1):
        if size in sizes and byte == crc ^ 0xFF:
            return True
        crc = _CRC8[crc ^ byte]
    return False


def _only_first_byte_damaged(data: bytes) -> bool:
    # Exactly one first byte fits the rest and the checksum, so this takes two foreign files in 256 for damage.
    return any(crc8(bytes([_first_byte(coding, len(data))]) + data[1:-1]) == data[-1] for coding in Coding)
