"""VAE: a Gaussian latent for the whole portrait, whose quantised means are the tokens (Kingma & Welling 2013)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cameo.nn.blocks import Autoencoder, Decoder, Encoder, check_patches
from cameo.nn.quantise import ScalarQuantiser


@dataclass(frozen=True)
class VAEConfig:
    """``size`` and ``patch`` in pixels; ``latents`` for each block of bands; ``bits`` for all quantised means."""

    size: int
    patch: int
    bands: int
    width: int
    depth: int
    refine: int
    latents: tuple[int, ...]
    bits: int

    def __post_init__(self) -> None:
        check_patches(self.size, self.patch, self.bands, self.latents)


class VAEOutput(NamedTuple):
    picture_BCHW: Tensor
    mean_BL: Tensor
    logvar_L: Tensor

    @property
    def kl(self) -> Tensor:
        """Divergence from the standard normal prior in nats per portrait, mean over the batch."""
        return 0.5 * (self.mean_BL.square() + self.logvar_L.exp() - 1 - self.logvar_L).sum(1).mean()


class VAE(Autoencoder):
    """Portraits to tokens idx_BL and back.

    The posterior's variances are parameters of the model, the same for all portraits: they say how finely
    each latent is worth coding, and the coder has to know that before it has seen the portrait.
    """

    encoder: Encoder
    decoder: Decoder

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = Encoder(c.size, c.patch, c.bands, c.latents, c.width, c.depth)
        self.logvar_L = nn.Parameter(torch.zeros(sum(c.latents)))
        self.quantiser = ScalarQuantiser(sum(c.latents))
        self.decoder = Decoder(c.size, c.patch, c.bands, c.latents, c.width, c.depth, c.refine)

    @property
    def levels(self) -> NDArray[np.int64]:
        """The alphabet size of every token, in the shape of one portrait's tokens: L."""
        levels: NDArray[np.int64] = self.quantiser.levels_L.numpy(force=True)
        return levels

    def forward(self, x_BCHW: Tensor, noise_BL: Tensor) -> VAEOutput:
        """For training: pictures in [-1, 1], one sample from the posterior of each, decoded.

        ``noise_BL`` is standard normal.
        """
        mean_BL = self.encoder(x_BCHW)
        z_BL = mean_BL + (0.5 * self.logvar_L).exp() * noise_BL
        return VAEOutput(self.decoder(z_BL), mean_BL, self.logvar_L)

    def quantise(self, z_BL: Tensor) -> Tensor:
        """What the encoder gives -> tokens idx_BL, int64."""
        return self.quantiser.tokens(z_BL)

    def dequantise(self, idx_BL: Tensor) -> tuple[Tensor]:
        """Tokens -> what the decoder takes."""
        return (self.quantiser.values(idx_BL),)
