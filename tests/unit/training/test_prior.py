"""The prior of a progressive code: learnt in floats, used in integers."""

import numpy as np
import pytest
import torch

from cameo import codec
from cameo.codec.prior import NAT
from cameo.nn import build
from cameo.nn.progressive import Progressive
from tests.tiny import PROGRESSIVE
from training.planes import fit_planes
from training.prior import REFINES, Nade, fit_prior, kinds


@pytest.fixture(scope="module")
def z_ML() -> torch.Tensor:
    """Latents that are strong or weak together, so that each tells something of the others."""
    generator = torch.Generator().manual_seed(0)
    strength_M1 = torch.where(torch.rand(3000, 1, generator=generator) < 0.5, 0.2, 3.0)
    return strength_M1 * torch.randn(3000, 120, generator=generator)


@pytest.fixture(scope="module")
def fitted(z_ML: torch.Tensor) -> tuple[Progressive, dict[str, float]]:
    model = build(PROGRESSIVE | {"latents": [100, 20], "planes": 3, "tokens": 240})
    assert isinstance(model, Progressive)
    fit_planes(model.planes, z_ML)
    return model, fit_prior(model, z_ML, 150)


def test_it_learns_what_tokens_tell_of_each_other(fitted: tuple[Progressive, dict[str, float]]) -> None:
    bits = fitted[1]
    assert bits["prior"] < 0.85 * bits["alone"] < 0.85 * bits["fixed"]


def test_payloads_are_as_short_as_it_says(fitted: tuple[Progressive, dict[str, float]], z_ML: torch.Tensor) -> None:
    model, bits = fitted
    coding = model.coding()
    rows = model.planes.tokens(z_ML[::16]).numpy()
    payloads = [coding.pack(row, b"ab", 1000)[0] for row in rows]
    mean = float(np.mean([8 * (len(payload) - codec.OVERHEAD) for payload in payloads]))
    # Half a byte is lost where all tokens fit, and as much again to say where the number lies.
    assert bits["prior"] <= mean <= 1.02 * bits["prior"] + 16
    for row, payload in zip(rows[:20], payloads, strict=False):
        np.testing.assert_array_equal(coding.unpack(codec.unwrap(payload)), row)


def test_integers_say_what_the_floats_said() -> None:
    nade = Nade(70, 6, torch.Generator().manual_seed(1))
    with torch.no_grad():
        nade.output_GSH.normal_(generator=torch.Generator().manual_seed(2)).mul_(0.3)
        nade.bias_GS.normal_(generator=torch.Generator().manual_seed(3))
    value_BT = torch.randint(0, 3, (4, 70), generator=torch.Generator().manual_seed(4))
    embed_T3H, output_T3H, bias_T3 = (array.long() for array in nade.integers(70))
    logit_BT3 = nade(value_BT)[:, :70]
    for b in range(4):
        said_TH = embed_T3H[torch.arange(70), value_BT[b]]
        for t in range(70):
            context_H = said_TH[: t // 32 * 32].sum(0).clamp(0, 255)
            exact_3 = bias_T3[t] + output_T3H[t] @ context_H
            assert torch.allclose(logit_BT3[b, t] * NAT, exact_3.float(), atol=0.6)


def test_kinds_tell_refinements_apart(fitted: tuple[Progressive, dict[str, float]], z_ML: torch.Tensor) -> None:
    model, _ = fitted
    kind_BT, idx_BT = kinds(model, z_ML[:50]), model.planes.tokens(z_ML[:50])
    latent_T = model.planes.latent_T.tolist()
    for kinds_T, idx_T in zip(kind_BT.tolist(), idx_BT.tolist(), strict=True):
        begun: set[int] = set()
        for latent, kind, token in zip(latent_T, kinds_T, idx_T, strict=True):
            assert kind == token + (REFINES if latent in begun else 0)
            begun |= {latent} if token else set()
