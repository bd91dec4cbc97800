import numpy as np
import pytest
import torch

from app.quality import psnr
from training.data.portraits import Portraits
from training.evaluation.contenders import Pixels
from training.evaluation.eigenfaces import Basis, Eigenfaces, fit


@pytest.fixture(scope="module")
def basis() -> Basis:
    """Portraits of twenty components with falling variance."""
    rng = np.random.default_rng(0)
    component_KP = np.linalg.qr(rng.normal(size=(64 * 64 * 3, 20)))[0].T.astype(np.float32)
    coefficient_MK = (rng.normal(size=(400, 20)) * np.geomspace(4000, 20, 20)).astype(np.float32)
    return Basis(np.full(64 * 64 * 3, 128, np.float32), component_KP, coefficient_MK)


def drawn(basis: Basis) -> list[Pixels]:
    """The first portraits of the basis, at 128 pixels."""
    x_BP = basis.coefficient_MK[:30] @ basis.component_KP + basis.mean_P
    x_BHWC = x_BP.reshape(-1, 3, 64, 64).transpose(0, 2, 3, 1).round().clip(0, 255).astype(np.uint8)
    return list(x_BHWC.repeat(2, axis=1).repeat(2, axis=2))


def test_the_budget_is_kept_and_buys_quality(basis: Basis) -> None:
    quality = []
    for budget in (4, 8, 16, 24):
        rival = Eigenfaces.within(basis, budget)
        coded = rival.code(drawn(basis))
        assert 0.7 * budget < np.mean([size for _, size in coded]) < 1.15 * budget
        pictures = rival.show([data for data, _ in coded])
        quality.append(np.mean([psnr(a[::2, ::2], b) for a, b in zip(drawn(basis), pictures, strict=True)]))
    assert quality == sorted(quality)
    assert quality[-1] > quality[0] + 3


def test_a_value_costs_what_its_frequency_says(basis: Basis) -> None:
    rival = Eigenfaces.within(basis, 16)
    value_MK = rival.quantised(basis.coefficient_MK)
    entropy = 0.0
    for value_M in value_MK.T:
        share = np.unique(value_M, return_counts=True)[1] / len(value_M)
        entropy -= float((share * np.log2(share)).sum())
    spent = rival.ideal_bytes(value_MK).mean()
    assert entropy / 8 < spent < 1.1 * entropy / 8 + 1


def test_values_never_seen_are_coded_as_the_nearest_seen(basis: Basis) -> None:
    rival = Eigenfaces.within(basis, 8)
    far = np.full((1, 20), 1e6, np.float32)
    np.testing.assert_array_equal(rival.quantised(far)[0], rival.quantised(basis.coefficient_MK).max(0))


def test_fitted_components_are_the_principal_ones(data: Portraits) -> None:
    state = torch.get_rng_state()
    found = fit(data)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_allclose(found.component_KP @ found.component_KP.T, np.eye(len(data)), atol=1e-3)
    x_MP = data.sample(64, len(data), seed=0).flatten(1).double()
    exact = torch.linalg.svdvals(x_MP - x_MP.mean(0))
    # The last is rounding: centred portraits are linearly dependent.
    np.testing.assert_allclose(np.linalg.norm(found.coefficient_MK, axis=0)[:-1], exact[:-1].numpy(), rtol=1e-3)
