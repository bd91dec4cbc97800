import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cameo.pictures.quality import psnr
from training.data.portraits import Portraits
from training.evaluation.contenders import Pixels
from training.evaluation.eigenfaces import STEPS, Basis, Eigenfaces, Quantiser, fit

PIXELS = 64 * 64 * 3


@pytest.fixture(scope="module")
def coefficients() -> NDArray[np.float32]:
    """Twenty coefficients of falling variance."""
    return (np.random.default_rng(0).normal(size=(400, 20)) * np.geomspace(4000, 20, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def basis(coefficients: NDArray[np.float32]) -> Basis:
    component_KP = np.linalg.qr(np.random.default_rng(1).normal(size=(PIXELS, 20)))[0].T.astype(np.float32)
    quantisers = tuple(Quantiser.learnt(float(step), coefficients) for step in STEPS)
    return Basis(np.full(PIXELS, 128, np.float32), component_KP, quantisers, 400)


@pytest.fixture(scope="module")
def portraits(basis: Basis, coefficients: NDArray[np.float32]) -> list[Pixels]:
    """The first of them, at 128 pixels."""
    x_BP = coefficients[:30] @ basis.component_KP + basis.mean_P
    x_BHWC = x_BP.reshape(-1, 3, 64, 64).transpose(0, 2, 3, 1).round().clip(0, 255).astype(np.uint8)
    return list(x_BHWC.repeat(2, axis=1).repeat(2, axis=2))


def test_every_portrait_keeps_the_budget_and_more_bytes_buy_quality(basis: Basis, portraits: list[Pixels]) -> None:
    quality = []
    for budget in (6, 12, 18, 24):
        rival = Eigenfaces(basis, budget)
        coded = rival.code(portraits)
        assert 0.75 * budget < np.mean([size for _, size in coded]) <= max(size for _, size in coded) <= budget
        pictures = rival.show([data for data, _ in coded])
        quality.append(np.mean([psnr(a[::2, ::2], b) for a, b in zip(portraits, pictures, strict=True)]))
    assert quality == sorted(quality)
    assert quality[-1] > quality[0] + 3


def test_where_nothing_fits_the_coarsest_step_is_taken(basis: Basis, portraits: list[Pixels]) -> None:
    (coded,) = Eigenfaces(basis, 0).code(portraits[:1])
    assert np.frombuffer(coded.data, "<i4")[0] == 0
    assert coded.size > 0


def test_a_value_costs_what_its_frequency_says(coefficients: NDArray[np.float32]) -> None:
    quantiser = Quantiser.learnt(200, coefficients)
    value_MK = quantiser.values(coefficients)
    entropy = 0.0
    for value_M in value_MK.T:
        share = np.unique(value_M, return_counts=True)[1] / len(value_M)
        entropy -= float((share * np.log2(share)).sum())
    spent = quantiser.bytes_of(value_MK).mean()
    assert entropy / 8 < spent < 1.05 * entropy / 8 + 1


def test_values_never_seen_are_coded_as_the_nearest_seen(coefficients: NDArray[np.float32]) -> None:
    quantiser = Quantiser.learnt(200, coefficients)
    far = np.full((1, 20), 1e6, np.float32)
    np.testing.assert_array_equal(quantiser.values(far)[0], quantiser.values(coefficients).max(0))
    assert quantiser.bytes_of(quantiser.values(far))[0] > quantiser.bytes_of(quantiser.values(coefficients)).mean()


def test_fitted_components_are_the_principal_ones(data: Portraits) -> None:
    state = torch.get_rng_state()
    found = fit(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.fitted == len(data)
    np.testing.assert_allclose(found.component_KP @ found.component_KP.T, np.eye(len(data)), atol=1e-3)
    x_MP = data.sample(64, len(data), seed=0).flatten(1).double()
    x_MP -= x_MP.mean(0)
    strength_K = np.linalg.norm(x_MP.numpy() @ found.component_KP.T, axis=0)
    # The last is rounding: centred portraits are linearly dependent.
    np.testing.assert_allclose(strength_K[:-1], torch.linalg.svdvals(x_MP)[:-1].numpy(), rtol=1e-3)
