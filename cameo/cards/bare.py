"""A QR code that holds a payload and nothing else: no claims, no signature. Like a tag, see ``ndef``."""

import io

import base45
import segno

from cameo.errors import CardTooLarge

_QUIET = 4  # modules around the code


def bare_qr(payload: bytes) -> bytes:
    """An SVG of the code, a module one unit wide: the payload in Base45 (RFC 9285), alphanumeric mode, level M.

    CardTooLarge where no QR code holds it: over some 2,260 bytes.
    """
    text = base45.b45encode(payload).decode()
    try:
        qr = segno.make_qr(text, mode="alphanumeric", error="M")
    except segno.DataOverflowError:
        raise CardTooLarge(
            f"the payload has {len(payload)} bytes, {len(text)} characters in Base45: no QR code of level M holds them",
            bytes=len(payload), characters=len(text),
        ) from None  # fmt: skip
    svg = io.BytesIO()
    qr.save(svg, kind="svg", border=_QUIET, light="#fff", omitsize=True)
    return svg.getvalue()
