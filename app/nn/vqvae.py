"""VQ-VAE: an encoder, vector quantisation of its latents, a decoder (van den Oord et al. 2017).

The tokens are a sequence for the whole portrait, not a grid, as in TiTok (Yu et al. 2024), and each place of
the sequence has a codebook of its own.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.nn.blocks import Decoder, Encoder, to_pixels, to_signal
from app.nn.quantise import VectorQuantiser


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


class VQVAEOutput(NamedTuple):
    picture_BCHW: Tensor
    idx_BT: Tensor
    commitment: Tensor


class VQVAE(nn.Module):
    """Portraits to tokens idx_BT and back."""

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

    def forward(self, x_BCHW: Tensor) -> VQVAEOutput:
        """For training: pictures in [-1, 1] through the whole model, with straight-through gradients."""
        z_BL, idx_BT, commitment = self.quantiser(self.encoder(x_BCHW))
        return VQVAEOutput(self.decoder(z_BL), idx_BT, commitment)

    @torch.inference_mode()
    def encode(self, pixels_BCHW: Tensor) -> Tensor:
        """uint8 portraits of ``size`` pixels -> tokens idx_BT, int64."""
        return self.quantiser.tokens(self.encoder(to_signal(pixels_BCHW)))

    @torch.inference_mode()
    def decode(self, idx_BT: Tensor) -> Tensor:
        """Tokens -> uint8 portraits pixels_BCHW."""
        return to_pixels(self.decoder(self.quantiser.values(idx_BT)))
