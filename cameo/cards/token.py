"""The text of a card: claims and a payload, signed (CWT in COSE_Sign1, Ed25519), through zlib and Base45."""

import re
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import base45
import cbor2
from cwt import COSE
from cwt.cose_key_interface import COSEKeyInterface
from cwt.enums import COSEAlgs
from cwt.exceptions import CWTError

from cameo.cards.claims import Claims
from cameo.cards.keys import SigningKey
from cameo.errors import DamagedCard, InvalidParameter, NotACard, quoted

MOST_CHARACTERS: Final = 4296  # of a QR code in alphanumeric mode, version 40-L
MOST_BYTES: Final = 2**14  # of what comes out of zlib

ISSUER, EXPIRES, NOT_BEFORE, ISSUED, IDENTITY = 1, 4, 5, 6, 169  # keys of a CWT's claims
FACE, DATA, FORMAT, SUB_FORMAT = 62, 0, 1, 2
IMAGE, CAMEO = 0, 100  # a format, and its first sub-format for vendors: a payload
_SIGN1, _CWT = 18, 61  # tags
_ALG, _CRIT = 1, 2  # of a protected header
_LATEST = 253_402_300_799  # the last second of the year 9999
_TEXT = re.compile(r"[0-9A-Z $%*+\-./:]{100,}[\r\n]*")  # Base45, and longer than the path of a file tends to be


def is_text(data: str | bytes) -> bool:
    """Whether this may be the text of a card: neither the path of a file, nor a picture or a payload."""
    if len(data) > MOST_CHARACTERS + 2:
        return False
    return bool(_TEXT.fullmatch(data if isinstance(data, str) else data.decode("latin-1")))


@dataclass(frozen=True)
class Token:
    """A card's text taken apart. Nothing in it is to be believed before :meth:`is_signed_by` says so."""

    text: str
    issuer: str | None
    issued: datetime | None
    not_before: datetime | None
    expires: datetime | None
    claims: Claims
    payload: bytes | None
    _signed: cbor2.CBORTag = field(repr=False)

    def is_signed_by(self, key: COSEKeyInterface) -> bool:
        """Whether the signature is this key's."""
        with suppress(CWTError, ValueError, TypeError):
            COSE.new().decode(self._signed, key)
            return True
        return False


def sign(
    claims: Claims, payload: bytes, key: SigningKey, *, issued: datetime, expires: datetime | None,
    not_before: datetime | None,
) -> str:  # fmt: skip
    """The text. Times have a time zone. InvalidParameter where they leave no time in which the card is valid."""
    if expires and expires <= max(issued, not_before or issued):
        raise InvalidParameter(
            f"the card would end at {expires.isoformat()}; expires must be later than now, and than not_before",
            parameter="expires", value=expires.isoformat(),
        )  # fmt: skip
    times = {EXPIRES: expires, NOT_BEFORE: not_before, ISSUED: issued}
    face = {DATA: payload, FORMAT: IMAGE, SUB_FORMAT: CAMEO}
    body = {
        ISSUER: key.issuer,
        **{number: int(at.timestamp()) for number, at in times.items() if at},
        IDENTITY: claims.to_map() | {FACE: [face]},
    }
    signed = COSE.new(alg_auto_inclusion=True).encode_and_sign(cbor2.dumps(body), key.cose)
    text: bytes = base45.b45encode(zlib.compress(signed, 9))
    return text.decode()


def last_day(expires: datetime) -> date:
    """Of a card that is valid until this moment, which itself does not belong to its time."""
    return (expires - timedelta(seconds=1)).date()


def unpack(text: str) -> Token:
    """NotACard for the text of some other QR code, DamagedCard where it began as a card's."""
    plain = _inflate(_from_base45(text.rstrip("\r\n")))
    try:
        cose = cbor2.loads(plain)
        if isinstance(cose, cbor2.CBORTag) and cose.tag == _CWT:
            cose = cose.value
        if not isinstance(cose, cbor2.CBORTag) or cose.tag != _SIGN1:
            raise NotACard("the QR code holds compressed data, but no COSE_Sign1 (RFC 9052), so it is no card")
        protected, unprotected, body, signature = cose.value
        if not (isinstance(unprotected, dict) and all(isinstance(p, bytes) for p in (protected, body, signature))):
            raise DamagedCard("the card's COSE_Sign1 has parts of wrong types")
        cose = cbor2.CBORTag(_SIGN1, [protected, {}, body, signature])  # what is not signed is not looked at
        header, body = cbor2.loads(protected), cbor2.loads(body)
        if header.get(_ALG) != COSEAlgs.EDDSA or _CRIT in header:
            raise NotACard("the card is not signed with EdDSA, or demands what is not known here")
        identity = body.get(IDENTITY)
        if not isinstance(identity, dict):
            raise NotACard("the QR code holds a signed token, but none with identity data (claim 169)")
        issuer = body.get(ISSUER)
        if not isinstance(issuer, str | None):
            raise DamagedCard("the name of the card's issuer is no text")
        expires, not_before, issued = (_time(body.get(number)) for number in (EXPIRES, NOT_BEFORE, ISSUED))
        return Token(
            text, issuer, issued, not_before, expires, Claims.from_map(identity), _payload(identity), cose
        )  # fmt: skip
    except (cbor2.CBORDecodeError, ValueError, TypeError, AttributeError, RecursionError, InvalidParameter) as error:
        raise DamagedCard(f"the card's data cannot be read: {quoted(str(error))}") from error


def _from_base45(text: str) -> bytes:
    if len(text) > MOST_CHARACTERS:
        raise NotACard(
            f"the text has {len(text)} characters; a QR code has at most {MOST_CHARACTERS}",
            characters=len(text), limit=MOST_CHARACTERS,
        )  # fmt: skip
    data = b""
    with suppress(ValueError):
        data = base45.b45decode(text)
    if len(data) < 8 or data[0] & 0x0F != zlib.DEFLATED or int.from_bytes(data[:2]) % 31:
        raise NotACard(
            f"the QR code is no card: it holds {quoted(text[:60])}, not Base45 of zlib data", text=text[:200]
        )
    return data


def _inflate(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, MOST_BYTES)
    except zlib.error as error:
        raise DamagedCard(f"the card's text is damaged: {error}") from error
    if stream.unconsumed_tail:
        raise DamagedCard(f"the card's data is over {MOST_BYTES} bytes, the limit", limit=MOST_BYTES)
    if not stream.eof or stream.unused_data or _has_filling(data, plain):
        raise DamagedCard("the card's text is cut short, or something was added to it")
    return plain


def _has_filling(data: bytes, plain: bytes) -> bool:
    """Whether bits are set that only fill up a byte of the deflate stream (RFC 1951), and decoders pass over.

    No encoder sets them. With them a text could be changed and stay valid. A stored block has them in its first byte,
    others before the checksum.
    """
    if data[2] & 0b110 == 0:
        return data[2] >> 3 != 0
    last = len(data) - 5
    for bit in range(8):
        if data[last] >> bit & 1:
            other = bytearray(data)
            other[last] ^= 1 << bit
            with suppress(zlib.error):
                if zlib.decompress(other) == plain:
                    return True
    return False


def _time(value: Any) -> datetime | None:
    """NumericDate (RFC 8392), in seconds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise DamagedCard("a time in the card is not a number of seconds")
    return datetime.fromtimestamp(value, UTC)


def _payload(identity: dict[Any, Any]) -> bytes | None:
    """The first face that is a payload of ours."""
    for face in identity.get(FACE) or ():
        if face.get(FORMAT) == IMAGE and face.get(SUB_FORMAT) == CAMEO and isinstance(face.get(DATA), bytes):
            return bytes(face[DATA])
    return None
