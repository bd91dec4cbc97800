"""Cards: a face and claims in one signed QR code.

The claims are CBOR as in MOSIP's Claim 169, version 1.2.2, the payload in its field 62; they are a CWT (RFC 8392) in a
COSE_Sign1 (RFC 9052) with Ed25519, through zlib and Base45 (RFC 9285) the text of a QR code.

Nothing is loaded before it is asked for: who only compresses needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cameo.cards.bare import bare_qr
    from cameo.cards.card import MEDIA_TYPES, Card, make_card, require_drawable
    from cameo.cards.claims import Claims
    from cameo.cards.keys import Issuers, SigningKey, load_issuers, make_keys
    from cameo.cards.ndef import ndef_message
    from cameo.cards.read import ReadCard, State, only_card, read_picture, read_text
    from cameo.cards.token import Token, is_text, unpack

_HOMES = {
    "bare_qr": "bare",
    "MEDIA_TYPES": "card", "Card": "card", "make_card": "card", "require_drawable": "card",
    "Claims": "claims",
    "Issuers": "keys", "SigningKey": "keys", "load_issuers": "keys", "make_keys": "keys",
    "ndef_message": "ndef",
    "ReadCard": "read", "State": "read", "only_card": "read", "read_picture": "read", "read_text": "read",
    "Token": "token", "is_text": "token", "unpack": "token",
}  # fmt: skip

__all__ = [
    "MEDIA_TYPES", "Card", "Claims", "Issuers", "ReadCard", "SigningKey", "State", "Token", "bare_qr", "is_text",
    "load_issuers", "make_card", "make_keys", "ndef_message", "only_card", "read_picture", "read_text",
    "require_drawable", "unpack",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cameo.cards' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"cameo.cards.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
