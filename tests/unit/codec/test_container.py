import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codec import OVERHEAD, Coding, Payload, crc8, unwrap, wrap
from app.errors import DamagedPayload, EmptyPayload, ForeignPayload, PayloadError, TruncatedPayload

PAYLOAD = wrap(Payload(Coding.FIXED, b"\xca\xfe", bytes(range(100))))

tags = st.binary(min_size=2, max_size=2)


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        # The catalogue's check value, then the test vectors of the AUTOSAR CRC specification.
        (b"123456789", 0xDF),
        (bytes.fromhex("00000000"), 0x12),
        (bytes.fromhex("F20183"), 0xC2),
        (bytes.fromhex("0FAA0055"), 0xC6),
        (bytes.fromhex("00FF5511"), 0x77),
        (bytes.fromhex("332255AABBCCDDEEFF"), 0x11),
        (bytes.fromhex("926B55"), 0x33),
        (bytes.fromhex("FFFFFFFF"), 0x6C),
    ],
)
def test_crc8_is_the_one_named(data: bytes, crc: int) -> None:
    assert crc8(data) == crc


@given(tags, st.binary(max_size=300))
@settings(deadline=None)
def test_round_trip(tag: bytes, body: bytes) -> None:
    payload = Payload(Coding.FIXED, tag, body)
    data = wrap(payload)
    assert len(data) == len(body) + OVERHEAD
    assert unwrap(data) == payload


@pytest.mark.parametrize("tag", [b"", b"\x01", b"\x01\x02\x03"])
def test_a_tag_has_two_bytes(tag: bytes) -> None:
    with pytest.raises(ValueError, match="tag has 2 bytes"):
        wrap(Payload(Coding.FIXED, tag, b""))


def test_nothing_is_an_empty_payload() -> None:
    with pytest.raises(EmptyPayload):
        unwrap(b"")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_less_than_a_frame_is_truncated(size: int) -> None:
    with pytest.raises(TruncatedPayload) as caught:
        unwrap(PAYLOAD[:size])
    assert caught.value.facts == {"bytes": size, "least": 4}


@pytest.mark.parametrize("position", range(len(PAYLOAD)))
def test_any_one_damaged_byte_reads_as_damage(position: int) -> None:
    for mask in range(1, 256):
        damaged = bytearray(PAYLOAD)
        damaged[position] ^= mask
        with pytest.raises(DamagedPayload):
            unwrap(bytes(damaged))


@given(st.data())
@settings(deadline=None)
def test_any_damage_within_eight_bits_is_caught_across_bytes(data: st.DataObject) -> None:
    bits = 8 * len(PAYLOAD)
    mask = data.draw(st.integers(1, 255)) << data.draw(st.integers(0, bits - 8))
    damaged = int.from_bytes(PAYLOAD, "big") ^ mask
    with pytest.raises(PayloadError):
        unwrap(damaged.to_bytes(len(PAYLOAD), "big"))


def test_damage_names_both_checksums() -> None:
    found = PAYLOAD[-1] ^ 0xFF
    with pytest.raises(DamagedPayload) as caught:
        unwrap(PAYLOAD[:-1] + bytes([found]))
    assert caught.value.facts == {"expected": f"0x{PAYLOAD[-1]:02x}", "found": f"0x{found:02x}"}


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("ffd8ffe000104a46494600010100000100010000"),
        bytes.fromhex("89504e470d0a1a0a0000000d49484452"),
        b"RIFF\x24\x10\x00\x00WEBPVP8 ",
        b'{"model": "vqvae-64", "version": 1}',
    ],
    ids=["jpeg", "png", "webp", "json"],
)
def test_other_files_are_foreign(data: bytes) -> None:
    with pytest.raises(ForeignPayload) as caught:
        unwrap(data)
    assert caught.value.facts["format"] == data[0] >> 4


@pytest.mark.parametrize("first", [first for first in range(256) if first != PAYLOAD[0]])
def test_intact_payloads_of_unknown_formats_and_codings_are_foreign(first: int) -> None:
    data = bytes([first]) + PAYLOAD[1:-1]
    with pytest.raises(ForeignPayload) as caught:
        unwrap(data + bytes([crc8(data)]))
    assert caught.value.facts == {
        "format": first >> 4,
        "coding": first & 0x0F,
        "known_formats": [1],
        "known_codings": [0],
    }
