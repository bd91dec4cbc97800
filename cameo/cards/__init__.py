"""Cards: a face and claims in one signed QR code.

The claims are CBOR as in MOSIP's Claim 169, version 1.2.2, the payload in its field 62; they are a CWT (RFC 8392) in a
COSE_Sign1 (RFC 9052) with Ed25519, through zlib and Base45 (RFC 9285) the text of a QR code.
"""

from cameo.cards.card import Card, make_card
from cameo.cards.claims import Claims
from cameo.cards.keys import Issuers, SigningKey
from cameo.cards.ndef import ndef_message
from cameo.cards.read import ReadCard, State, read_picture, read_text

__all__ = [
    "Card", "Claims", "Issuers", "ReadCard", "SigningKey", "State", "make_card", "ndef_message", "read_picture",
    "read_text",
]  # fmt: skip
