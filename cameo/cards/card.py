"""A signed card: made here, and given as text, PDF, PNG or SVG."""

import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import segno
from PIL import Image

from cameo.cards import render
from cameo.cards.claims import Claims
from cameo.cards.keys import SigningKey
from cameo.cards.token import Token, sign
from cameo.errors import CardTooLarge, InvalidParameter

MEDIA_TYPES: Final = {
    ".pdf": "application/pdf", ".png": "image/png", ".svg": "image/svg+xml", ".txt": "text/plain",
}  # fmt: skip
"""What a card can be saved as, by suffix."""
RESOLUTIONS: Final = (300, 600)  # dots per inch
MOST_VERSION: Final = 20  # of the QR code: 35 mm beside the face
MOST_CHARACTERS: Final = 970  # that it holds at level M, in alphanumeric mode


@dataclass(frozen=True, eq=False)
class Card:
    """``text`` is what the QR code holds: all that counts, the rest shows it."""

    text: str
    payload: bytes
    claims: Claims
    issuer: str
    issued: datetime
    not_before: datetime | None
    expires: datetime | None
    face: Image.Image = field(repr=False)
    """What the payload holds, as it is printed."""

    @classmethod
    def of(cls, token: Token, face: Image.Image) -> Self:
        """A card that was signed elsewhere, and the face of its payload. ValueError where it is none of ours."""
        if token.payload is None or token.issuer is None or token.issued is None:
            raise ValueError("the card has no face, no issuer, or no time at which it was issued")
        return cls(
            token.text, token.payload, token.claims, token.issuer, token.issued, token.not_before, token.expires, face
        )

    @cached_property
    def qr(self) -> segno.QRCode:
        """Of level M, or better where the version has room for it."""
        return segno.make_qr(self.text, mode="alphanumeric", error="M")

    @property
    def qr_version(self) -> int:
        return int(self.qr.version)

    def encode(self, media_type: str, dpi: int = 300) -> bytes:
        """A file of one of :data:`MEDIA_TYPES`; ``dpi`` of a PNG: 300 or 600.

        PDF and SVG have the QR code and the letters as shapes. A card is 85.6 mm wide and 54 mm high (ISO/IEC 7810,
        ID-1). CannotDraw or CardTooLarge, before anything is drawn.
        """
        if media_type == "text/plain":
            return self.text.encode()
        if dpi not in RESOLUTIONS:
            raise InvalidParameter(f"dpi is {dpi}; it may be 300 or 600", parameter="dpi", value=dpi)
        return render.draw(self, media_type, dpi)

    def save(self, path: str | os.PathLike[str], *, dpi: int = 300) -> None:
        """Into a file whose suffix says as what: .pdf, .png, .svg or .txt. InvalidParameter, CannotDraw, OSError."""
        suffix = Path(path).suffix.lower()
        if suffix not in MEDIA_TYPES:
            raise InvalidParameter(
                f"{path} does not end in one of {', '.join(MEDIA_TYPES)}", parameter="path", allowed=list(MEDIA_TYPES)
            )
        Path(path).write_bytes(self.encode(MEDIA_TYPES[suffix], dpi))


def make_card(
    face: Image.Image, payload: bytes, claims: Claims, key: SigningKey, *,
    expires: date | None = None, not_before: date | None = None, now: datetime | None = None,
) -> Card:  # fmt: skip
    """Sign ``claims`` and ``payload``, whose face is ``face``.

    A day without a time is meant whole, in UTC: the card is valid to the end of ``expires``. InvalidParameter for times
    that cannot be, CardTooLarge where the text does not fit a code of version ``MOST_VERSION``.
    """
    issued = (now or datetime.now(UTC)).replace(microsecond=0)
    end = _moment(expires, "expires", timedelta(days=1))
    begin = _moment(not_before, "not_before", timedelta())
    text = sign(claims, payload, key, issued=issued, expires=end, not_before=begin)
    _require_room(text, claims, payload)
    return Card(text, payload, claims, key.issuer, issued, begin, end, face)


def require_drawable(claims: Claims, key: SigningKey) -> None:
    """CannotDraw, or CardTooLarge, where a card with these claims cannot be drawn whatever its face is."""
    render.require_drawable(claims, key.issuer)


def _require_room(text: str, claims: Claims, payload: bytes) -> None:
    if len(text) > MOST_CHARACTERS:
        lengths: dict[str, Any] = {name: len(value.encode()) for name, value in claims.given().items()}
        longest = max(lengths, key=lengths.__getitem__, default=None)
        also = f", or {longest}, which has {lengths[longest]}" if longest else ""
        raise CardTooLarge(
            f"the card would have {len(text)} characters, more than a QR code of version {MOST_VERSION}-M holds; "
            f"shorten the payload, which has {len(payload)} bytes{also}. Nothing was printed",
            characters=len(text), payload=len(payload), claims=lengths,
        )  # fmt: skip


def _moment(value: date | None, name: str, whole_day: timedelta) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is None:
        raise InvalidParameter(f"{name} has no time zone: {value.isoformat()}", parameter=name, value=value.isoformat())
    try:
        if isinstance(value, datetime):
            moment = value.astimezone(UTC).replace(microsecond=0)
        else:
            moment = datetime.combine(value, time(), UTC) + whole_day
        if moment.timestamp() >= 0:
            return moment
    except OverflowError:  # on its first or last day the calendar of Python ends
        pass
    raise InvalidParameter(
        f"{name} is {value.isoformat()}; a card can have times from 1970 to 9999-12-30", parameter=name,
        value=value.isoformat(),
    )  # fmt: skip
