from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app import codec
from app.engine.models import Coder
from app.errors import TokenOutOfRange, WrongTokenShape
from app.store.reader import read_version

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["tiny-vae", "tiny-vqvae"])
def coder(request: pytest.FixtureRequest, tiny_store: Path) -> Coder:
    return Coder(read_version(tiny_store / request.param / "1"), CPU)


@pytest.fixture(scope="module")
def vqvae(tiny_store: Path) -> Coder:
    return Coder(read_version(tiny_store / "tiny-vqvae" / "1"), CPU)


def portrait(size: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_a_portrait_becomes_tokens_a_payload_and_a_portrait(coder: Coder) -> None:
    tokens = coder.tokens(portrait(coder.size))
    assert tokens.shape == coder.levels.shape
    assert tokens.dtype == coder.levels.dtype == np.int64
    assert ((tokens >= 0) & (tokens < coder.levels)).all()
    payload = coder.pack(tokens)
    assert len(payload) == coder.payload_bytes
    np.testing.assert_array_equal(coder.unpack(codec.unwrap(payload)), tokens, strict=True)
    drawn = coder.reconstruct(tokens)
    assert drawn.shape == (coder.size, coder.size, 3)
    assert drawn.dtype == np.uint8
    assert drawn.flags.c_contiguous


def test_loading_again_gives_the_same(coder: Coder) -> None:
    again = Coder(coder.stored, CPU)
    pixels = portrait(coder.size)
    np.testing.assert_array_equal(again.tokens(pixels), coder.tokens(pixels))
    tokens = coder.tokens(pixels)
    np.testing.assert_array_equal(again.reconstruct(tokens), coder.reconstruct(tokens))


def test_own_tokens_pass_the_check(coder: Coder) -> None:
    tokens = coder.tokens(portrait(coder.size))
    np.testing.assert_array_equal(coder.check(tokens.tolist()), tokens, strict=True)
    np.testing.assert_array_equal(coder.check((coder.levels - 1).tolist()), coder.levels - 1, strict=True)


@pytest.mark.parametrize("nested", [[], [0] * 31, [0] * 33, [[0] * 32], [[0]] * 32, [[0, 0], [0]] * 8, [[]] * 32])
def test_another_shape_is_refused(vqvae: Coder, nested: list[Any]) -> None:
    with pytest.raises(WrongTokenShape) as caught:
        vqvae.check(nested)
    assert caught.value.facts["expected"] == [32]
    assert caught.value.facts["shape"] != [32]


@pytest.mark.parametrize("value", [True, False, 1.0, float("nan"), "1", None, {}, [0, 1]], ids=repr)
def test_what_is_no_whole_number_is_refused(vqvae: Coder, value: object) -> None:
    with pytest.raises(TokenOutOfRange, match="whole number"):
        vqvae.check([0] * 31 + [value])


@pytest.mark.parametrize("value", [-1, 16, 2**63, 2**64, -(2**100)])
def test_a_number_outside_its_codebook_is_refused_as_it_is(vqvae: Coder, value: int) -> None:
    with pytest.raises(TokenOutOfRange, match=rf"^the token at \[3\] is {value}; it must lie in 0 to 15$") as caught:
        vqvae.check([0, 15, 0, value, -1] + [0] * 27)
    assert caught.value.facts == {"position": [3], "value": value, "limit": 15}
