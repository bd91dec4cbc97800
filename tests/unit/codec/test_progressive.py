import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cameo.codec.prior import MOST_BIAS, MOST_WEIGHT, TABLE, Prior
from cameo.codec.progressive import check, pack, unpack
from cameo.errors import TokenOutOfRange, WrongTokenShape
from tests.unit.codec.priors import fixed_prior, random_prior

EVERYTHING = 10**6

fills = st.sampled_from([0x00, 0xFF]).flatmap(lambda byte: st.integers(0, 60).map(lambda size: bytes([byte]) * size))
bodies = st.one_of(st.binary(max_size=400), st.lists(st.one_of(st.binary(max_size=9), fills)).map(b"".join))
"""Random bytes, and such with long runs that carries pass through."""

priors = st.builds(
    random_prior,
    seed=st.integers(0, 2**32),
    tokens=st.integers(1, 300),
    latents=st.integers(1, 100),
    units=st.integers(0, 9),
    nats=st.floats(0, 8),
)


def sample(prior: Prior, seed: int = 0) -> NDArray[np.int64]:
    """All T tokens, drawn from the prior itself."""
    tokens = unpack(np.random.default_rng(seed).bytes(3 * len(prior) + 8), prior)
    assert len(tokens) == len(prior)
    return tokens


def slowly_unpacked(body: bytes, prior: Prior) -> list[int]:
    """What the module's docstring says, in numbers of any size, one token at a time.

    The interval and all streams that begin with the body are compared as whole numbers of units that become
    256 times smaller with every byte.
    """
    tokens: list[int] = []
    low, width, shift = 0, 2**32, 0
    for t in range(len(prior)):
        h = [0] * prior.embed_T3H.shape[2]
        for u in range(t // 32 * 32):
            h = [a + int(b) for a, b in zip(h, prior.embed_T3H[u, tokens[u]], strict=True)]
        a = [min(max(unit, 0), 255) for unit in h]
        refines = any(tokens[u] for u in range(t) if prior.latent_T[u] == prior.latent_T[t])
        asked = [2] if refines else [0, 1]
        answers = []
        for d in asked:
            logit = int(prior.bias_T3[t, d]) + sum(int(w) * b for w, b in zip(prior.output_T3H[t, d], a, strict=True))
            split = (width >> 16) * int(TABLE[(min(max(logit, -16384), 16383) + 16384) >> 4])
            bits = 32 + shift - 8 * len(body)
            least = int.from_bytes(body)
            if bits >= 0:
                least, most = least << bits, (least + 1 << bits) - 1
            else:
                least = most = least >> -bits
            if most < low + split:
                answers.append(1)
                width = split
            elif least >= low + split:
                answers.append(0)
                low, width = low + split, width - split
            else:
                return tokens
            while width < 2**24:
                low, width, shift = low << 8, width << 8, shift + 8
            if d == 0 and not answers[0]:
                break
        tokens.append(sum(answers))
    return tokens


@given(priors, bodies)
def test_a_body_has_the_tokens_that_a_plain_reading_of_the_format_finds(prior: Prior, body: bytes) -> None:
    tokens = unpack(body, prior)
    assert tokens.dtype == np.int64
    assert tokens.ndim == 1
    assert tokens.tolist() == slowly_unpacked(body, prior)


@given(priors, bodies)
def test_any_bytes_are_the_body_of_tokens_whose_own_stream_is_no_longer(prior: Prior, body: bytes) -> None:
    tokens = unpack(body, prior)
    check(tokens, prior)
    stream = pack(tokens, prior, EVERYTHING)
    assert len(stream) <= len(body)
    np.testing.assert_array_equal(unpack(stream, prior), tokens, strict=True)
    assert pack(unpack(stream, prior), prior, EVERYTHING) == stream


@given(priors, st.integers(0, 2**32))
def test_every_budget_gives_the_first_bytes_of_one_stream_and_they_the_first_tokens(prior: Prior, seed: int) -> None:
    tokens = sample(prior, seed)
    stream = pack(tokens, prior, EVERYTHING)
    np.testing.assert_array_equal(unpack(stream, prior), tokens, strict=True)
    fewer = 0
    for size in range(len(stream) + 2):
        assert pack(tokens, prior, size) == stream[:size]
        first = unpack(stream[:size], prior)
        assert fewer <= len(first)
        np.testing.assert_array_equal(first, tokens[: len(first)], strict=True)
        fewer = len(first)


@given(priors, bodies)
def test_carries_pass_through_every_budget(prior: Prior, body: bytes) -> None:
    tokens = unpack(body, prior)
    stream = pack(tokens, prior, EVERYTHING)
    for size in range(len(stream)):
        assert pack(tokens, prior, size) == stream[:size]


@given(priors, st.integers(0, 2**32), st.floats(0, 1))
def test_the_stream_of_a_first_part_begins_with_it(prior: Prior, seed: int, part: float) -> None:
    tokens = sample(prior, seed)[: round(part * len(prior))]
    found = unpack(pack(tokens, prior, EVERYTHING), prior)
    np.testing.assert_array_equal(found[: len(tokens)], tokens, strict=True)


def test_nearly_every_first_part_has_a_stream_of_its_own() -> None:
    ends = 0
    for seed in range(5):
        prior = random_prior(seed, 400)
        tokens = sample(prior, seed)
        ends += sum(len(unpack(pack(tokens[:size], prior, EVERYTHING), prior)) == size for size in range(400))
    assert ends > 0.99 * 5 * 400


def test_the_stream_takes_about_as_many_bits_as_the_prior_says() -> None:
    """A coder that is given the right probabilities wastes less than a hundredth of a bit a decision."""
    prior = random_prior(3, 2400, latents=768, units=32, nats=1)
    tokens = sample(prior)
    nats = 0.0
    h = np.zeros(32, np.int64)
    seen: set[int] = set()
    for t, token in enumerate(tokens.tolist()):
        if t % 32 == 0:
            a = h.clip(0, 255)
        logits = np.clip(prior.bias_T3[t] + prior.output_T3H[t].astype(np.int64) @ a, -16384, 16383) / 2048
        latent = int(prior.latent_T[t])
        decisions = [(2, token)] if latent in seen else [(0, int(token > 0)), (1, int(token == 2))][: 1 + (token > 0)]
        nats += sum(float(np.log1p(np.exp(-logits[d] if yes else logits[d]))) for d, yes in decisions)
        if token:
            seen.add(latent)
        h += prior.embed_T3H[t, token]
    bits = nats / np.log(2)
    assert bits / 8 - 1 < len(pack(tokens, prior, EVERYTHING)) < bits / 8 * 1.003 + 2


def test_golden() -> None:
    prior = fixed_prior()
    tokens = unpack(hashlib.sha512(b"cameo").digest(), prior)
    assert "".join(map(str, tokens)) == TOKENS
    assert pack(tokens, prior, EVERYTHING).hex() == STREAM
    assert pack(tokens[:50], prior, EVERYTHING).hex() == STREAM_OF_50
    assert pack(tokens, prior, 12).hex() == STREAM[:24]
    assert "".join(map(str, unpack(bytes.fromhex(STREAM[:24]), prior))) == TOKENS[:TOKENS_OF_12]


def test_the_table_is_the_sigmoid_and_the_same_everywhere() -> None:
    middles = np.arange(-16384, 16384, 16) + 8
    np.testing.assert_array_equal(TABLE, np.rint(65536 / (1 + np.exp(-middles / 2048))).clip(32, 65504))
    np.testing.assert_array_equal(TABLE + TABLE[::-1], np.full(2048, 65536))
    assert hashlib.sha256(TABLE.astype("<i8").tobytes()).hexdigest() == TABLE_SHA256


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint16])
def test_types_and_memory_layout_of_stored_arrays_do_not_matter(dtype: type[np.integer[Any]]) -> None:
    prior = fixed_prior()
    embed = np.abs(prior.embed_T3H) if np.issubdtype(dtype, np.unsignedinteger) else prior.embed_T3H
    prior = replace(prior, embed_T3H=embed)
    other = Prior(
        prior.latent_T.astype(dtype),
        np.asfortranarray(embed.astype(dtype)),
        prior.output_T3H.astype(np.int8)[:, ::1],
        np.asfortranarray(prior.bias_T3.astype(np.int32)),
    )
    tokens = sample(prior)
    assert pack(tokens, other, EVERYTHING) == pack(tokens, prior, EVERYTHING)
    for tokens_dtype in (np.uint8, np.int32, np.uint64):
        assert pack(tokens.astype(tokens_dtype), prior, EVERYTHING) == pack(tokens, prior, EVERYTHING)


def test_weights_at_their_limits_are_summed_exactly() -> None:
    """Sums far beyond 32 bits, and logits on both sides of a cell's edge."""
    tokens, units = 200, 64
    sign = np.where(np.arange(units) % 2, 1, -1)
    embed = np.full((tokens, 3, units), MOST_WEIGHT)
    output = np.broadcast_to(sign * MOST_WEIGHT, (tokens, 3, units)).copy()
    bias = np.tile([-1, 0, 15], (tokens, 1))
    prior = Prior(np.arange(tokens), embed, output, bias)
    body = np.random.default_rng(0).bytes(20)
    assert unpack(body, prior).tolist() == slowly_unpacked(body, prior)
    for most in (MOST_BIAS, -MOST_BIAS):
        extreme = replace(prior, output_T3H=np.abs(output), bias_T3=np.full((tokens, 3), most))
        assert unpack(body, extreme).tolist() == slowly_unpacked(body, extreme)
        np.testing.assert_array_equal(unpack(pack(sample(extreme), extreme, 999), extreme), sample(extreme))


def test_latents_may_have_any_numbers() -> None:
    prior = fixed_prior()
    tokens = sample(prior)
    other = replace(prior, latent_T=2**31 - 1 - prior.latent_T * 1000)
    assert pack(tokens, other, EVERYTHING) == pack(tokens, prior, EVERYTHING)


def test_no_tokens_and_no_bytes() -> None:
    prior = fixed_prior()
    nothing = np.array([], np.int64)
    assert pack(nothing, prior, EVERYTHING) == b""
    np.testing.assert_array_equal(unpack(b"", prior), nothing, strict=True)
    assert pack(sample(prior), prior, 0) == b""


def test_a_long_body_takes_no_more_work_than_the_tokens() -> None:
    prior = fixed_prior()
    body = bytes(10**7)
    assert len(unpack(body, prior)) == 100
    assert unpack(body, prior).tolist() == unpack(body[:1000], prior).tolist()


ZEROS = np.zeros((4, 3, 2), np.int16)
SMALL = Prior(np.array([0, 1, 0, 0]), ZEROS, ZEROS, np.zeros((4, 3), np.int32))


@pytest.mark.parametrize(
    ("tokens", "position", "value", "levels"),
    [
        ([3], 0, 3, 3),
        ([0, -1], 1, -1, 3),
        ([1, 2, 2], 2, 2, 2),
        ([0, 0, 2, 2], 3, 2, 2),
        ([2, 2, -1, 5], 2, -1, 2),
        ([0, 2**62, 0, 0], 1, 2**62, 3),
    ],
)
def test_impossible_tokens_are_refused(tokens: list[int], position: int, value: int, levels: int) -> None:
    with pytest.raises(TokenOutOfRange) as caught:
        pack(np.array(tokens), SMALL, 9)
    assert caught.value.facts == {"position": [position], "value": value, "levels": levels}


def test_refinements_have_two_values_and_beginnings_three() -> None:
    for tokens in ([0, 2, 2, 1], [2, 2, 0, 1], [0, 0, 0, 2], [1, 1, 1, 1]):
        np.testing.assert_array_equal(unpack(pack(np.array(tokens), SMALL, 9), SMALL), tokens)


def test_a_huge_unsigned_token_is_refused() -> None:
    with pytest.raises(TokenOutOfRange):
        pack(np.array([2**64 - 1], np.uint64), SMALL, 9)


@pytest.mark.parametrize("shape", [(5,), (2, 2), ()])
def test_the_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongTokenShape) as caught:
        pack(np.zeros(shape, np.int64), SMALL, 9)
    assert caught.value.facts == {"shape": list(shape), "most": [4]}


def test_floats_are_not_tokens() -> None:
    with pytest.raises(TypeError, match="float64"):
        pack(np.zeros(3), SMALL, 9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"latent_T": np.zeros(0, np.int64)}, "at least one"),
        ({"latent_T": np.array(3)}, "at least one"),
        ({"latent_T": np.zeros((4, 1), np.int64)}, r"latent_T has the shape \[4, 1\], expected \[4\]"),
        ({"latent_T": np.array([0, 1, 0, -1])}, "latent_T ranges over -1 to 1, outside 0 to"),
        ({"latent_T": np.zeros(4)}, "latent_T is of float64"),
        ({"embed_T3H": ZEROS[:3]}, r"embed_T3H has the shape \[3, 3, 2\], expected \[4, 3, 2\]"),
        ({"embed_T3H": np.array(0)}, r"embed_T3H has the shape \[\]"),
        ({"embed_T3H": ZEROS.astype(np.float32)}, "embed_T3H is of float32"),
        ({"embed_T3H": ZEROS.astype(np.int64) - MOST_WEIGHT - 1}, "embed_T3H ranges"),
        ({"output_T3H": ZEROS[:, :, :1]}, r"output_T3H has the shape \[4, 3, 1\], expected \[4, 3, 2\]"),
        ({"output_T3H": ZEROS.astype(np.int64) + MOST_WEIGHT + 1}, "output_T3H ranges over 32768 to 32768"),
        ({"bias_T3": np.zeros((4, 2), np.int64)}, "bias_T3 has the shape"),
        ({"bias_T3": np.full((4, 3), 2**63, np.uint64)}, "bias_T3 ranges"),
    ],
)
def test_a_wrong_prior_is_refused(changed: dict[str, NDArray[np.integer[Any]]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changed)


TABLE_SHA256 = "17cfe974f7aa044267011bf4bfa0d3a91d27cdd46c890545fcdb31f500b6a8e4"
TOKENS = "2000002000200200202100012220020102011002100100120120200100001001211220110112010000100102200000000011"
STREAM = "12faf626e1152f15819d6c8e72c54b"
STREAM_OF_50 = "12faf626e1152f15d0"
TOKENS_OF_12 = 77
