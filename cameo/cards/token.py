"""The text of a card: claims and a payload, signed (CWT in COSE_Sign1, Ed25519), through zlib and Base45.

Cards come from strangers, so little of CBOR is read. Tags within are refused: they make decoders compile regular
expressions, compute powers, or build values that share parts, so that 100 bytes keep a processor busy for ever.
"""

import io
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
_BYTES, _TEXT_STRING, _MAP, _TAG = 2, 3, 5, 6  # major types of CBOR
_ONE_BYTE, _EIGHT_BYTES = 24, 27  # of a head, after its first
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
    _signed: bytes = field(repr=False)
    _signature: bytes = field(repr=False)

    def is_signed_by(self, key: COSEKeyInterface) -> bool:
        """Whether the signature is this key's, whatever the card says of keys."""
        with suppress(CWTError):
            key.verify(self._signed, self._signature)
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
        tags, cose = _untag(plain)
        if tags not in ([_SIGN1], [_CWT, _SIGN1]):
            raise NotACard("the QR code holds compressed data, but no COSE_Sign1 (RFC 9052), so it is no card")
        protected, unprotected, body_bytes, signature = _decode(cose)
        if not (
            isinstance(unprotected, dict) and all(isinstance(p, bytes) for p in (protected, body_bytes, signature))
        ):
            raise DamagedCard("the card's COSE_Sign1 has parts of wrong types")
        header, body = _decode(protected), _decode(body_bytes)
        if header.get(_ALG) != COSEAlgs.EDDSA or _CRIT in header:
            raise NotACard("the card is not signed with EdDSA, or demands what is not known here")
        identity = body.get(IDENTITY)
        if not isinstance(identity, dict):
            raise NotACard("the QR code holds a signed token, but none with identity data (claim 169)")
        issuer = body.get(ISSUER)
        if not isinstance(issuer, str | None) or not (issuer or "-").isprintable():
            raise DamagedCard("the name of the card's issuer is no printable text")
        expires, not_before, issued = (_time(body.get(number)) for number in (EXPIRES, NOT_BEFORE, ISSUED))
        signed = cbor2.dumps(["Signature1", protected, b"", body_bytes])  # what is not in here is not looked at
        return Token(
            text, issuer, issued, not_before, expires, Claims.from_map(identity), _payload(identity), signed, signature
        )
    except (cbor2.CBORDecodeError, ValueError, TypeError, AttributeError, RecursionError, InvalidParameter) as error:
        raise DamagedCard(f"the card's data cannot be read: {quoted(str(error))}") from error


def _untag(data: bytes) -> tuple[list[int], bytes]:
    """The tags before an item of CBOR, the outermost first, and the item."""
    tags = []
    while data[:1] and data[0] >> 5 == _TAG:
        tag, start = _argument(data, 0)
        tags.append(tag)
        data = data[start:]
    return tags, data


def _decode(data: bytes) -> Any:
    """The one item that ``data`` is. DamagedCard where it has tags, a key twice, or no end that is its own."""
    at = pairs = 0
    while at < len(data):
        major = data[at] >> 5
        argument, at = _argument(data, at)
        if major == _TAG:
            raise DamagedCard("the card's data has tags, or items without a length, which no card needs")
        at += argument if major in {_BYTES, _TEXT_STRING} else 0
        pairs += argument if major == _MAP else 0
    different = 0

    def count(_: cbor2.CBORDecoder, found: dict[Any, Any]) -> dict[Any, Any]:
        nonlocal different
        different += len(found)
        return found

    file = io.BytesIO(data)
    item = cbor2.CBORDecoder(file, object_hook=count, read_size=1).decode()
    if file.read(1):
        raise DamagedCard("something was added to the card's data")
    if different != pairs:
        raise DamagedCard("the card's data says the same thing twice")
    return item


def _argument(data: bytes, at: int) -> tuple[int, int]:
    """Of the head of a CBOR item (RFC 8949, section 3), and where what comes after it begins."""
    short = data[at] & 0x1F
    if short < _ONE_BYTE:
        return short, at + 1
    if short > _EIGHT_BYTES:
        raise DamagedCard("the card's data has tags, or items without a length, which no card needs")
    end = at + 1 + 2 ** (short - _ONE_BYTE)
    return int.from_bytes(data[at + 1 : end]), end


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
