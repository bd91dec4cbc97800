"""Which format a picture has, by its first bytes."""

import re
from typing import Final

from cameo.errors import NotAnImage, UnsupportedImage
from cameo.pictures.scan import FORMATS

# The first match wins. AVIF and HEIC share a container, whose brands come four bytes each after "ftyp".
_SIGNATURES: Final = tuple(
    (format_, re.compile(pattern, re.DOTALL))
    for format_, pattern in (
        ("JPEG", rb"\xff\xd8\xff"),
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("WebP", rb"RIFF.{4}WEBP"),
        ("AVIF", rb".{4}ftyp(.{4}){0,9}?avi[fs]"),
        ("GIF", rb"GIF8[79]a"),
        ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        ("TIFF", rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
        ("HEIC", rb".{4}ftyp(.{4}){0,9}?(hei[cmsx]|hev[cmsx]|mif1|msf1)"),
        ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
        ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("ICO", rb"\0\0[\1\2]\0[^\0]\0"),
        ("PSD", rb"8BPS"),
        ("Netpbm", rb"P[1-7]\s"),
        ("PDF", rb"%PDF-"),
        ("EPS", rb"%!PS|\xc5\xd0\xd3\xc6"),
        ("SVG", rb"(\xef\xbb\xbf)?\s{0,900}<([?!].{0,900}<)?svg\b"),
    )
)

_SEND = f"send one of {', '.join(FORMATS)}."


def sniff(data: bytes) -> str:
    """One of :data:`~cameo.pictures.scan.FORMATS`. Raises ``NotAnImage`` or ``UnsupportedImage``."""
    for format_, signature in _SIGNATURES:
        if signature.match(data):
            if format_ in FORMATS:
                return format_
            raise UnsupportedImage(f"{format_} is not decoded here; {_SEND}", format=format_, allowed=list(FORMATS))
    if not data:
        raise NotAnImage("The picture is empty: 0 bytes.", bytes=0)
    raise NotAnImage(f"The bytes do not begin like a picture; {_SEND}", bytes=len(data))
