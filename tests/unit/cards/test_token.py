"""The signed text: what it costs, what others make of it, and what happens to it when somebody changes it."""

import random
import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import base45
import cbor2
import claim169
import pytest
from cwt import COSE
from PIL import Image

from cameo.cards import Card, Claims, Issuers, SigningKey, load_issuers, make_card, make_keys, read_text
from cameo.errors import CardTooLarge, DamagedCard, InvalidParameter, NotACard
from tests.unit.cards.conftest import CLAIMS, NOW, PAYLOAD

TRIES = 1000


def public_pem(folder: Path) -> str:
    text = (folder / "office.example.pem").read_text()
    return text[text.index("-----BEGIN") :]


def signed(body: Any, key: SigningKey, **more: Any) -> str:
    """The text of any CWT."""
    cose = COSE.new(alg_auto_inclusion=True).encode_and_sign(cbor2.dumps(body), key.cose, **more)
    return packed(cose)


def packed(data: bytes) -> str:
    text: bytes = base45.b45encode(zlib.compress(data, 9))
    return text.decode()


def unpacked(text: str) -> bytes:
    return zlib.decompress(base45.b45decode(text))


def test_96_bytes_and_four_claims_are_a_code_of_version_12(card: Card) -> None:
    assert len(card.claims.given()) == 4
    assert len(card.text) <= 400
    assert card.qr_version <= 12
    assert card.qr.mode == "alphanumeric"
    assert card.qr.error in "MQH"
    modules = card.qr.symbol_size(border=4)[0]
    assert 0.33 * modules <= 25, "mm"


def test_a_card_says_what_was_signed(card: Card, issuers: Issuers) -> None:
    read = read_text(card.text, issuers, NOW)
    assert (read.state, read.issuer) == ("valid", "https://office.example")
    assert read.is_valid
    assert (read.claims, read.payload) == (CLAIMS, PAYLOAD)
    assert (read.issued, read.not_before) == (NOW, None)
    assert read.expires == datetime(2031, 1, 1, tzinfo=UTC), "the whole of the last day"
    assert read_text(card.text + "\r\n", issuers, NOW).is_valid, "as editors end a file"


def test_another_reader_of_claim_169_reads_the_same(card: Card, folder: Path) -> None:
    done = claim169.decode_with_ed25519_pem(card.text, public_pem(folder), validate_timestamps=False)
    assert done.is_verified()
    claims, meta = done.claim169, done.cwt_meta
    assert (claims.full_name, claims.date_of_birth) == ("Eileen Collins", "19561119")
    assert (claims.gender, claims.nationality) == (int(claim169.Gender.FEMALE), "US")
    [face] = claims.face
    assert (face.data, face.format, face.sub_format) == (PAYLOAD, 0, 100)
    assert meta.issuer == "https://office.example"
    assert (meta.issued_at, meta.expires_at) == (NOW.timestamp(), datetime(2031, 1, 1, tzinfo=UTC).timestamp())


def test_a_card_of_another_writer_is_read(folder: Path, issuers: Issuers) -> None:
    seed = SigningKey.load(folder / "office.example.key.pem").cose.key.private_bytes_raw()
    given = claim169.Claim169Input(id="7", full_name="Ada King")
    given.date_of_birth = "1815-12-10"
    given.face = [claim169.Biometric(b"RIFF", 0, 4), claim169.Biometric(PAYLOAD, 0, 100)]
    meta = claim169.CwtMetaInput(issuer="https://office.example", expires_at=int(NOW.timestamp()) + 60)
    read = read_text(claim169.encode_with_ed25519(given, meta, seed), issuers, NOW)
    assert read.is_valid
    assert read.claims == Claims(id="7", full_name="Ada King", date_of_birth="1815-12-10")
    assert read.payload == PAYLOAD


def test_a_card_without_our_face_has_claims_only(key: SigningKey, issuers: Issuers) -> None:
    body = {1: key.issuer, 169: {4: "Ada", 62: [{0: b"RIFF", 1: 0, 2: 4}]}}
    read = read_text(signed(body, key), issuers)
    assert (read.state, read.payload, read.claims.full_name) == ("valid", None, "Ada")


def test_no_card_whose_signature_is_broken_by_one_bit_is_valid(card: Card, issuers: Issuers) -> None:
    cose = unpacked(card.text)
    random_ = random.Random(1)  # noqa: S311
    states = []
    for _ in range(TRIES):
        broken = bytearray(cose)
        broken[-1 - random_.randrange(64)] ^= 1 << random_.randrange(8)
        states.append(read_text(packed(bytes(broken)), issuers, NOW).state)
    assert set(states) == {"broken"}


def states_of_changed(texts: list[str], issuers: Issuers) -> set[str]:
    states: set[str] = set()
    for text in texts:
        try:
            states.add(read_text(text, issuers, NOW).state)
        except (NotACard, DamagedCard):
            states.add("refused")
    return states


def test_no_token_that_is_changed_by_any_one_bit_is_valid(card: Card, issuers: Issuers) -> None:
    cose = unpacked(card.text)
    changed = []
    for at in range(8 * len(cose)):
        other = bytearray(cose)
        other[at // 8] ^= 1 << at % 8
        changed.append(packed(bytes(other)))
    assert len(changed) > TRIES
    assert states_of_changed(changed, issuers) <= {"broken", "unknown-issuer", "refused"}


def test_no_text_that_is_changed_by_one_bit_is_valid(card: Card, issuers: Issuers) -> None:
    squeezed, plain = base45.b45decode(card.text), card.text.encode()
    random_ = random.Random(2)  # noqa: S311

    def flipped(data: bytes) -> bytes:
        at, bit = divmod(random_.randrange(8 * len(data)), 8)
        return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]

    changed = [base45.b45encode(flipped(squeezed)).decode() for _ in range(TRIES)]
    changed += [flipped(plain).decode("latin-1") for _ in range(TRIES)]
    assert states_of_changed(changed, issuers) <= {"broken", "unknown-issuer", "refused"}


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_bits_that_only_fill_up_a_byte_are_none_to_play_with(card: Card, issuers: Issuers, level: int) -> None:
    """Deflate passes them over, so that a text could be changed there and stay valid."""
    data = zlib.compress(unpacked(card.text), level)
    assert read_text(base45.b45encode(data).decode(), issuers, NOW).is_valid
    changed = []
    for at in range(8 * len(data)):
        other = bytearray(data)
        other[at // 8] ^= 1 << at % 8
        changed.append(base45.b45encode(bytes(other)).decode())
    assert "valid" not in states_of_changed(changed, issuers)


def test_who_is_not_trusted_is_unknown(card: Card, key: SigningKey, tmp_path: Path) -> None:
    assert read_text(card.text, {}, NOW).state == "unknown-issuer"
    make_keys("https://other.example", tmp_path)
    read = read_text(card.text, load_issuers(tmp_path), NOW)
    assert (read.state, read.is_valid) == ("unknown-issuer", False)
    assert "https://other.example" in read.detail


def test_nobody_signs_in_the_name_of_another(face: Image.Image, issuers: Issuers, tmp_path: Path) -> None:
    """A key is trusted for its own issuer only: neither a stranger's, nor that of another who is trusted."""
    stranger = SigningKey.load(make_keys("https://other.example", tmp_path)[0])
    forged = make_card(face, PAYLOAD, CLAIMS, replace(stranger, issuer="https://office.example"), now=NOW)
    assert read_text(forged.text, issuers, NOW).state == "broken"
    assert read_text(forged.text, {**issuers, **load_issuers(tmp_path)}, NOW).state == "broken"


def test_each_key_of_an_issuer_is_tried(card: Card, issuers: Issuers, tmp_path: Path) -> None:
    make_keys("https://office.example", tmp_path)
    name = "https://office.example"
    assert read_text(card.text, {name: (*load_issuers(tmp_path)[name], *issuers[name])}, NOW).is_valid
    assert read_text(card.text, load_issuers(tmp_path), NOW).state == "broken"


def test_time_passes(face: Image.Image, key: SigningKey, issuers: Issuers) -> None:
    first, last = date(2027, 1, 1), date(2027, 12, 31)
    text = make_card(face, PAYLOAD, CLAIMS, key, not_before=first, expires=last, now=NOW).text
    begin, end = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    second = timedelta(seconds=1)
    states = [read_text(text, issuers, at).state for at in (begin - second, begin, end - second, end)]
    assert states == ["not-yet-valid", "valid", "valid", "expired"]
    assert "2027-12-31" in read_text(text, issuers, end).detail


@pytest.mark.parametrize(
    "times",
    [
        {"expires": date(2026, 11, 30)},
        {"expires": NOW},
        {"expires": date(2027, 1, 1), "not_before": date(2027, 1, 2)},
        {"expires": datetime(2030, 1, 1)},  # noqa: DTZ001 - that is what is wrong
    ],
)
def test_times_that_cannot_be(face: Image.Image, key: SigningKey, times: Mapping[str, date]) -> None:
    with pytest.raises(InvalidParameter, match="expires"):
        make_card(face, PAYLOAD, CLAIMS, key, now=NOW, **times)


@pytest.mark.parametrize(
    "times",
    [
        {"expires": date.max},
        {"not_before": date(1969, 12, 31)},
        {"not_before": date.min},
        {"not_before": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))},
    ],
)
def test_times_that_no_card_can_have(face: Image.Image, key: SigningKey, times: Mapping[str, date]) -> None:
    with pytest.raises(InvalidParameter, match="from 1970 to 9999-12-30"):
        make_card(face, PAYLOAD, CLAIMS, key, now=NOW, **times)


def test_the_last_day_of_all_can_be_read(face: Image.Image, key: SigningKey, issuers: Issuers) -> None:
    card = make_card(face, PAYLOAD, CLAIMS, key, expires=date(9999, 12, 30), not_before=date(1970, 1, 1), now=NOW)
    assert read_text(card.text, issuers, NOW).is_valid


@pytest.mark.parametrize("change", [{4: "2030"}, {4: True}, {5: b"x"}, {4: -1}, {4: float("nan")}, {4: 10**12}, {1: 7}])
def test_times_and_issuers_of_other_types_are_damage(change: dict[int, Any], key: SigningKey, issuers: Issuers) -> None:
    body = {1: key.issuer, 169: {}} | change
    with pytest.raises(DamagedCard):
        read_text(signed(body, key), issuers)


@pytest.mark.parametrize(
    "text",
    [
        "", "https://example.org/", "HC1:NCFOXN%TS3DH3ZSUZK+.V0ETD%65NL-AH", "0123456789", "BB8", "été",
        "WIFI:S:guest;T:WPA;P:secret;;", packed(b"plain data"), packed(cbor2.dumps({1: 2})),
        packed(cbor2.dumps(cbor2.CBORTag(17, [b"", {}, b"", b""]))), "A" * 5000,
    ],
)  # fmt: skip
def test_a_code_of_something_else_is_no_card(text: str, issuers: Issuers) -> None:
    with pytest.raises((NotACard, DamagedCard)) as caught:
        read_text(text, issuers)
    assert len(caught.value.detail) < 300


def test_tokens_that_are_no_identity(key: SigningKey, issuers: Issuers) -> None:
    bodies: list[dict[int, Any]] = [{1: "x"}, {1: "x", 169: "x"}]
    for body in bodies:
        with pytest.raises(NotACard, match="claim 169"):
            read_text(signed(body, key), issuers)
    ada = signed({1: key.issuer, 169: {4: "Ada"}}, key)
    assert read_text(packed(cbor2.dumps(cbor2.CBORTag(61, cbor2.loads(unpacked(ada))))), issuers).is_valid


def test_parts_of_wrong_types_are_damage(card: Card, issuers: Issuers) -> None:
    whole = cbor2.loads(unpacked(card.text)).value
    for place in range(4):
        others: list[Any] = [None, 7, "x", [], b"", {4: 7}]
        for part in others:
            parts = [*whole[:place], part, *whole[place + 1 :]]
            text = packed(cbor2.dumps(cbor2.CBORTag(18, parts)))
            if place == 1 and isinstance(part, dict):  # the header that is not signed says nothing
                assert read_text(text, issuers, NOW).is_valid
            else:
                assert states_of_changed([text], issuers) <= {"broken", "refused"}


def test_what_would_cost_much_is_refused(issuers: Issuers) -> None:
    bombs = [bytes(10**6), b"\x81" * 16_000, b"\xd2\x84" + b"\x5b" + b"\x7f" * 8, b"\xc6" * 16_000]
    for bomb in bombs:
        with pytest.raises((NotACard, DamagedCard)):
            read_text(packed(bomb), issuers)


def test_what_does_not_fit_is_said_with_its_lengths(face: Image.Image, key: SigningKey) -> None:
    huge = Claims(full_name="Ada", address="x" * 10 + "".join(chr(0x4E00 + i * 37 % 5000) for i in range(190)))
    with pytest.raises(CardTooLarge, match="address, which has 580") as caught:
        make_card(face, PAYLOAD * 2, huge, key)
    assert caught.value.facts["payload"] == 192
    assert caught.value.facts["claims"] == {"full_name": 3, "address": 580}


def shared(depth: int) -> bytes:
    """CBOR of an array with the same array twice, and so on: few bytes, and 2 to the power of ``depth`` values."""
    references = b"".join(b"\xd8\x1d" + cbor2.dumps(level) for level in range(depth, 0, -1))
    return b"\xd8\x1c\x82" * depth + b"\xd8\x1c\x81\x01" + references


HOSTILE = {
    "values that are shared": shared(60),
    "a regular expression": b"\xd8\x23" + cbor2.dumps("[\u0100-\uffff]" * 1000),
    "a decimal": b"\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
    "a float of any size": b"\xc5\x82\x1a\x3b\x9a\xca\x00\x01",
    "a day": b"\xd8\x64\x1b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "a token in it": cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b"", b""])),
    "no length": b"\x9f\x01\xff",
    "no end": b"\x9b\x00\x00\x00\x40\x00\x00\x00\x00",
    "depth": b"\x81" * 9000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_cbor_that_costs_time_or_crashes_decoders_is_damaged(data: bytes, card: Card, issuers: Issuers) -> None:
    protected, _, body, signature = cbor2.loads(unpacked(card.text)).value
    claim = b"\x18\xa9\xa1\x04"
    for tried in (b"\xa1" + claim + data, b"\xa2" + data + b"\x01" + claim + b"\x61x", data):  # a value, a key, all
        for parts in ([protected, {}, tried, signature], [tried, {}, body, signature]):
            with pytest.raises(DamagedCard):
                read_text(packed(cbor2.dumps(cbor2.CBORTag(18, parts))), issuers, NOW)
        unprotected = b"\xd2\x84" + cbor2.dumps(protected) + tried + cbor2.dumps(body) + cbor2.dumps(signature)
        with pytest.raises(DamagedCard):
            read_text(packed(unprotected), issuers, NOW)


def test_nothing_can_be_added_to_a_card(card: Card, issuers: Issuers) -> None:
    with pytest.raises(DamagedCard, match="added"):
        read_text(packed(unpacked(card.text) + b"\x00"), issuers, NOW)


def test_no_claim_is_there_twice(card: Card, issuers: Issuers) -> None:
    """One reader would take the first, another the second."""
    protected, _, _, signature = cbor2.loads(unpacked(card.text)).value
    issuer = b"\x01" + cbor2.dumps("https://office.example")
    body = b"\xa3" + issuer + issuer + b"\x18\xa9\xa0"
    with pytest.raises(DamagedCard, match="twice"):
        read_text(packed(cbor2.dumps(cbor2.CBORTag(18, [protected, {}, body, signature]))), issuers, NOW)


def test_a_card_may_name_the_key_that_signed_it(key: SigningKey, issuers: Issuers) -> None:
    """Other issuers do. Names of keys are not looked at: all keys of the issuer are tried, and no other."""
    body = {1: "https://office.example", 169: {4: "Eileen Collins"}}
    for name in (b"7", b"other.example"):
        assert read_text(signed(body, key, protected={4: name}), issuers, NOW).is_valid
        assert read_text(signed(body, key, unprotected={4: name}), issuers, NOW).is_valid


@pytest.mark.parametrize("name", ["\x1b[2Joffice", "office\nvalid", "office\u202e"])
def test_an_issuer_is_printable(name: str, key: SigningKey, issuers: Issuers) -> None:
    """Terminals and pages show it."""
    with pytest.raises(DamagedCard, match="printable"):
        read_text(signed({1: name, 169: {4: "x"}}, key), issuers, NOW)
