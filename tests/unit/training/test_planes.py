"""The order of a progressive code."""

import pytest
import torch
from torch import Tensor

from cameo.nn.progressive import BitPlanes
from training.planes import fit_planes, fit_step, prefix


@pytest.fixture(scope="module")
def z_ML() -> Tensor:
    """Latents of which each is weaker than the one before it."""
    return torch.randn(2000, 24, generator=torch.Generator().manual_seed(0)) * torch.logspace(1.5, -0.5, 24)


def test_the_planes_of_a_latent_follow_each_other(z_ML: Tensor) -> None:
    planes = BitPlanes(24, 7, 90)
    fit_planes(planes, z_ML)
    seen: dict[int, int] = {}
    for latent, plane in zip(planes.latent_T.tolist(), planes.plane_T.tolist(), strict=True):
        assert seen.get(latent, plane - 1) == plane - 1
        seen[latent] = plane
    assert planes.latent_T[0] == 0  # the strongest comes first


def test_the_order_beats_latent_by_latent(z_ML: Tensor) -> None:
    fitted, plain = BitPlanes(24, 7, 90), BitPlanes(24, 7, 90)
    fit_planes(fitted, z_ML)
    rank_T = (fitted.latent_T * 7 + fitted.plane_T).argsort()
    plain.order(fitted.latent_T[rank_T], fitted.plane_T[rank_T])
    plain.offset_LP2.copy_(fitted.offset_LP2)

    def error(planes: BitPlanes, count: int) -> float:
        return float((planes.values(planes.tokens(z_ML)[:, :count]) - z_ML).square().sum(1).mean())

    for count in (15, 30, 60):
        assert error(fitted, count) < 0.8 * error(plain, count)
    assert error(fitted, 90) == pytest.approx(error(plain, 90))


def test_offsets_are_where_the_latents_are(z_ML: Tensor) -> None:
    planes = BitPlanes(24, 7, 90)
    fit_planes(planes, z_ML)
    values_ML = planes.values(planes.tokens(z_ML))
    for latent in range(4):  # nothing is gained by moving all values of a latent outwards or inwards
        z_M, value_M = z_ML[:, latent], values_ML[:, latent]
        best = (z_M * value_M).sum() / value_M.square().sum()
        assert best == pytest.approx(1, abs=0.01)


def test_the_step_spends_the_bits(z_ML: Tensor) -> None:
    planes = BitPlanes(24, 9, 100)
    step = fit_step(planes, z_ML, bits=90)
    assert float(fit_planes(planes, z_ML / step).sum()) == pytest.approx(90, rel=0.1)
    assert prefix(planes.bits_T, torch.tensor([0.0, 45.0, 1e9])).tolist() == [0, pytest.approx(50, abs=20), 100]


def test_too_many_tokens(z_ML: Tensor) -> None:
    with pytest.raises(ValueError, match=r"the latents give \d+ tokens; model.tokens asks for 160"):
        fit_planes(BitPlanes(24, 7, 160), z_ML)
