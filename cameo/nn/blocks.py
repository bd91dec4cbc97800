"""The parts that the models are made of: a linear transform of the whole portrait, and networks that correct it.

Shapes: B batch, C channels, H and W pixels, N patches, P numbers of a patch, K bands of a patch, L latents,
D width of a network. Pictures inside the networks are in [-1, 1].

Portraits are aligned, so a linear transform of the whole picture is a good start. It is fitted in closed form before
training (the Karhunen-Loeve transform, in a metric that weighs what matters to a face recogniser) and frozen. Every
network is a residual on top of it whose last layer starts at zero, so training starts from the linear codec.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cameo.codec import Fixed, TokenCoding

REFINE_GRID = 32  # the refining convolutions run at 32 x 32 whatever the portrait's size


class Autoencoder(nn.Module, ABC):
    """What all models are: an encoder, a quantiser that makes tokens of its latents, and a decoder.

    ``config`` is a dataclass whose ``size`` is that of portraits in pixels.
    """

    config: Any
    encoder: nn.Module
    decoder: nn.Module
    alone = False
    """Whether latents must be quantised one by one, because a batch may give other tokens."""

    @property
    @abstractmethod
    def levels(self) -> NDArray[np.int64]:
        """The alphabet size of every token, in the shape of one portrait's tokens."""

    def coding(self) -> TokenCoding:
        """How tokens become payloads, with the model as it is now; by default each takes the bits of its alphabet."""
        return Fixed(self.levels)

    @abstractmethod
    def quantise(self, z_BL: Tensor) -> Tensor:
        """What the encoder gives -> tokens, int64."""

    @abstractmethod
    def dequantise(self, idx: Tensor) -> tuple[Tensor, ...]:
        """Tokens -> what the decoder takes."""

    @torch.inference_mode()
    def encode(self, pixels_BCHW: Tensor) -> Tensor:
        """uint8 portraits of ``size`` pixels -> all their tokens, int64."""
        return self.quantise(self.encoder(to_signal(pixels_BCHW)))

    @torch.inference_mode()
    def decode(self, idx: Tensor) -> Tensor:
        """Tokens, for a progressive code any number of the first ones -> uint8 portraits pixels_BCHW."""
        return to_pixels(self.decoder(*self.dequantise(idx)))


class MixerBlock(nn.Module):
    """MLP-Mixer block (Tolstikhin et al. 2021): a mix over patches, then one over channels, both residual.

    It has separate weights for every patch, so it learns where an eye is; and it consists of matrix products,
    which are fast on CPUs. x_BND -> x_BND.
    """

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norm_patches = nn.LayerNorm(width)
        self.patches = nn.Sequential(nn.Linear(patches, 2 * patches), nn.GELU(), nn.Linear(2 * patches, patches))
        self.norm_channels = nn.LayerNorm(width)
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.patches(self.norm_patches(x_BND).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x_BND + self.channels(self.norm_channels(x_BND))
        return out


class Mixer(nn.Module):
    """A residual network on the bands of the patches: y_BNK -> y_BNK. The identity before training."""

    def __init__(self, patches: int, bands: int, width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Linear(bands, width)
        self.blocks = nn.Sequential(*(MixerBlock(patches, width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, bands)
        zero(self.head)

    def forward(self, y_BNK: Tensor) -> Tensor:
        return self.hidden(y_BNK)[0]

    @property
    def idle(self) -> bool:
        """Whether it still is the identity: its last layer is zero."""
        return not any(bool(parameter.any()) for parameter in self.head.parameters())

    def hidden(self, y_BNK: Tensor, condition_B1D: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """The bands, and the hidden state h_BND that they were made of. A condition is added to every patch."""
        h_BND = self.norm(self.blocks(self.embed(y_BNK) + condition_B1D))
        return y_BNK + self.head(h_BND), h_BND


class Refiner(nn.Module):
    """Convolutions over the whole picture, which smooth the edges between patches: x_BCHW -> x_BCHW.

    They run on a grid of 32 x 32, with ``features`` further input channels. Each grid point becomes a square of pixels,
    and each pixel of the square has its own weights. This leaves a pattern that repeats from square to square; a
    binomial filter of ``taps`` removes its finest part (Sugawara et al. 2018 use a mean).
    """

    kernel_C1TT: Tensor

    def __init__(self, size: int, channels: int, features: int = 0, taps: int = 1) -> None:
        super().__init__()
        self.fold = fold = size // REFINE_GRID
        self.body = nn.Sequential(
            nn.PixelUnshuffle(fold),
            nn.Conv2d(3 * fold**2 + features, channels, 3, padding=1),
            ConvBlock(channels),
            ConvBlock(channels),
        )
        self.head = nn.Conv2d(channels, 3 * fold**2, 3, padding=1)
        zero(self.head)
        self.unfold = nn.PixelShuffle(fold)
        self.taps = taps
        binomial_T = torch.tensor([float(math.comb(taps - 1, k)) for k in range(taps)]) / 2 ** (taps - 1)
        kernel_C1TT = torch.outer(binomial_T, binomial_T).repeat(3, 1, 1, 1)
        self.register_buffer("kernel_C1TT", kernel_C1TT, persistent=False)

    def pixels(self, patch: int) -> int:
        """Points of the grid along the side of a patch."""
        return patch // self.fold

    def forward(self, x_BCHW: Tensor, features_BCHW: Tensor | None = None) -> Tensor:
        h_BCHW = self.body[0](x_BCHW)
        if features_BCHW is not None:
            h_BCHW = torch.cat([h_BCHW, features_BCHW], dim=1)
        correction_BCHW: Tensor = self.unfold(self.head(self.body[1:](h_BCHW)))
        if self.taps > 1:
            padded = F.pad(correction_BCHW, [self.taps // 2] * 4, mode="replicate")
            correction_BCHW = F.conv2d(padded, self.kernel_C1TT.to(padded.dtype), groups=3)
        return x_BCHW + correction_BCHW


class ConvBlock(nn.Module):
    """Residual pair of 3x3 convolutions. x_BCHW -> x_BCHW."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = x_BCHW + self.body(x_BCHW)
        return out


class Encoder(nn.Module):
    """Pictures x_BCHW in [-1, 1], H = W = ``size`` -> latents z_BL.

    The bands of a patch are cut into as many blocks as ``latents`` has entries; each block of bands, over all
    patches, is transformed into its number of latents.
    """

    order_L: Tensor

    def __init__(self, size: int, patch: int, bands: int, latents: Sequence[int], width: int, depth: int) -> None:
        super().__init__()
        self.patch = patch
        patches, block = (size // patch) ** 2, bands // len(latents)
        self.to_bands = frozen(nn.Linear(3 * patch**2, bands, bias=False))
        self.mixer: nn.Module = Mixer(patches, bands, width, depth)
        self.to_latents = nn.ModuleList(frozen(nn.Linear(patches * block, out)) for out in latents)
        self.register_buffer("order_L", torch.arange(sum(latents)))

    def drop_idle(self) -> None:
        """Leave out a mixer that learnt nothing, as where a decoder was trained alone; it takes half of the time."""
        if isinstance(self.mixer, Mixer) and self.mixer.idle:
            self.mixer = nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BNK = self.mixer(self.to_bands(patches(x_BCHW, self.patch)))
        blocks = y_BNK.chunk(len(self.to_latents), dim=2)
        z = [layer(block.flatten(1)) for layer, block in zip(self.to_latents, blocks, strict=True)]
        return torch.cat(z, dim=1)[:, self.order_L]


class Decoder(nn.Module):
    """The mirror of :class:`Encoder`: latents z_BL -> pictures x_BCHW in about [-1, 1], not clamped."""

    order_L: Tensor

    def __init__(
        self, size: int, patch: int, bands: int, latents: Sequence[int], width: int, depth: int, refine: int
    ) -> None:
        super().__init__()
        self.patch, self.grid, self.latents = patch, size // patch, list(latents)
        patches, block = self.grid**2, bands // len(latents)
        self.register_buffer("order_L", torch.arange(sum(latents)))
        self.from_latents = nn.ModuleList(frozen(nn.Linear(out, patches * block)) for out in latents)
        self.mixer = Mixer(patches, bands, width, depth)
        self.from_bands = frozen(nn.Linear(bands, 3 * patch**2, bias=False))
        self.refiner = Refiner(size, refine)

    def forward(self, z_BL: Tensor) -> Tensor:
        parts = torch.empty_like(z_BL).index_copy(1, self.order_L, z_BL).split(self.latents, dim=1)
        y = [layer(part).unflatten(1, (self.grid**2, -1)) for layer, part in zip(self.from_latents, parts, strict=True)]
        x_BPN = self.from_bands(self.mixer(torch.cat(y, dim=2))).transpose(1, 2)
        picture: Tensor = self.refiner(F.pixel_shuffle(x_BPN.unflatten(2, (self.grid, self.grid)), self.patch))
        return picture


def patches(x_BCHW: Tensor, patch: int) -> Tensor:
    """Pictures cut into squares of ``patch`` pixels, row by row: x_BNP."""
    return F.pixel_unshuffle(x_BCHW, patch).flatten(2).transpose(1, 2)


def check_patches(size: int, patch: int, bands: int, latents: Sequence[int]) -> None:
    """ValueError for a portrait that does not fall into patches, or bands that do not fall into blocks."""
    if size % patch:
        raise ValueError(f"model.patch is {patch}; it must divide model.size, which is {size}")
    if bands > 3 * patch**2 or bands % len(latents):
        raise ValueError(f"model.bands is {bands}; at most {3 * patch**2}, in {len(latents)} equal blocks")


def frozen(layer: nn.Linear) -> nn.Linear:
    return layer.requires_grad_(False)


def zero(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def to_signal(pixels_BCHW: Tensor) -> Tensor:
    """uint8 pixels, or floats in [0, 255], to the networks' [-1, 1]."""
    return pixels_BCHW.float() / 127.5 - 1


def to_pixels(x_BCHW: Tensor) -> Tensor:
    """The networks' [-1, 1] to uint8 pixels, rounded and clamped."""
    return ((x_BCHW + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
