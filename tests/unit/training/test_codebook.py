from itertools import pairwise

import pytest
import torch
from torch import Tensor

from cameo.nn.quantise import VectorQuantiser
from training.codebook import Codebook, lloyd
from training.recipe import Quantiser


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def clusters(count: int, codes: int = 4) -> tuple[Tensor, Tensor]:
    """Two tokens of two latents around well separated centres (T, K, D), in random company: z_ML."""
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])[None] + torch.tensor([0.0, 100])[:, None, None]
    which = torch.stack([torch.arange(count) % codes, torch.randperm(count) % codes])
    z_TMD = torch.stack([centres[t, which[t]] for t in range(2)]) + 0.1 * torch.randn(2, count, 2)
    return z_TMD.transpose(0, 1).flatten(1), centres


def started(z: Tensor, codes: int = 4, batch: int = 64, *, shared: bool = False, **settings: object) -> Codebook:
    quantiser = VectorQuantiser(tokens=2, codes=codes, code_dim=2, shared=shared)
    codebook = Codebook(quantiser, Quantiser.model_validate(settings))
    codebook.start(z)
    codebook.begin(batch)
    return codebook


def step(codebook: Codebook, z: Tensor, seed: int = 0) -> float:
    """One update, and the squared error of the codes before it."""
    with torch.no_grad():
        _, codes, idx = codebook.quantiser(z)
    codebook.update(z, idx, torch.Generator().manual_seed(seed))
    return float((z - codes).square().sum(1).mean())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shared", [False, True])
def test_the_start_finds_separated_clusters(seed: int, shared: bool) -> None:
    """From random starts k-means may merge two of four; with twice the codes each cluster has at least one."""
    torch.manual_seed(seed)
    z, centres = clusters(512)
    codebook = started(z, codes=16 if shared else 8, shared=shared)
    codes = codebook.quantiser.codebook_TKD.expand(2, -1, -1)
    assert torch.cdist(centres, codes).amin(2).max() < 0.5
    off = (codebook.quantiser.values(codebook.quantiser.tokens(z)) - z).square().mean()
    assert off < 0.02, "an error like the clusters' own width"


def test_the_start_refuses_fewer_latents_than_codes() -> None:
    with pytest.raises(ValueError, match="3 portraits cannot start 4 codes; give at least 4"):
        started(torch.randn(3, 4))


def test_a_random_start_needs_no_latents() -> None:
    codebook = started(torch.randn(3, 4), codes=8, start="random")
    assert 0 < codebook.quantiser.codebook_TKD.abs().max() <= 1 / 8


def test_counts_begin_at_the_usage_of_a_batch() -> None:
    z, _ = clusters(512)
    codebook = started(z, batch=64)
    assert codebook.count_TK.sum(1).tolist() == pytest.approx([64, 64])
    codes = codebook.sum_TKD / codebook.count_TK[..., None]
    torch.testing.assert_close(codes, codebook.quantiser.codebook_TKD.data)


def test_codes_follow_the_latents() -> None:
    z, _ = clusters(256)
    codebook = started(z, codes=8, batch=256)
    errors = [step(codebook, z + 1) for _ in range(300)]
    assert errors[-1] < 0.5 * errors[0]
    assert all(later <= earlier + 1e-3 for earlier, later in pairwise(errors))


def test_one_step_is_an_exponential_moving_average() -> None:
    codebook = Codebook(VectorQuantiser(tokens=1, codes=1, code_dim=1), Quantiser(decay=0.9))
    codebook.quantiser.codebook_TKD.fill_(2.0)
    codebook.begin(batch=4)
    step(codebook, torch.full((8, 1), 3.0))
    expected = (0.9 * 8 + 0.1 * 24) / (0.9 * 4 + 0.1 * 8)
    assert codebook.quantiser.codebook_TKD.item() == pytest.approx(expected)


def test_without_moving_averages_the_optimiser_moves_the_codes() -> None:
    z, _ = clusters(256)
    codebook = started(z, batch=256, update="gradient", revive=0)
    codes = codebook.quantiser.codebook_TKD
    assert codes.requires_grad
    before = codes.detach().clone()
    step(codebook, z + 1)
    assert torch.equal(codes, before), "counting moves nothing"
    _, q, _ = codebook.quantiser(z + 1)
    (z + 1 - q).square().mean().backward()
    assert codes.grad is not None
    assert codes.grad.any()


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dead_codes_are_revived_beside_active_ones(update: str) -> None:
    z, _ = clusters(256)
    codebook = started(z, batch=256, update=update, revive_noise=0.01)
    with torch.no_grad():
        codebook.quantiser.codebook_TKD[0, 2] = 1e4
    codebook.sum_TKD[0, 2] = 0
    codebook.count_TK[0, 2] = 0
    step(codebook, z)
    codes = codebook.quantiser.codebook_TKD.detach()[0]
    distance = (codes[[0, 1, 3]] - codes[2]).square().sum(1).sqrt()
    assert 0 < distance.min() < 500, "beside one of the others, by a hundredth of the codebook's spread, an outlier's"
    assert codebook.count_TK[0, 2] == pytest.approx(32, rel=0.05), "half of what the other has"


def test_without_revival_dead_codes_stay_dead() -> None:
    z, _ = clusters(256)
    codebook = started(z, batch=256, revive=0)
    codebook.sum_TKD[0, 2] = 10
    codebook.count_TK[0, 2] = 1e-3
    codebook.quantiser.codebook_TKD[0, 2] = 1e4
    for _ in range(5):
        step(codebook, z)
    assert codebook.count_TK[0, 2] < 1e-3


def test_perplexity_and_usage_tell_how_even_the_codes_are_used() -> None:
    z, _ = clusters(256)
    codebook = started(z)
    assert (codebook.perplexity, codebook.usage) == pytest.approx((4, 1))
    codebook.count_TK.copy_(torch.tensor([[64.0, 0, 0, 0], [32, 32, 0, 0]]))
    codebook.load_state_dict(codebook.state_dict())
    assert (codebook.perplexity, codebook.usage) == pytest.approx((1.5, 0.375))


def test_commitment_is_annealed_by_usage() -> None:
    z, _ = clusters(256)
    codebook = started(z, anneal=0.8)
    assert codebook.commitment(0.25) == pytest.approx(0.25)
    codebook.load_state_dict(codebook.state_dict() | {"count_TK": torch.tensor([[64.0, 0, 0, 0]] * 2)})
    assert codebook.commitment(0.25) == pytest.approx(0.25 * (1 - 0.8 * 3 / 4))
    assert started(z).commitment(0.25) == pytest.approx(0.25)


def test_lloyd_moves_a_code_that_nothing_is_near() -> None:
    z, _ = clusters(256)
    z_TMD = z.unflatten(1, (2, 2)).transpose(0, 1).contiguous()
    codes = torch.full((2, 4, 2), 1e4) + torch.arange(4)[:, None]
    lloyd(codes, z_TMD, rounds=10)
    assert codes.max() < 120
