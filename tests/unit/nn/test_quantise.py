import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from app.nn.quantise import DECAY, NORMAL_ERROR, NORMAL_STEP, ScalarQuantiser, VectorQuantiser, nearest


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def clusters(count: int, codes: int = 4) -> tuple[Tensor, Tensor]:
    """Two tokens of two latents around well separated centres (T, K, D), in random company: z_ML."""
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])[None] + torch.tensor([0.0, 100])[:, None, None]
    which = torch.stack([torch.arange(count) % codes, torch.randperm(count) % codes])
    z_TMD = torch.stack([centres[t, which[t]] for t in range(2)]) + 0.1 * torch.randn(2, count, 2)
    return z_TMD.transpose(0, 1).flatten(1), centres


def started(z: Tensor, codes: int = 4, batch: int = 64) -> VectorQuantiser:
    quantiser = VectorQuantiser(tokens=2, codes=codes, code_dim=2)
    quantiser.start(z, batch=batch)
    return quantiser


def test_nearest_is_the_nearest() -> None:
    z, codebook = torch.randn(3, 50, 4), torch.randn(3, 7, 4)
    assert torch.equal(nearest(z, codebook), torch.cdist(z, codebook).argmin(2))


def test_values_of_tokens_are_the_nearest_codes() -> None:
    quantiser = VectorQuantiser(tokens=3, codes=5, code_dim=2)
    quantiser.codebook_TKD.normal_()
    idx = torch.randint(5, (7, 3))
    values = quantiser.values(idx)
    assert values.shape == (7, 6)
    assert torch.equal(values[4, 2:4], quantiser.codebook_TKD[1, idx[4, 1]])
    assert torch.equal(quantiser.tokens(values), idx)


@pytest.mark.parametrize("seed", range(5))
def test_the_start_finds_separated_clusters(seed: int) -> None:
    """From random starts k-means may merge two of four; with eight codes each cluster has at least one."""
    torch.manual_seed(seed)
    z, centres = clusters(512)
    quantiser = started(z, codes=8)
    distance = torch.cdist(centres, quantiser.codebook_TKD).amin(2)
    assert distance.max() < 0.5
    off = (quantiser.values(quantiser.tokens(z)) - z).square().mean()
    assert off < 0.02, "an error like the clusters' own width"


def test_the_start_refuses_fewer_latents_than_codes() -> None:
    with pytest.raises(ValueError, match="3 portraits cannot start 4 codes; give at least 4"):
        started(torch.randn(3, 4))


def test_counts_begin_at_the_usage_of_a_batch() -> None:
    z, _ = clusters(512)
    quantiser = started(z, batch=64)
    assert quantiser.count_TK.sum(1).tolist() == pytest.approx([64, 64])
    torch.testing.assert_close(quantiser.sum_TKD / quantiser.count_TK[..., None], quantiser.codebook_TKD)


def test_gradients_go_straight_through() -> None:
    quantiser = started(clusters(64)[0]).eval()
    z = torch.randn(5, 4, requires_grad=True)
    values, idx, commitment = quantiser(z)
    assert torch.equal(idx, quantiser.tokens(z))
    torch.testing.assert_close(values, quantiser.values(idx))
    assert commitment.item() == pytest.approx((z - quantiser.values(idx)).square().sum(1).mean().item())
    weights = torch.randn(5, 4)
    (values * weights).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, weights)


def test_evaluation_changes_nothing() -> None:
    z, _ = clusters(64)
    quantiser = started(z).eval()
    before = {name: buffer.clone() for name, buffer in quantiser.named_buffers()}
    quantiser(z + 3)
    assert all(torch.equal(buffer, before[name]) for name, buffer in quantiser.named_buffers())


def test_training_moves_codes_towards_the_data() -> None:
    z, _ = clusters(256)
    quantiser = started(z, batch=256).train()
    moved = z + 1
    errors = []
    for _ in range(300):
        values, _, commitment = quantiser(moved)
        errors.append(commitment.item())
    assert values.shape == z.shape
    assert errors[-1] < 0.5 * errors[0]
    assert all(later <= earlier + 1e-3 for earlier, later in pairwise(errors))


def test_one_step_is_an_exponential_moving_average() -> None:
    quantiser = VectorQuantiser(tokens=1, codes=1, code_dim=1).train()
    quantiser.codebook_TKD.fill_(2.0)
    quantiser.count_TK.fill_(4.0)
    quantiser.sum_TKD.fill_(8.0)
    quantiser(torch.full((8, 1), 3.0))
    expected = (DECAY * 8 + (1 - DECAY) * 24) / (DECAY * 4 + (1 - DECAY) * 8)
    assert quantiser.codebook_TKD.item() == pytest.approx(expected)


def test_dead_codes_are_revived_on_the_data() -> None:
    z, _ = clusters(256)
    quantiser = started(z, batch=256).train()
    quantiser.codebook_TKD[0, 2] = 1e4
    quantiser.sum_TKD[0, 2] = 0
    quantiser.count_TK[0, 2] = 0
    quantiser(z)
    revived = quantiser.codebook_TKD[0, 2]
    assert (revived - z[:, :2]).abs().sum(1).min() < 1e-4, "it lies on a vector of the batch"
    assert quantiser.count_TK[0, 2] == 64, "at the mean usage"


def test_published_state_is_the_codebook_alone() -> None:
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
