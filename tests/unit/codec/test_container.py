import pytest
from hypothesis import given
from hypothesis import strategies as st

from cameo.codec import OVERHEAD, Coding, Payload, crc8, unwrap, wrap
from cameo.errors import DamagedPayload, EmptyPayload, ForeignPayload, PayloadError, TruncatedPayload

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


@pytest.mark.parametrize("first", [first for first in range(256) if first >> 4 != 1])
def test_intact_payloads_of_unknown_formats_are_foreign(first: int) -> None:
    with pytest.raises(ForeignPayload) as caught:
        unwrap(sealed(bytes([first]) + PAYLOAD[1:-1]))
    assert caught.value.facts == {"format": first >> 4, "known_formats": [1]}


def sealed(data: bytes) -> bytes:
    return data + bytes([crc8(data)])


def progressive(size: int, tag: bytes = b"\xca\xfe") -> bytes:
    data = wrap(Payload(Coding.PROGRESSIVE, tag, bytes(range(200, 200 - size, -1))))
    assert len(data) == size + OVERHEAD
    return data


@pytest.mark.parametrize(("size", "first"), [(5, 0x16), (14, 0x1F), (15, 0x11), (29, 0x1F), (96, 0x17), (100, 0x1B)])
def test_the_first_byte_of_a_progressive_payload_tells_its_length(size: int, first: int) -> None:
    data = progressive(size - OVERHEAD)
    assert data[0] == first
    assert unwrap(data).coding is Coding.PROGRESSIVE


@pytest.mark.parametrize("nibble", [nibble for nibble in range(1, 16) if nibble != 1 + 96 % 15])
def test_an_intact_payload_of_another_length_than_its_first_byte_tells_is_cut(nibble: int) -> None:
    with pytest.raises(TruncatedPayload) as caught:
        unwrap(sealed(bytes([0x10 | nibble]) + progressive(92)[1:-1]))
    assert caught.value.facts == {"bytes": 96}


def test_a_progressive_payload_has_a_body() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        wrap(Payload(Coding.PROGRESSIVE, b"\xca\xfe", b""))
    with pytest.raises(TruncatedPayload):
        unwrap(sealed(bytes([0x10 | 1 + OVERHEAD]) + b"\xca\xfe"))
    assert unwrap(progressive(1)).body == bytes([200])


@given(tags, st.binary(min_size=1, max_size=400))
def test_no_first_part_of_a_progressive_payload_is_a_payload(tag: bytes, body: bytes) -> None:
    data = wrap(Payload(Coding.PROGRESSIVE, tag, body))
    whole = unwrap(data)
    assert whole.tag == tag
    assert body.startswith(whole.body)
    assert wrap(whole) == data
    for size in range(len(data)):
        with pytest.raises((EmptyPayload, TruncatedPayload, DamagedPayload)):
            unwrap(data[:size])


def test_a_payload_that_could_be_cut_is_made_a_byte_shorter() -> None:
    """Its first 81 bytes are a payload."""
    inner = progressive(77)
    outer = sealed(inner + bytes(14))
    assert unwrap(outer).body == outer[3:-1]  # nothing is wrong with it in itself
    data = wrap(unwrap(outer))
    assert len(data) == len(outer) - 1
    assert unwrap(data).body == outer[3:-2]
    for size in range(1, len(data)):
        with pytest.raises((TruncatedPayload, DamagedPayload)):
            unwrap(data[:size])


def test_few_payloads_are_made_shorter() -> None:
    """A payload of 96 bytes has six places to cut it at, each of which passes once in 256 times: 2.3 percent."""
    shorter = 0
    for number in range(4000):
        body = number.to_bytes(2) * 46
        size = len(wrap(Payload(Coding.PROGRESSIVE, b"\xca\xfe", body)))
        assert size >= 94
        shorter += size < 96
    assert 0.01 < shorter / 4000 < 0.04


@pytest.mark.parametrize("size", [5, 20, 96])
def test_any_one_damaged_byte_of_a_progressive_payload_reads_as_damage(size: int) -> None:
    data = wrap(Payload(Coding.PROGRESSIVE, b"\xca\xfe", bytes(size - OVERHEAD)))
    for position in range(len(data)):
        for mask in range(1, 256):
            damaged = bytearray(data)
            damaged[position] ^= mask
            with pytest.raises(DamagedPayload):
                unwrap(bytes(damaged))
