import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from cameo.nn.quantise import NORMAL_ERROR, NORMAL_STEP, ScalarQuantiser, VectorQuantiser, nearest


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=[False, True], ids=["own codebooks", "a shared one"])
def quantiser(request: pytest.FixtureRequest) -> VectorQuantiser:
    made = VectorQuantiser(tokens=3, codes=5, code_dim=2, shared=request.param)
    made.codebook_TKD.data.normal_()
    return made


def test_nearest_is_the_nearest() -> None:
    z, codebook = torch.randn(3, 50, 4), torch.randn(3, 7, 4)
    assert torch.equal(nearest(z, codebook), torch.cdist(z, codebook).argmin(2))


def test_values_of_tokens_are_the_nearest_codes(quantiser: VectorQuantiser) -> None:
    idx = torch.randint(5, (7, 3))
    values = quantiser.values(idx)
    assert values.shape == (7, 6)
    book = quantiser.codebook_TKD[-2 if len(quantiser.codebook_TKD) > 1 else 0]
    assert torch.equal(values[4, 2:4], book[idx[4, 1]])
    assert torch.equal(quantiser.tokens(values), idx)


def test_vectors_by_codebook_are_in_the_order_of_the_tokens(quantiser: VectorQuantiser) -> None:
    z = torch.randn(7, 6)
    z_TMD = quantiser.by_codebook(z)
    books = len(quantiser.codebook_TKD)
    assert z_TMD.shape == ((3, 7, 2) if books == 3 else (1, 21, 2))
    second_of_fourth = z_TMD[1, 3] if books == 3 else z_TMD[0, 3 * 3 + 1]
    assert torch.equal(second_of_fourth, z[3, 2:4])


def test_gradients_go_straight_through(quantiser: VectorQuantiser) -> None:
    quantiser.codebook_TKD.requires_grad_()
    z = torch.randn(5, 6, requires_grad=True)
    values, codes, idx = quantiser(z)
    assert torch.equal(idx, quantiser.tokens(z))
    torch.testing.assert_close(values, quantiser.values(idx))
    torch.testing.assert_close(codes, values)
    weights = torch.randn(5, 6)
    (values * weights).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, weights)
    assert quantiser.codebook_TKD.grad is None, "the picture's error is the encoder's affair"
    (codes * weights).sum().backward()
    assert quantiser.codebook_TKD.grad is not None


def test_half_precision_latents_are_quantised_in_full(quantiser: VectorQuantiser) -> None:
    z = torch.randn(50, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        values, _, idx = quantiser(z)
    assert values.dtype == torch.float32
    assert torch.equal(idx, quantiser.tokens(z.float()))


def test_the_codebook_is_all_there_is_to_publish() -> None:
    assert VectorQuantiser(2, 4, 2).state_dict().keys() == {"codebook_TKD"}


def calibrated(spread: Tensor, sigma: Tensor, bits: int) -> tuple[ScalarQuantiser, Tensor]:
    means = torch.randn(20_000, len(spread)) * spread + torch.linspace(-3, 3, len(spread))
    quantiser = ScalarQuantiser(len(spread))
    quantiser.calibrate(means, sigma, bits)
    return quantiser, means


@pytest.mark.parametrize("bits", [1, 7, 24, 40])
def test_calibration_spends_exactly_the_bits(bits: int) -> None:
    quantiser, _ = calibrated(torch.rand(8) + 0.5, torch.rand(8) + 0.1, bits)
    spent = quantiser.levels_L.log2()
    assert torch.equal(spent, spent.round())
    assert spent.sum() == bits


def test_wider_latents_get_more_bits() -> None:
    quantiser, _ = calibrated(torch.tensor([0.5, 1, 2, 4, 8]), torch.full((5,), 0.5), 12)
    levels = quantiser.levels_L.tolist()
    assert levels == sorted(levels)
    assert levels[0] < levels[2] < levels[4]


def test_sharper_latents_get_more_bits() -> None:
    quantiser, _ = calibrated(torch.ones(5), torch.tensor([1, 0.5, 0.2, 0.1, 0.02]), 12)
    levels = quantiser.levels_L.tolist()
    assert levels == sorted(levels)
    assert levels[0] < levels[2] < levels[4]


def test_tokens_lie_in_their_levels_wherever_the_means_are() -> None:
    quantiser, means = calibrated(torch.rand(8) + 0.5, torch.rand(8) + 0.1, 24)
    for given in (means, means * 1e3, means - 1e6):
        tokens = quantiser.tokens(given)
        assert tokens.dtype == torch.int64
        assert ((tokens >= 0) & (tokens < quantiser.levels_L)).all()


def test_the_error_is_half_a_step_within_the_range() -> None:
    quantiser, means = calibrated(torch.rand(8) + 0.5, torch.rand(8) + 0.1, 24)
    half = quantiser.step_L / 2
    inside = (means - quantiser.centre_L).abs() <= half * quantiser.levels_L
    error = (quantiser.values(quantiser.tokens(means)) - means).abs()
    assert inside.float().mean() > 0.5
    assert (error <= half * (1 + 1e-4))[inside & (quantiser.levels_L > 1)].all()


def test_a_latent_without_bits_stays_at_its_mean() -> None:
    quantiser, means = calibrated(torch.tensor([1e-3, 1, 1]), torch.ones(3), 6)
    assert quantiser.levels_L[0] == 1
    values = quantiser.values(quantiser.tokens(means))
    torch.testing.assert_close(values[:, 0], means[:, 0].mean().expand(len(means)))


def test_values_are_fixed_points() -> None:
    quantiser, means = calibrated(torch.rand(8) + 0.5, torch.rand(8) + 0.1, 30)
    tokens = quantiser.tokens(means)
    assert torch.equal(quantiser.tokens(quantiser.values(tokens)), tokens)


def uniform_error(step: float, levels: int) -> float:
    """Mean squared error of a midrise quantiser of a standard normal variable, in closed form.

    Over each interval [a, b] with output c: the integral of (x - c)^2 under the density.
    """

    def density(x: float) -> float:
        return math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) if math.isfinite(x) else 0.0

    def below(x: float) -> float:
        return (1 + math.erf(x / math.sqrt(2))) / 2

    def times(x: float) -> float:
        return x * density(x) if math.isfinite(x) else 0.0

    edges = [-math.inf, *((i - levels / 2) * step for i in range(1, levels)), math.inf]
    error = 0.0
    for i in range(levels):
        a, b, c = edges[i], edges[i + 1], (i - (levels - 1) / 2) * step
        mass = below(b) - below(a)
        error += mass + times(a) - times(b) + 2 * c * (density(b) - density(a)) + c**2 * mass
    return error


def best_step(levels: int) -> float:
    """By golden section: the error has one minimum."""
    low, high = 1e-3, 4.0
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-7:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if uniform_error(left, levels) < uniform_error(right, levels):
            high = right
        else:
            low = left
    return (low + high) / 2


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_table_of_max_is_right(bits: int) -> None:
    step = best_step(2**bits)
    assert NORMAL_STEP[bits] == pytest.approx(step, rel=0.01)
    assert NORMAL_ERROR[bits] == pytest.approx(uniform_error(step, 2**bits), rel=0.01)


def test_the_error_without_bits_is_the_variance() -> None:
    assert NORMAL_ERROR[0] == 1


def test_the_table_is_convex() -> None:
    """Calibration's greedy choice rests on it."""
    gains = [a - b for a, b in pairwise(NORMAL_ERROR)]
    assert gains == sorted(gains, reverse=True)
