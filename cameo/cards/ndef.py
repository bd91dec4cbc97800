"""A payload for an NFC tag, without claims or signature: what fits into the smallest and cheapest tags."""

from typing import Final

from cameo.errors import CardTooLarge

MEDIA_TYPE: Final = b"application/vnd.cameo"
NTAG213: Final = 144  # bytes for a message with its frame; NTAG215 has 504, NTAG216 has 888
_HEAD: Final = 0b1101_0010  # first and last record of the message, short, its type a media type
_FRAME: Final = 3  # bytes of a tag before and behind a message of up to 254: T, L; the terminator


def ndef_message(payload: bytes, tag_bytes: int = NTAG213) -> bytes:
    """A message of one NDEF record, media type ``application/vnd.cameo``; apps that write tags take it as it is.

    CardTooLarge where a tag with ``tag_bytes`` of memory does not hold it: an NTAG213 holds payloads of 117 bytes.
    """
    message = bytes([_HEAD, len(MEDIA_TYPE), min(len(payload), 255)]) + MEDIA_TYPE + payload
    limit = min(tag_bytes - _FRAME, 254) - (len(message) - len(payload))
    if len(payload) > limit:
        raise CardTooLarge(
            f"the payload has {len(payload)} bytes, and the tag has room for {max(limit, 0)}; "
            f"shorten it, or compress with max_bytes={max(limit, 0)}", bytes=len(payload), limit=max(limit, 0),
        )  # fmt: skip
    return message
