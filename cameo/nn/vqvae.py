"""VQ-VAE: an encoder, vector quantisation of its latents, a decoder (van den Oord et al. 2017).

The tokens are a sequence for the whole portrait, not a grid, as in TiTok (Yu et al. 2024), and each place of
the sequence has a codebook of its own.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cameo.nn.blocks import Autoencoder, Decoder, Encoder, check_patches
from cameo.nn.quantise import VectorQuantiser


@dataclass(frozen=True)
class VQVAEConfig:
    """``size`` and ``patch`` in pixels; ``latents`` for each block of bands.

    Each of ``tokens`` codebooks holds ``codes`` vectors of ``code_dim`` latents.
    """

    size: int
    patch: int
    bands: int
    width: int
    depth: int
    refine: int
    latents: tuple[int, ...]
    tokens: int
    codes: int
    code_dim: int

    def __post_init__(self) -> None:
        check_patches(self.size, self.patch, self.bands, self.latents)
        if sum(self.latents) != self.tokens * self.code_dim:
            raise ValueError(f"model.latents sum to {sum(self.latents)}; that must be tokens x code_dim")


class VQVAEOutput(NamedTuple):
    """What training needs: the picture, its latents z_BL, and what they became: codes q_BL, tokens idx_BT."""

    picture_BCHW: Tensor
    z_BL: Tensor
    q_BL: Tensor
    idx_BT: Tensor


class Quantised(Autoencoder):
    """An encoder, a vector quantiser of its latents, a decoder."""

    quantiser: VectorQuantiser
    alone = True  # the nearest code is found by a product, whose sums depend on the size of the batch

    def forward(self, x_BCHW: Tensor) -> VQVAEOutput:
        """For training: pictures in [-1, 1] through the whole model, with straight-through gradients."""
        z_BL = self.encoder(x_BCHW)
        through_BL, q_BL, idx_BT = self.quantiser(z_BL)
        return VQVAEOutput(self.decoder(through_BL), z_BL, q_BL, idx_BT)


class VQVAE(Quantised):
    """Portraits to tokens idx_BT and back."""

    encoder: Encoder
    decoder: Decoder

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = Encoder(c.size, c.patch, c.bands, c.latents, c.width, c.depth)
        self.quantiser = VectorQuantiser(c.tokens, c.codes, c.code_dim)
        self.decoder = Decoder(c.size, c.patch, c.bands, c.latents, c.width, c.depth, c.refine)

    @property
    def levels(self) -> NDArray[np.int64]:
        """The alphabet size of every token, in the shape of one portrait's tokens: T."""
        return np.full(self.config.tokens, self.config.codes, np.int64)

    def quantise(self, z_BL: Tensor) -> Tensor:
        """What the encoder gives -> tokens idx_BT, int64."""
        return self.quantiser.tokens(z_BL)

    def dequantise(self, idx_BT: Tensor) -> tuple[Tensor]:
        """Tokens -> what the decoder takes."""
        return (self.quantiser.values(idx_BT),)
