"""Payloads as text: base64 of either alphabet, in lines or in one."""

import base64
import re

from cameo.errors import InvalidParameter

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
