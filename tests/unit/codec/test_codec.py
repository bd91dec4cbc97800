import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cameo.codec import (
    OVERHEAD,
    Coding,
    Fixed,
    Payload,
    Progressive,
    TokenCoding,
    progressive,
    shorten,
    unwrap,
    wrap,
)
from cameo.codec.fixed import body_bytes
from cameo.errors import DamagedPayload, PayloadError, TokenOutOfRange, TruncatedPayload, WrongTokenShape
from tests.unit.codec.priors import fixed_prior, random_prior

TAG = b"\x5a\x01"
LEVELS = np.full((8, 8), 1000)
LEVELS[0] = [1, 2, 3, 5, 8, 13, 21, 34]
TOKENS = np.arange(64).reshape(8, 8) * 15 % LEVELS
FIXED = Fixed(LEVELS)
PAYLOAD = FIXED.pack(TOKENS, TAG)[0]

PRIOR = random_prior(1, 900, latents=300, nats=0.5)
LIST = progressive.unpack(np.random.default_rng(1).bytes(1000), PRIOR)
PROGRESSIVE = Progressive(PRIOR)
WHOLE = PROGRESSIVE.pack(LIST, TAG, 1000)[0]


def decode(data: bytes, coding: TokenCoding = FIXED) -> NDArray[np.int64]:
    return coding.unpack(unwrap(data))


def test_golden() -> None:
    tokens = np.array([[0, 1, 511], [256, 100, 37]])
    coding = Fixed(np.full((2, 3), 512))
    data, held = coding.pack(tokens, TAG)
    assert data.hex() == "105a0100007ff00320941f"
    np.testing.assert_array_equal(held, tokens, strict=True)
    np.testing.assert_array_equal(decode(data, coding), tokens, strict=True)


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
def test_random_bytes_give_nothing_but_a_payload_error(data: bytes) -> None:
    try:
        tokens = decode(data)
    except PayloadError:
        return
    assert FIXED.pack(tokens, unwrap(data).tag)[0] == data


@given(st.binary(min_size=2, max_size=2), st.binary(max_size=400))
def test_random_bodies_in_a_sound_frame_give_nothing_but_a_payload_error(tag: bytes, body: bytes) -> None:
    # Tokens of 16 bits with half of their values out of range: bodies of the right length can be wrong, too.
    coding = Fixed(np.full(len(body) // 2, 2**15 + 1))
    data = wrap(Payload(Coding.FIXED, tag, body))
    try:
        tokens = decode(data, coding)
    except PayloadError:
        return
    assert coding.pack(tokens, tag)[0] == data


def test_golden_progressive() -> None:
    coding = Progressive(fixed_prior())
    tokens = np.arange(100) % 2
    data, held = coding.pack(tokens, TAG, 12)
    assert data.hex() == "1d5a01602c5b8c4b36c583b6"
    np.testing.assert_array_equal(held, tokens[:44], strict=True)
    np.testing.assert_array_equal(decode(data, coding), tokens[:44], strict=True)


def test_all_tokens_may_take_less_than_the_budget() -> None:
    assert len(LIST) == len(PRIOR)
    assert 90 < len(WHOLE) < 200
    np.testing.assert_array_equal(decode(WHOLE, PROGRESSIVE), LIST, strict=True)


@pytest.mark.parametrize("budget", range(5, 90))
def test_a_budget_is_filled_and_shortening_gives_what_the_budget_would_have(budget: int) -> None:
    data = PROGRESSIVE.pack(LIST, TAG, budget)[0]
    assert budget - 1 <= len(data) <= budget
    assert shorten(unwrap(WHOLE), budget) == data
    tokens = decode(data, PROGRESSIVE)
    np.testing.assert_array_equal(tokens, LIST[: len(tokens)], strict=True)
    # The tokens of a payload are worth that payload again: what comes out of JSON goes back into the same bytes.
    again = PROGRESSIVE.pack(tokens, TAG, budget)[0] if len(tokens) else data
    np.testing.assert_array_equal(decode(again, PROGRESSIVE), tokens)


def test_a_larger_budget_holds_no_fewer_tokens() -> None:
    counts = [len(decode(PROGRESSIVE.pack(LIST, TAG, budget)[0], PROGRESSIVE)) for budget in range(5, len(WHOLE) + 1)]
    assert counts[-1] == len(PRIOR)
    # A byte that was left out for its checksum's sake may make two budgets one.
    assert all(more >= fewer for fewer, more in zip(counts, counts[2:], strict=False))


def test_shortening_to_more_bytes_changes_nothing() -> None:
    assert shorten(unwrap(WHOLE), len(WHOLE)) == shorten(unwrap(WHOLE), 10**6) == WHOLE


def test_only_progressive_payloads_are_shortened() -> None:
    with pytest.raises(ValueError, match="Only progressive"):
        shorten(unwrap(PAYLOAD), 50)


@pytest.mark.parametrize("budget", [-1, 0, OVERHEAD])
def test_a_budget_leaves_room_for_a_body(budget: int) -> None:
    with pytest.raises(ValueError, match="at least 5 bytes"):
        PROGRESSIVE.pack(LIST, TAG, budget)[0]
    with pytest.raises(ValueError, match="at least 5 bytes"):
        shorten(unwrap(WHOLE), budget)


def test_tokens_of_no_progressive_model_are_refused() -> None:
    with pytest.raises(WrongTokenShape):
        PROGRESSIVE.pack(np.append(LIST, 0), TAG, 96)[0]
    with pytest.raises(TokenOutOfRange):
        PROGRESSIVE.pack(np.full(3, 3), TAG, 96)[0]
    with pytest.raises(ValueError, match="at least one byte"):
        PROGRESSIVE.pack(LIST[:0], TAG, 96)[0]


def test_a_payload_of_the_other_coding_is_damaged() -> None:
    with pytest.raises(DamagedPayload) as caught:
        decode(PAYLOAD, PROGRESSIVE)
    assert caught.value.facts == {"coding": 0, "expected": 1}
    with pytest.raises(DamagedPayload) as caught:
        decode(WHOLE, FIXED)
    assert caught.value.facts == {"coding": 1, "expected": 0}


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_every_truncation_of_a_progressive_payload_is_caught(size: int) -> None:
    with pytest.raises(PayloadError):
        decode(WHOLE[:size], PROGRESSIVE)


@given(st.integers(0, 2**32), st.integers(5, 320))
def test_every_truncation_of_any_progressive_payload_is_caught(seed: int, budget: int) -> None:
    tokens = progressive.unpack(np.random.default_rng(seed).bytes(1000), PRIOR)
    data = PROGRESSIVE.pack(tokens, seed.to_bytes(5)[-2:], budget)[0]
    for size in range(1, len(data)):
        with pytest.raises((TruncatedPayload, DamagedPayload)):
            decode(data[:size], PROGRESSIVE)


@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_give_nothing_but_a_payload_error_or_tokens(data: bytes, framed: bool) -> None:
    if framed and data:
        data = wrap(Payload(Coding.PROGRESSIVE, TAG, data))
    try:
        tokens = decode(data, PROGRESSIVE)
    except PayloadError:
        assert not framed or not data
        return
    progressive.check(tokens, PRIOR)
    assert len(progressive.pack(tokens, PRIOR, 1000)) <= len(unwrap(data).body)


@pytest.mark.parametrize("seed", range(20))
def test_the_encoder_knows_how_many_tokens_are_read(seed: int) -> None:
    tokens = progressive.unpack(np.random.default_rng(seed).bytes(1000), PRIOR)
    for budget in (5, 6, 7, 12, 33, 96, 97, 320, 1000):
        data, held = PROGRESSIVE.pack(tokens, seed.to_bytes(2), budget)
        np.testing.assert_array_equal(held, decode(data, PROGRESSIVE), strict=True)


def test_without_a_budget_all_tokens_are_packed() -> None:
    for coding, tokens, payload in ((FIXED, TOKENS, PAYLOAD), (PROGRESSIVE, LIST, WHOLE)):
        data, held = coding.pack(tokens, TAG)
        assert data == payload
        np.testing.assert_array_equal(held, tokens, strict=True)


def test_a_fixed_payload_has_one_length() -> None:
    size = FIXED.payload_bytes
    assert len(PAYLOAD) == size
    assert FIXED.pack(TOKENS, TAG, size)[0] == PAYLOAD
    with pytest.raises(ValueError, match=f"have {size} bytes, which is more than {size - 1}"):
        FIXED.pack(TOKENS, TAG, size - 1)


def test_a_coding_shortens_as_the_function_does() -> None:
    assert PROGRESSIVE.shorten(unwrap(WHOLE), 48) == shorten(unwrap(WHOLE), 48)
    with pytest.raises(ValueError, match="Only progressive"):
        FIXED.shorten(unwrap(PAYLOAD), 48)


def test_nested_lists_of_a_codings_own_tokens_pass_its_check() -> None:
    np.testing.assert_array_equal(FIXED.check(TOKENS.tolist()), TOKENS, strict=True)
    np.testing.assert_array_equal(PROGRESSIVE.check(LIST[:100].tolist()), LIST[:100], strict=True)
    with pytest.raises(WrongTokenShape, match=r"shape \[7, 8\], expected \[8, 8\]$"):
        FIXED.check(TOKENS[1:].tolist())
    with pytest.raises(WrongTokenShape, match=r"shape \[901\], expected \[900\] at most"):
        PROGRESSIVE.check([0] * 901)
