"""Payloads as people have them: in base64, and files that an editor ended."""

from app.engine.service import MOST_PAYLOAD_BYTES
from cameo import codec
from cameo.codec.text import decode_base64
from cameo.errors import PayloadError

__all__ = ["decode_base64", "strip_newline"]


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
