"""The progressive code: planes of bits, prefixes, and what a prefix tells."""

import pytest
import torch

from app.codec import Prior
from app.codec.progressive import check
from app.nn import build
from app.nn.progressive import Progressive
from tests.tiny import PROGRESSIVE, tiny_model


@pytest.fixture(scope="module")
def model() -> Progressive:
    built = tiny_model("tiny-progressive")
    assert isinstance(built, Progressive)
    return built


@pytest.fixture(scope="module")
def z_BL(model: Progressive) -> torch.Tensor:
    return torch.randn(16, sum(model.config.latents), generator=torch.Generator().manual_seed(1)) * 40


@pytest.mark.parametrize("count", [0, 1, 37, 800, 2399, 2400])
def test_tokens_and_back_is_what_training_does_in_one_step(model: Progressive, z_BL: torch.Tensor, count: int) -> None:
    idx_BT = model.planes.tokens(z_BL)
    last_BL = model.planes.last(torch.full((len(z_BL),), count))
    assert torch.equal(model.planes.values(idx_BT[:, :count]), model.planes.coarse(z_BL, last_BL))
    assert (last_BL >= 0).sum() <= count * len(z_BL)


def test_every_further_token_brings_the_values_nearer(model: Progressive, z_BL: torch.Tensor) -> None:
    idx_BT = model.planes.tokens(z_BL)
    errors = [float((model.planes.values(idx_BT[:, :count]) - z_BL).square().mean()) for count in range(0, 2401, 300)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05 * errors[0]


def test_tokens_are_what_the_coder_takes(model: Progressive, z_BL: torch.Tensor) -> None:
    prior = Prior(**model.prior)
    assert len(prior) == len(model.levels) == model.config.tokens
    for row in model.planes.tokens(z_BL).numpy():
        check(row, prior)


def test_latents_beyond_the_planes_are_cut_off(model: Progressive) -> None:
    huge_BL = torch.full((1, sum(model.config.latents)), -1e6)
    value_BL = model.planes.values(model.planes.tokens(huge_BL))
    assert (value_BL < 0).all()
    assert (value_BL >= -(2**model.config.planes)).all()


def test_a_prefix_of_any_length_is_a_picture(model: Progressive) -> None:
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    idx_BT = model.encode(pixels)
    pictures = [model.decode(idx_BT[:, :count]) for count in (0, 1, 100, 2400)]
    assert {(picture.dtype, tuple(picture.shape)) for picture in pictures} == {(torch.uint8, (2, 3, 64, 64))}
    assert not torch.equal(pictures[2], pictures[3])
    assert torch.equal(model.decode(idx_BT[:1, :100])[0], pictures[2][0])  # alone as in the batch


def test_gradients_reach_the_latents_that_the_tokens_tell_of() -> None:
    model = tiny_model("tiny-progressive")
    assert isinstance(model, Progressive)
    count_B = torch.tensor([0, 400])
    out = model(torch.rand(2, 3, 64, 64) * 2 - 1, count_B)
    (gradient_BL,) = torch.autograd.grad(out.picture_BCHW.square().sum(), out.z_BL)
    known_BL = model.planes.last(count_B) >= 0
    assert not gradient_BL[0].any()
    assert (gradient_BL[1] != 0).float().mean() == pytest.approx(known_BL[1].float().mean())
    assert torch.equal(out.step_BL > 0, known_BL)


def test_more_tokens_than_bits() -> None:
    with pytest.raises(ValueError, match=r"model.tokens is 2561; 320 latents in 8 planes have fewer"):
        build(PROGRESSIVE | {"tokens": 2561})
