"""The order of a progressive code: which bit of which latent comes when, and what a latent is taken for meanwhile."""

import math

import torch
from torch import Tensor

from cameo.nn.progressive import BitPlanes

RARE = 2e-4  # a plane that fewer faces than this reach is not coded: their latent is cut off below it

STEP_ROUNDS = 8
LARGEST = 4  # standard deviations of the widest latent that its planes hold


@torch.no_grad()
def fit_planes(planes: BitPlanes, z_ML: Tensor) -> Tensor:
    """Fit order and offsets to the latents z_ML of training portraits; what each token costs on average: bits_T.

    The order is that of embedded coders: every token stands by its gain, the squared error that it takes away a
    bit. Where a later plane of a latent gains more than the one before it, both are counted together, since the second
    cannot be had without the first.
    """
    latents, count = z_ML.shape[1], planes.planes
    magnitude_ML, sign_ML = z_ML.abs().floor().long(), z_ML < 0
    reach_LP = torch.stack([(magnitude_ML >= 2 ** (count - 1 - p)).float().mean(0) for p in range(count)], 1)
    start_L = (reach_LP >= RARE).float().argmax(1)
    start_L[reach_LP[:, -1] < RARE] = count - 1
    magnitude_ML = torch.minimum(magnitude_ML, 2 ** (count - start_L) - 1)
    absolute_ML = z_ML.abs()

    bits_LP, gain_LP, offset_LP2 = (
        torch.zeros(latents, count),
        torch.zeros(latents, count),
        torch.full((latents, count, 2), 0.5),
    )
    before_L = z_ML.square().mean(0)
    for p in range(count):
        width = 2 ** (count - 1 - p)
        top_ML = magnitude_ML // width
        zero_ML, new_ML = top_ML < 2, top_ML == 1  # zero until this plane; non-zero from it on
        middle_ML = torch.zeros_like(z_ML)
        for old, part_ML in enumerate((new_ML, top_ML > 1)):
            weight_L = part_ML.sum(0)
            mean_L = ((absolute_ML / width - top_ML) * part_ML).sum(0) / weight_L.clamp(min=1)
            # A latent that hardly ever gets here has no mean worth having; the middle is half a face's weight.
            offset_LP2[:, p, old] = ((mean_L * weight_L + 0.5) / (weight_L + 1)).clamp(0, 2)
            middle_ML += part_ML * (top_ML + offset_LP2[:, p, old]) * width
        after_L = (absolute_ML - middle_ML).square().mean(0)
        share_L = zero_ML.float().mean(0)
        parts = [(~new_ML & zero_ML), new_ML & ~sign_ML, new_ML & sign_ML]
        spent_L = conditional_entropy(torch.stack([part.float().mean(0) for part in parts]), share_L)
        odd_L = ((top_ML & 1) * ~zero_ML).float().mean(0)
        spent_L += conditional_entropy(torch.stack([odd_L, 1 - share_L - odd_L]), 1 - share_L)
        coded_L = p >= start_L
        bits_LP[:, p] = torch.where(coded_L, spent_L.clamp(min=1e-4), 0)
        gain_LP[:, p] = torch.where(coded_L, before_L - after_L, 0)
        before_L = torch.where(coded_L, after_L, before_L)

    slope_LP = _slopes(gain_LP, bits_LP, start_L)
    tokens = len(planes.latent_T)
    if (coded := int(slope_LP.isfinite().sum())) < tokens:
        raise ValueError(f"the latents give {coded} tokens; model.tokens asks for {tokens}")
    order_T = slope_LP.flatten().argsort(descending=True, stable=True)[:tokens]
    latent_T, plane_T = order_T // count, order_T % count
    planes.order(latent_T, plane_T)
    planes.offset_LP2.copy_(offset_LP2)
    planes.bits_T.copy_(bits_LP[latent_T, plane_T])
    return planes.bits_T


@torch.no_grad()
def fit_step(planes: BitPlanes, z_ML: Tensor, bits: int) -> float:
    """The finest step, in units of z_ML, at which all tokens of an average face take so many bits.

    None so fine that the planes could not hold the latents; where tokens are too few to reach it, that limit.
    """
    high = float(z_ML.std(0).max())
    low = high * LARGEST / float(2**planes.planes)
    for _ in range(STEP_ROUNDS):
        step = (low * high) ** 0.5
        try:
            spent = float(fit_planes(planes, z_ML / step).sum())
        except ValueError:  # too coarse for so many tokens
            spent = 0.0
        low, high = (step, high) if spent > bits else (low, step)
    return low


def _slopes(gain_LP: Tensor, bits_LP: Tensor, start_L: Tensor) -> Tensor:
    """Gain per bit, falling from plane to plane: the upper convex hull of error against bits; -inf before the start.

    Three planes of a latent take away an error of 1, 6 and 1, and cost 1, 1 and 2 bits. Alone, the second gains 6 a
    bit, but nobody can have it without the first. So both are counted together, as 7 for 2 bits:

    >>> gain_LP, bits_LP = torch.tensor([[1.0, 6.0, 1.0]]), torch.tensor([[1.0, 1.0, 2.0]])
    >>> _slopes(gain_LP, bits_LP, torch.tensor([0])).tolist()
    [[3.5, 3.5, 0.5]]
    """
    slope_LP = torch.full_like(gain_LP, -torch.inf)
    for latent, start in enumerate(start_L.tolist()):
        hull: list[list[float]] = []  # gain, bits, planes
        for gain, bits in zip(gain_LP[latent, start:].tolist(), bits_LP[latent, start:].tolist(), strict=True):
            hull.append([gain, bits, 1])
            while len(hull) > 1 and hull[-1][0] * hull[-2][1] >= hull[-2][0] * hull[-1][1]:
                last = hull.pop()
                hull[-1] = [a + b for a, b in zip(hull[-1], last, strict=True)]
        slopes = [gain / bits for gain, bits, count in hull for _ in range(int(count))]
        slope_LP[latent, start:] = torch.tensor(slopes)
    return slope_LP


def conditional_entropy(share_CL: Tensor, whole_L: Tensor) -> Tensor:
    """Bits of telling cases that happen with probabilities share_CL, whose sum is whole_L."""
    bits_L: Tensor = (torch.special.entr(share_CL).sum(0) - torch.special.entr(whole_L)) / math.log(2)
    return bits_L


def prefix(bits_T: Tensor, budget_B: Tensor) -> Tensor:
    """How many tokens an average face has in so many bits: count_B."""
    return torch.searchsorted(bits_T.cumsum(0), budget_B)
