"""The start of a training run: the linear codec, in closed form.

Eigenfaces in a better metric: the bands of the patches by principal components, then for each block of bands
the Karhunen-Loeve transform in the metric of the training loss, M = I + w A^T A, where A is the identity
metric. Directions that the recogniser sees get more of the bits than pixels alone would give them.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from cameo.nn import Model
from cameo.nn.blocks import Decoder, Encoder, patches, to_signal
from cameo.nn.progressive import ProgressiveDecoder
from training.checkpoint import read, write
from training.data.portraits import Portraits
from training.identity import identity_metric
from training.losses import Networks
from training.recipe import Recipe

log = logging.getLogger("cameo.training")

PART = 500  # portraits handled at once
FITTED = 20_000  # portraits that the transform is fitted to
FEWER = 6000  # of them, where fewer are enough
STARTERS = 4096  # portraits that k-means sees


@torch.no_grad()
def latents(model: Model, data: Portraits, seed: int, count: int = STARTERS) -> Tensor:
    """What the encoder makes of ``count`` training portraits, z_ML."""
    device = next(model.parameters()).device
    pixels = data.sample(model.config.size, count, seed)
    return torch.cat([model.encoder(to_signal(part.to(device))).float().cpu() for part in pixels.split(PART)])


class Linear(Protocol):
    """What a model with a linear transform says of it: pixels of a portrait and of a patch, bands, latents."""

    @property
    def size(self) -> int: ...
    @property
    def patch(self) -> int: ...
    @property
    def bands(self) -> int: ...
    @property
    def latents(self) -> Sequence[int]: ...


@dataclass
class Transform:
    """A linear codec that is fitted, but not yet in a model.

    ``analyses`` and ``syntheses`` are a matrix LY and YL for each block of bands; ``variance_L`` of all blocks
    together, in the units of the metric; ``spectra`` are the variances of the latents that are left out, too.
    """

    to_bands_KP: Tensor
    mean_NP: Tensor
    y_MNK: Tensor
    analyses: list[Tensor]
    syntheses: list[Tensor]
    variance_L: Tensor
    spectra: list[Tensor]

    def latents(self, count: int) -> Tensor:
        """Those of the first portraits that it was fitted to: z_ML."""
        blocks = self.y_MNK.chunk(len(self.analyses), 2)
        return torch.cat([y.flatten(1)[:count] @ a.T for y, a in zip(blocks, self.analyses, strict=True)], 1)

    def scale(self, into_L: Tensor, back_L: Tensor) -> None:
        """Multiply the latents by ``into_L``, and by ``back_L`` on the way back to a picture."""
        parts = [len(analysis) for analysis in self.analyses]
        self.analyses = [a * k[:, None] for a, k in zip(self.analyses, into_L.split(parts), strict=True)]
        self.syntheses = [s * k for s, k in zip(self.syntheses, back_L.split(parts), strict=True)]

    def install(self, encoder: Encoder, decoder: Decoder | ProgressiveDecoder) -> None:
        """Write it into the frozen layers; the mean goes into their biases."""
        encoder.to_bands.weight.copy_(self.to_bands_KP)
        decoder.from_bands.weight.copy_(self.to_bands_KP.T)
        mean_NK = (self.mean_NP @ self.to_bands_KP.T).chunk(len(self.analyses), 1)
        for into, out, mean, analysis, synthesis in zip(
            encoder.to_latents, decoder.from_latents, mean_NK, self.analyses, self.syntheses, strict=True
        ):
            assert isinstance(into, nn.Linear)
            assert isinstance(out, nn.Linear)
            into.weight.copy_(analysis)
            into.bias.copy_(-analysis @ mean.flatten())
            out.weight.copy_(synthesis)
            out.bias.copy_(mean.flatten())


def fit_transform(c: Linear, recipe: Recipe, data: Portraits, metric_RP: Tensor | None) -> Transform:
    """The linear codec, on as many portraits as are enough for it."""
    pixels = data.sample(c.size, FITTED, recipe.seed)
    if recipe.augment.flip:
        pixels = torch.cat([pixels, pixels.flip(3)])
    mean_NP, to_bands_KP = _bands(pixels, c.patch, c.bands)
    y_MNK = torch.cat([(x_MNP - mean_NP) @ to_bands_KP.T for x_MNP in _patches(pixels, c.patch)])
    seen_RNK = None
    if metric_RP is not None:
        picture_RCHW = metric_RP.view(-1, 3, c.size, c.size)
        if recipe.augment.flip:
            picture_RCHW = torch.cat([picture_RCHW, picture_RCHW.flip(3)]) * 0.5**0.5
        weight = recipe.losses.identity * metric_RP.shape[1]
        seen_RNK = weight**0.5 * (patches(picture_RCHW, c.patch) @ to_bands_KP.T)

    analyses, syntheses, variances, spectra = [], [], [], []
    for b, (latents, block_MNK) in enumerate(zip(c.latents, y_MNK.chunk(len(c.latents), 2), strict=True)):
        seen = None if seen_RNK is None else seen_RNK.chunk(len(c.latents), 2)[b].flatten(1)
        analysis_LY, synthesis_YL, variance_L = karhunen_loeve(block_MNK.flatten(1), seen)
        spectra.append(variance_L)
        analyses.append(analysis_LY[:latents])
        syntheses.append(synthesis_YL[:, :latents])
        variances.append(variance_L[:latents])
    return Transform(to_bands_KP, mean_NP, y_MNK, analyses, syntheses, torch.cat(variances), spectra)


def karhunen_loeve(y_MY: Tensor, seen_RY: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components of y_MY, zero-mean, in the metric I + seen^T seen.

    Returns analysis_LY, synthesis_YL (inverse to each other, L = Y) and variance_L, descending, in the metric's
    units: an error of e in a latent is an error of e^2 in the metric.

    Two numbers of a picture vary independently, with variances 4 and 1. For pixels alone the first matters more:

    >>> y_MY = torch.tensor([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
    >>> analysis_LY, synthesis_YL, variance_L = karhunen_loeve(y_MY, None)
    >>> variance_L.tolist(), analysis_LY.abs().tolist()
    ([4.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])

    Let the recogniser see only the second, at a weight of 3: seen = (0, 3), so I + seen^T seen = diag(1, 10). Now the
    second number comes first, as a latent of variance 10 * 1, and gets more of the bits:

    >>> analysis_LY, synthesis_YL, variance_L = karhunen_loeve(y_MY, torch.tensor([[0.0, 3.0]]))
    >>> [round(variance, 3) for variance in variance_L.tolist()]
    [10.0, 4.0]
    >>> [round(weight, 3) for weight in analysis_LY[0].abs().tolist()]
    [0.0, 3.162]
    """
    covariance = y_MY.T @ y_MY / len(y_MY)
    root, inverse = _roots(seen_RY, y_MY.shape[1])
    variance_L, component_YL = torch.linalg.eigh(root @ covariance @ root)
    variance_L, component_YL = variance_L.flip(0).clamp(min=1e-12), component_YL.flip(1)
    return component_YL.T @ root, inverse @ component_YL, variance_L


def _roots(seen_RY: Tensor | None, numbers: int) -> tuple[Tensor, Tensor]:
    """The square root of I + seen^T seen, and its inverse, by the few directions in which it is not the identity."""
    identity = torch.eye(numbers)
    if seen_RY is None:
        return identity, identity
    value_R, vector_RR = torch.linalg.eigh(seen_RY @ seen_RY.T)
    value_R = value_R.clamp(min=1e-6 * float(value_R.max()))
    direction_RY = (vector_RR / value_R.sqrt()).T @ seen_RY
    stretch_R1 = (1 + value_R).sqrt()[:, None]
    root = identity + direction_RY.T @ ((stretch_R1 - 1) * direction_RY)
    return root, identity + direction_RY.T @ ((1 / stretch_R1 - 1) * direction_RY)


def _patches(pixels_MCHW: Tensor, patch: int) -> Iterator[Tensor]:
    return (patches(to_signal(part), patch) for part in pixels_MCHW.split(PART))


def _bands(pixels_MCHW: Tensor, patch: int, bands: int) -> tuple[Tensor, Tensor]:
    """The mean portrait by patches, mean_NP, and the principal components of patches, to_bands_KP."""
    mean_NP = torch.stack([part.sum(0) for part in _patches(pixels_MCHW, patch)]).sum(0) / len(pixels_MCHW)
    covariance_PP = torch.zeros(mean_NP.shape[1], mean_NP.shape[1])
    for part in _patches(pixels_MCHW[:FEWER], patch):  # each has many patches
        centred = (part - mean_NP).flatten(0, 1)
        covariance_PP += centred.T @ centred
    return mean_NP, torch.linalg.eigh(covariance_PP).eigenvectors.flip(1)[:, :bands].T.contiguous()


def balance(variance_L: Tensor, tokens: int, code_dim: int) -> Tensor:
    """Which latent goes where, so that every token has about the same number of bits to spend.

    The next latent, from large to small variance, goes to the token that has the fewest bits so far and room.
    """
    bits_L = (0.5 * variance_L.log2()).tolist()
    floor = min(bits_L)
    members: list[list[int]] = [[] for _ in range(tokens)]
    load = [0.0] * tokens
    for latent in variance_L.argsort(descending=True).tolist():
        token = min((t for t in range(tokens) if len(members[t]) < code_dim), key=lambda t: load[t])
        members[token].append(latent)
        load[token] += bits_L[latent] - floor
    return torch.tensor([latent for token in members for latent in token])


def log_advice(recipe: Recipe, spectra: list[Tensor]) -> None:
    """Log what the spectrum would suggest for the recipe: how to divide the latents, and the weight of KL."""
    variance = torch.cat(spectra).sort(descending=True).values
    latents = recipe.model["latents"]
    least = variance[sum(latents) - 1]
    log.info("%d latents would divide best as %s", sum(latents), [int((s >= least).sum()) for s in spectra])
    bits = recipe.model.get("bits") or recipe.model["tokens"] * (recipe.model["codes"] - 1).bit_length()
    low, high = variance.min(), variance.max()
    for _ in range(60):  # reverse water-filling by bisection
        water = (low * high).sqrt()
        spent = (0.5 * (variance / water).log2()).clamp(min=0).sum()
        low, high = (low, water) if spent < bits else (water, high)
    log.info("%d bits reach %d latents; kl = %.3g spends them", bits, int((variance > water).sum()), 2 * water)


def metric(recipe: Recipe, run: Path, data: Portraits, networks: Networks, device: torch.device) -> Tensor | None:
    """The identity metric of the recipe: the mean of its recognisers'.

    Each is measured once and kept beside the runs, for others on the same data.
    """
    losses, size = recipe.losses, recipe.model["size"]
    if not losses.identity:
        return None
    rank, jitter = losses.identity_rank, losses.likeness_jitter
    key = [[d["sha256"] for d in data.sources], size, losses.identity_faces, rank, recipe.seed, jitter]
    parts: list[Tensor] = []
    for name in losses.recognisers:
        weights = networks.recogniser_file(name).read_bytes()
        digest = hashlib.sha256(json.dumps(key).encode() + weights).hexdigest()
        path = run.parent / f"identity-metric-{name}-{digest[:12]}.pt"
        if not path.exists():
            x_BCHW = to_signal(data.sample(size, losses.identity_faces, recipe.seed))
            recogniser = networks.recogniser(name).to(device)
            write(path, {"metric_RP": identity_metric(recogniser, x_BCHW, rank, recipe.seed, jitter)})
        parts.append(read(path, torch.device("cpu"))["metric_RP"])
    mean_RP: Tensor = torch.cat(parts) * float(len(parts)) ** -0.5
    return mean_RP
