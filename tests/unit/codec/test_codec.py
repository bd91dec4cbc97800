import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.codec import OVERHEAD, Coding, Payload, decode_body, encode, unwrap, wrap
from app.codec.fixed import body_bytes
from app.errors import DamagedPayload, PayloadError

TAG = b"\x5a\x01"
LEVELS = np.full((8, 8), 1000)
LEVELS[0] = [1, 2, 3, 5, 8, 13, 21, 34]
TOKENS = np.arange(64).reshape(8, 8) * 15 % LEVELS
PAYLOAD = encode(TOKENS, LEVELS, TAG)


def decode(data: bytes, levels: NDArray[np.int64] = LEVELS) -> NDArray[np.int64]:
    return decode_body(unwrap(data), levels)


def test_golden() -> None:
    tokens = np.array([[0, 1, 511], [256, 100, 37]])
    data = encode(tokens, np.full((2, 3), 512), TAG)
    assert data.hex() == "105a0100007ff00320941f"
    np.testing.assert_array_equal(decode(data, np.full((2, 3), 512)), tokens, strict=True)


def test_round_trip() -> None:
    assert len(PAYLOAD) == body_bytes(LEVELS) + OVERHEAD
    assert unwrap(PAYLOAD).tag == TAG
    np.testing.assert_array_equal(decode(PAYLOAD), TOKENS, strict=True)


@pytest.mark.parametrize("size", range(len(PAYLOAD)))
def test_every_truncation_is_caught(size: int) -> None:
    with pytest.raises(PayloadError):
        decode(PAYLOAD[:size])


@pytest.mark.parametrize("position", range(len(PAYLOAD)))
def test_all_damage_of_one_byte_is_caught(position: int) -> None:
    for mask in range(1, 256):
        damaged = bytearray(PAYLOAD)
        damaged[position] ^= mask
        with pytest.raises(DamagedPayload):
            decode(bytes(damaged))


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_random_bytes_give_nothing_but_a_payload_error(data: bytes) -> None:
    try:
        tokens = decode(data)
    except PayloadError:
        return
    assert encode(tokens, LEVELS, unwrap(data).tag) == data


@given(st.binary(min_size=2, max_size=2), st.binary(max_size=400))
@settings(deadline=None)
def test_random_bodies_in_a_sound_frame_give_nothing_but_a_payload_error(tag: bytes, body: bytes) -> None:
    # Tokens of 16 bits with half of their values out of range: bodies of the right length can be wrong, too.
    levels = np.full(len(body) // 2, 2**15 + 1)
    data = wrap(Payload(Coding.FIXED, tag, body))
    try:
        tokens = decode(data, levels)
    except PayloadError:
        return
    assert encode(tokens, levels, tag) == data
