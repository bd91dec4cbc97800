"""Lenient reading of payloads: base64 in either alphabet, wrapped or not, and files with a final line break."""

import base64
import re

from app.engine.service import MOST_PAYLOAD_BYTES
from cameo import codec
from cameo.errors import InvalidParameter, PayloadError

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_TO_STANDARD = str.maketrans("-_", "+/", "\r\n")


def decode_base64(text: str) -> bytes:
    """RFC 4648, with the usual alphabet or that for URLs, padded or not, wrapped or not; InvalidParameter."""
    bare = text.translate(_TO_STANDARD)
    digits = bare.rstrip("=")
    if not _BASE64.fullmatch(bare) or len(digits) % 4 == 1 or (bare and not digits):
        raise InvalidParameter(
            "payload is not base64: it has other characters, or one too few or too many", parameter="payload"
        )
    return base64.b64decode(digits + "=" * (-len(digits) % 4))


def strip_newline(data: bytes) -> bytes:
    """The payload without a line break at its end, where only that makes it valid."""
    if not data.endswith(b"\n") or len(data) > MOST_PAYLOAD_BYTES + 2 or _is_whole(data):
        return data
    for bare in (data[:-1], data[:-1].removesuffix(b"\r")):
        if _is_whole(bare):
            return bare
    return data


def _is_whole(data: bytes) -> bool:
    try:
        codec.unwrap(data)
    except PayloadError:
        return False
    return True
