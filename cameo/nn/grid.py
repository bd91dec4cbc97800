"""The classic VQ-VAE: convolutions, a grid of tokens, one codebook for all of them (van den Oord et al. 2017).

The baseline that :mod:`cameo.nn.vqvae` is measured against.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cameo.nn.blocks import ConvBlock
from cameo.nn.quantise import VectorQuantiser
from cameo.nn.vqvae import Quantised

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

    def quantise(self, z_BL: Tensor) -> Tensor:
        """What the encoder gives -> tokens idx_BHW, int64."""
        return self.quantiser.tokens(z_BL).view(-1, self.grid, self.grid)

    def dequantise(self, idx_BHW: Tensor) -> tuple[Tensor]:
        """Tokens -> what the decoder takes."""
        return (self.quantiser.values(idx_BHW.flatten(1)),)


class ToLatents(nn.Module):
    """A grid of vectors, token after token: z_BDHW -> z_BL."""

    def forward(self, z_BDHW: Tensor) -> Tensor:
        return z_BDHW.permute(0, 2, 3, 1).flatten(1)


class ToChannels(nn.Module):
    """z_BHWD -> z_BDHW."""

    def forward(self, z_BHWD: Tensor) -> Tensor:
        return z_BHWD.permute(0, 3, 1, 2)
