"""The picture of a card: ``card.typ``, set by Typst, with vector letters in every script that has a font here."""

import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import segno
import typst

from cameo.cards.claims import Claims
from cameo.cards.fonts import families, fonts, is_right_to_left, require_glyphs
from cameo.cards.token import last_day
from cameo.errors import CardTooLarge

if TYPE_CHECKING:
    from cameo.cards.card import Card

_FORMATS: Final[Mapping[str, Literal["pdf", "png", "svg"]]] = {
    "application/pdf": "pdf",
    "image/png": "png",
    "image/svg+xml": "svg",
}
_QUIET: Final = 4  # modules around a QR code
_MOST_DOTS: Final = 370  # of 1/300 inch, for the code with larger modules; with the least it may be larger
_MODULES: Final = (6, 5, 4)  # dots: .51, .42 and .34 mm
_UNFIT: Final = "does not fit: "
_LABELS: Final = {
    "date_of_birth": "Date of birth", "gender": "Sex", "nationality": "Nationality", "id": "Number",
}  # fmt: skip


def draw(card: "Card", media_type: str, dpi: int) -> bytes:
    """A PDF, PNG or SVG. CannotDraw, or CardTooLarge."""
    require_drawable(card.claims, card.issuer)
    data = json.dumps(_data(card))
    try:
        return typst.compile(
            _template(), font_paths=fonts(), ignore_system_fonts=True, format=_FORMATS[media_type], ppi=dpi,
            sys_inputs={"card": data},
        )  # fmt: skip
    except typst.TypstError as error:
        _, found, name = str(error).partition(_UNFIT)
        if not found:
            raise
        name = name.split('"')[0].strip()
        raise CardTooLarge(
            f"{name} is too long to be printed on a card; shorten it. Nothing was printed", parameter=name
        ) from None


def require_drawable(claims: Claims, issuer: str) -> None:
    """CannotDraw where a character of what is printed is in no font."""
    for name, text in {"issuer": issuer, **_names(claims), **_fields(claims)}.items():
        require_glyphs(name, text)


def module_dots(qr: segno.QRCode) -> int:
    """Width of a module, in 1/300 inch: as wide as there is room for."""
    modules = qr.symbol_size(border=_QUIET)[0]
    return next((dots for dots in _MODULES if dots * modules <= _MOST_DOTS), _MODULES[-1])


def _names(claims: Claims) -> dict[str, str]:
    names = {"full_name": claims.name, "secondary_full_name": claims.secondary_full_name}
    return {name: text for name, text in names.items() if text}


def _fields(claims: Claims) -> dict[str, str]:
    given = claims.given()
    return {name: given[name] for name in _LABELS if name in given}


def _data(card: "Card") -> dict[str, Any]:
    """What ``card.typ`` takes."""
    language = card.claims.language

    def value(name: str, text: str, language: str | None = language) -> dict[str, Any]:
        return {
            "name": name, "text": text, "fonts": families(text, language), "right_to_left": is_right_to_left(text),
            "lang": (language or "en")[:3].lower(),
        }  # fmt: skip

    languages = {"full_name": language, "secondary_full_name": card.claims.secondary_language}
    fields = [value(name, text) | {"label": _LABELS[name]} for name, text in _fields(card.claims).items()]
    if card.expires:
        fields.append(value("expires", last_day(card.expires).isoformat()) | {"label": "Valid until"})
    face = io.BytesIO()
    card.face.save(face, "PNG")
    return {
        "title": f"Card of {card.claims.name}" if card.claims.name else "Card",
        "issuer": value("issuer", card.issuer, None),
        "face": list(face.getvalue()),
        "fields": fields,
        "names": [value(name, text, languages[name]) for name, text in _names(card.claims).items()],
        "qr": _qr(card.qr),
    }


def _qr(qr: segno.QRCode) -> dict[str, Any]:
    svg = io.BytesIO()
    qr.save(svg, kind="svg", border=_QUIET, light="#fff")
    return {"svg": svg.getvalue().decode(), "dots": module_dots(qr) * qr.symbol_size(border=_QUIET)[0]}


@cache
def _template() -> bytes:
    return Path(__file__).with_name("card.typ").read_bytes()
