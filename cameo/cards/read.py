"""From a picture of a card, or its text, to claims, face and the state of the signature."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final, Literal

import numpy as np
import zxingcpp
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cameo.cards.claims import Claims
from cameo.cards.keys import Issuers
from cameo.cards.token import Token, last_day, unpack
from cameo.errors import CardError, CardWithoutFace, NoCard, SeveralCards, quoted

State = Literal["valid", "unknown-issuer", "broken", "expired", "not-yet-valid"]

# What a search costs grows with the patterns in the picture that look like a corner of a code: one that is full of the
# smallest, of 7 px, takes some 4 s a megapixel. Larger pictures are made smaller, and patterns so small are smoothed.
SIDES: Final = (2000, 1200)  # px of a picture's longer side at which a code is looked for, when it was not found as is
MOST_PIXELS: Final = 4_400_000  # of a picture that is looked through at its own size
SHARP_PIXELS: Final = 1_000_000  # of a picture that is not smoothed


@dataclass(frozen=True)
class ReadCard:
    """What a card says. Only where ``state`` is ``valid`` did a trusted issuer say it, for now."""

    state: State
    detail: str
    """One sentence on the state."""
    issuer: str | None
    issued: datetime | None
    not_before: datetime | None
    expires: datetime | None
    """The moment after its last day."""
    claims: Claims
    payload: bytes | None
    """The face; None where the card has none of ours."""
    text: str = field(repr=False)

    @property
    def is_valid(self) -> bool:
        return self.state == "valid"

    @property
    def last_day(self) -> date | None:
        """On which it is valid, in UTC."""
        return last_day(self.expires) if self.expires else None

    def require_payload(self) -> bytes:
        """CardWithoutFace where it has none."""
        if self.payload is None:
            raise CardWithoutFace("the card has no face, or one in a format that is not read here")
        return self.payload


def read_text(text: str, issuers: Issuers, now: datetime | None = None) -> ReadCard:
    """A card by the text of its QR code. NotACard, DamagedCard."""
    token = unpack(text)
    state, detail = _judge(token, issuers, now or datetime.now(UTC))
    return ReadCard(
        state, detail, token.issuer, token.issued, token.not_before, token.expires, token.claims, token.payload, text
    )


def read_picture(pixels_HWC: NDArray[np.uint8], issuers: Issuers, now: datetime | None = None) -> list[ReadCard]:
    """All cards in a picture, each once; other QR codes beside them are passed over. At least one.

    NoCard where there is no QR code that can be read; NotACard or DamagedCard where none is a card.
    """
    cards, wrong = [], None
    for text in _find_codes(pixels_HWC):
        try:
            cards.append(read_text(text, issuers, now))
        except CardError as error:
            wrong = wrong or error
    if not cards:
        raise wrong or NoCard(
            "no QR code was found in the picture; photograph the card from the front, sharp and without glare, so that "
            "its code fills a quarter of the picture or more"
        )
    return cards


def only_card(found: list[ReadCard]) -> ReadCard:
    """SeveralCards where there are more."""
    if len(found) > 1:
        raise SeveralCards(f"the picture has {len(found)} cards; show one", cards=len(found), limit=1)
    return found[0]


def _find_codes(pixels_HWC: NDArray[np.uint8]) -> list[str]:
    """The texts of all QR codes: at the picture's own size or, if there is none, at smaller ones.

    Smaller pictures have less noise, and their modules the size that the reader is made for.
    """
    for image in _sizes(Image.fromarray(pixels_HWC).convert("L")):
        found = zxingcpp.read_barcodes(
            image, zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode), try_downscale=False
        )
        texts = dict.fromkeys(code.text for code in found if code.text)
        if texts:
            return list(texts)
    return []


def _sizes(image: Image.Image) -> Iterator[Image.Image]:
    if image.width * image.height <= MOST_PIXELS:
        yield _smoothed(image)
    for side in SIDES:
        if max(image.size) > side:
            smaller = image.copy()
            smaller.thumbnail((side, side))
            yield _smoothed(smaller)


def _smoothed(image: Image.Image) -> Image.Image:
    """Without details of one pixel, which no module of a code in a photo is."""
    return image if image.width * image.height <= SHARP_PIXELS else image.filter(ImageFilter.BoxBlur(0.7))


def _judge(token: Token, issuers: Issuers, now: datetime) -> tuple[State, str]:
    keys = issuers.get(token.issuer or "")
    if not keys:
        known = ", ".join(sorted(issuers))[:200] or "none"
        named = quoted(token.issuer) if token.issuer else "not named"
        return "unknown-issuer", f"the issuer is {named}, and not trusted here; trusted: {known}"
    if not any(token.is_signed_by(key) for key in keys):
        return "broken", f"the signature is not that of {token.issuer}: the card was changed, or somebody else made it"
    if token.expires and token.expires <= now:
        return "expired", f"the last day of the card was {last_day(token.expires)}"
    if token.not_before and now < token.not_before:
        return "not-yet-valid", f"the card is valid from {token.not_before:%Y-%m-%d} on"
    return "valid", f"signed by {token.issuer}"
