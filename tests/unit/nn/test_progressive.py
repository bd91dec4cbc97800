"""The progressive code: planes of bits, prefixes, and what a prefix tells."""

import pytest
import torch
from torch import nn

from cameo.codec import Prior
from cameo.codec.progressive import check
from cameo.nn import build
from cameo.nn.blocks import Refiner
from cameo.nn.progressive import Progressive
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


def test_a_filter_takes_the_finest_pattern_out_of_corrections_and_nothing_else() -> None:
    plain, filtered = (Refiner(128, 8, taps=taps) for taps in (1, 3))
    assert plain.state_dict().keys() == filtered.state_dict().keys(), "either can begin with the other's weights"
    for refiner in (plain, filtered):
        assert isinstance(refiner.head, nn.Conv2d)
        assert refiner.head.bias is not None
        with torch.no_grad():  # each point of the grid becomes the same square: a chessboard, and a shade
            rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
            refiner.head.bias.copy_((0.25 + 0.5 * (-1.0) ** (rows + columns)).flatten().repeat(3))
    x = torch.rand(1, 3, 128, 128)
    assert (plain(x) - x)[0, 0, 10, 10:12].tolist() == pytest.approx([0.75, -0.25], abs=1e-5)
    assert torch.allclose((filtered(x) - x)[:, :, 1:-1, 1:-1], torch.tensor(0.25), atol=1e-5)


def test_an_even_filter_has_no_middle() -> None:
    with pytest.raises(ValueError, match=r"model\.taps is 2; it must be an odd number"):
        build(PROGRESSIVE | {"taps": 2})
