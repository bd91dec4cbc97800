import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cameo.codec.fixed import MAX_LEVELS, body_bits, body_bytes, pack, unpack
from cameo.errors import (
    DamagedPayload,
    OverlongPayload,
    PayloadError,
    TokenOutOfRange,
    TruncatedPayload,
    WrongTokenShape,
)

Ints = NDArray[np.int64]

shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
level_arrays = hnp.arrays(np.int64, shapes, elements=st.one_of(st.integers(1, 20), st.integers(1, MAX_LEVELS)))


@st.composite
def tokens_and_levels(draw: st.DrawFn) -> tuple[Ints, Ints]:
    levels = draw(level_arrays)
    return np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, levels, endpoint=False), levels


@given(tokens_and_levels())
def test_round_trip(case: tuple[Ints, Ints]) -> None:
    tokens, levels = case
    body = pack(tokens, levels)
    assert len(body) == body_bytes(levels)
    decoded = unpack(body, levels)
    assert decoded.dtype == np.int64
    np.testing.assert_array_equal(decoded, tokens, strict=True)


@given(tokens_and_levels())
def test_the_layout_is_the_tokens_binary_digits_in_a_row(case: tuple[Ints, Ints]) -> None:
    tokens, levels = case
    digits = "".join(
        f"{token:0{(size - 1).bit_length()}b}"
        for token, size in zip(tokens.ravel().tolist(), levels.ravel().tolist(), strict=True)
        if size > 1
    )
    digits += "0" * (-len(digits) % 8)
    assert pack(tokens, levels) == bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))


@pytest.mark.parametrize(
    ("levels", "tokens", "body"),
    [
        ([2] * 8, [1, 0, 1, 0, 0, 0, 0, 1], "a1"),
        ([1024] * 4, [0, 1, 1022, 1023], "00001ffbff"),
        ([512] * 3, [511, 0, 257], "ff802020"),
        ([3, 5, 1, 2], [2, 4, 0, 1], "a4"),
        ([[65536, 256], [16, 16]], [[0xCAFE, 0x12], [3, 4]], "cafe1234"),
        ([2**32], [2**32 - 1], "ffffffff"),
        ([1, 1], [0, 0], ""),
        ([], [], ""),
    ],
)
def test_golden(levels: list[Any], tokens: list[Any], body: str) -> None:
    levels_array, tokens_array = np.array(levels, np.int64), np.array(tokens, np.int64)
    assert pack(tokens_array, levels_array).hex() == body
    np.testing.assert_array_equal(unpack(bytes.fromhex(body), levels_array), tokens_array, strict=True)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 127, 128, 129, 1023, 1024, 1025, 2**31 + 1, 2**32])
def test_bits_per_token_are_exact(size: int) -> None:
    levels = np.full((8, 8), size)
    assert body_bits(levels) == 64 * math.ceil(math.log2(size))
    assert body_bytes(levels) == 8 * math.ceil(math.log2(size))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_integer_types_do_not_matter(dtype: type[np.integer[Any]]) -> None:
    levels = np.array([[100, 7], [3, 90]])
    tokens = np.array([[99, 6], [0, 41]])
    assert pack(tokens.astype(dtype), levels.astype(dtype)) == pack(tokens, levels)
    np.testing.assert_array_equal(unpack(pack(tokens, levels), levels.astype(dtype)), tokens)


def test_memory_layout_does_not_matter() -> None:
    levels = np.full((3, 5), 1000)
    tokens = np.arange(15).reshape(3, 5)
    assert pack(np.asfortranarray(tokens), levels) == pack(tokens, levels)


def test_the_wrong_shape_is_refused() -> None:
    with pytest.raises(WrongTokenShape) as caught:
        pack(np.zeros((8, 7), np.int64), np.full((8, 8), 512))
    assert caught.value.facts == {"shape": [8, 7], "expected": [8, 8]}


@pytest.mark.parametrize("value", [-1, 300, 2**62, -(2**62)])
def test_a_token_outside_its_alphabet_is_refused(value: int) -> None:
    levels = np.full((2, 3), 512)
    levels[1, 2] = 300
    tokens = np.full((2, 3), 299)
    tokens[1, 2] = value
    with pytest.raises(TokenOutOfRange) as caught:
        pack(tokens, levels)
    assert caught.value.facts == {"position": [1, 2], "value": value, "levels": 300}


def test_a_huge_unsigned_token_is_refused() -> None:
    with pytest.raises(TokenOutOfRange):
        pack(np.array([2**64 - 1], np.uint64), np.array([512]))


def test_floats_are_not_tokens() -> None:
    with pytest.raises(TypeError, match="float64"):
        pack(np.zeros(3), np.full(3, 512))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1, MAX_LEVELS + 1])
def test_impossible_levels_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="Levels"):
        body_bytes(np.array([2, size]))


@given(tokens_and_levels())
def test_every_other_length_is_refused(case: tuple[Ints, Ints]) -> None:
    tokens, levels = case
    body = pack(tokens, levels)
    for size in range(len(body)):
        with pytest.raises(TruncatedPayload) as caught:
            unpack(body[:size], levels)
        assert caught.value.facts == {"body_bytes": size, "expected": len(body)}
    with pytest.raises(OverlongPayload):
        unpack(body + b"\0", levels)


@pytest.mark.parametrize("bit", range(4))
def test_the_filling_must_be_zero(bit: int) -> None:
    with pytest.raises(DamagedPayload, match="last 4 bits"):
        unpack(bytes([0, 1 << bit]), np.full(2, 64))


def test_a_decoded_token_must_be_in_its_alphabet() -> None:
    with pytest.raises(DamagedPayload) as caught:
        unpack(bytes([0b00_10_11_01]), np.full((2, 2), 3))
    assert caught.value.facts == {"position": [1, 0], "value": 3, "levels": 3}


@given(st.binary(max_size=400), level_arrays)
def test_any_body_gives_its_own_tokens_or_a_payload_error(body: bytes, levels: Ints) -> None:
    try:
        tokens = unpack(body, levels)
    except PayloadError:
        return
    assert pack(tokens, levels) == body
