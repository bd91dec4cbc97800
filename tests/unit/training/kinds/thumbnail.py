"""A kind of model that nobody needs, added as CONTRIBUTING says: what would be ``cameo/nn/thumbnail.py``."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cameo.nn.blocks import Autoencoder


@dataclass(frozen=True)
class ThumbnailConfig:
    """``size`` in pixels; a thumbnail of ``side`` pixels square, whose colours have ``values`` values each."""

    size: int
    side: int
    values: int


class ThumbnailOutput(NamedTuple):
    picture_BCHW: Tensor


class Thumbnail(Autoencoder):
    """Portraits to the colours of a thumbnail, idx_BL, and back by a convolution that learns to sharpen."""

    config: ThumbnailConfig

    def __init__(self, config: ThumbnailConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = nn.Sequential(nn.AvgPool2d(c.size // c.side), nn.Flatten())
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (3, c.side, c.side)),
            nn.Upsample(scale_factor=c.size // c.side),
            nn.Conv2d(3, 3, 5, padding=2),
        )

    @property
    def levels(self) -> NDArray[np.int64]:
        """The alphabet size of every token, in the shape of one portrait's tokens: L."""
        return np.full(3 * self.config.side**2, self.config.values, np.int64)

    def forward(self, x_BCHW: Tensor, noise_BL: Tensor) -> ThumbnailOutput:
        """For training: pictures in [-1, 1], and noise in [-0.5, 0.5] in the place of rounding."""
        return ThumbnailOutput(self.decoder(self.encoder(x_BCHW) + noise_BL * 2 / (self.config.values - 1)))

    def quantise(self, z_BL: Tensor) -> Tensor:
        """What the encoder gives -> tokens idx_BL, int64."""
        return ((z_BL + 1) / 2 * (self.config.values - 1)).round().long()

    def dequantise(self, idx_BL: Tensor) -> tuple[Tensor]:
        """Tokens -> what the decoder takes."""
        return (idx_BL / (self.config.values - 1) * 2 - 1,)
