"""The classic VQ-VAE: convolutions, a grid of tokens, one codebook for all of them (van den Oord et al. 2017).

The baseline that :mod:`app.nn.vqvae` is measured against.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.nn.blocks import ConvBlock, to_pixels, to_signal
from app.nn.quantise import VectorQuantiser
from app.nn.vqvae import Quantised

STRIDE = 4  # pixels of the portrait for each token, in both directions


@dataclass(frozen=True)
class GridVQVAEConfig:
    """``size`` in pixels, a grid of (size / 4)^2 tokens; ``width`` channels, ``depth`` residual blocks a side."""

    size: int
    width: int
    depth: int
    codes: int
    code_dim: int

    def __post_init__(self) -> None:
        if self.width % 2:
            raise ValueError(f"model.width is {self.width}; it must be even")


class GridVQVAE(Quantised):
    """Portraits to tokens idx_BHW and back."""

    def __init__(self, config: GridVQVAEConfig) -> None:
        super().__init__()
        self.config = c = config
        self.grid = c.size // STRIDE
        self.encoder = nn.Sequential(
            nn.Conv2d(3, c.width // 2, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(c.width // 2, c.width, 4, stride=2, padding=1),
            *(ConvBlock(c.width) for _ in range(c.depth)),
            nn.Conv2d(c.width, c.code_dim, 1),
            ToLatents(),
        )
        self.quantiser = VectorQuantiser(self.grid**2, c.codes, c.code_dim, shared=True)
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (self.grid, self.grid, c.code_dim)),
            ToChannels(),
            nn.Conv2d(c.code_dim, c.width, 3, padding=1),
            *(ConvBlock(c.width) for _ in range(c.depth)),
            nn.ConvTranspose2d(c.width, c.width // 2, 4, stride=2, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(c.width // 2, 3, 4, stride=2, padding=1),
        )

    @property
    def levels(self) -> NDArray[np.int64]:
        """The alphabet size of every token, in the shape of one portrait's tokens: H, W."""
        return np.full((self.grid, self.grid), self.config.codes, np.int64)

    @torch.inference_mode()
    def encode(self, pixels_BCHW: Tensor) -> Tensor:
        """uint8 portraits of ``size`` pixels -> tokens idx_BHW, int64."""
        idx_BT: Tensor = self.quantiser.tokens(self.encoder(to_signal(pixels_BCHW)))
        return idx_BT.view(-1, self.grid, self.grid)

    @torch.inference_mode()
    def decode(self, idx_BHW: Tensor) -> Tensor:
        """Tokens -> uint8 portraits pixels_BCHW."""
        return to_pixels(self.decoder(self.quantiser.values(idx_BHW.flatten(1))))


class ToLatents(nn.Module):
    """A grid of vectors, token after token: z_BDHW -> z_BL."""

    def forward(self, z_BDHW: Tensor) -> Tensor:
        return z_BDHW.permute(0, 2, 3, 1).flatten(1)


class ToChannels(nn.Module):
    """z_BHWD -> z_BDHW."""

    def forward(self, z_BHWD: Tensor) -> Tensor:
        return z_BHWD.permute(0, 3, 1, 2)
