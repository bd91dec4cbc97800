"""A progressive code: latents in bit planes, so that every prefix of the tokens is a coarser face.

The latents are those of the whole portrait, in units of the finest step, so the integer part of a latent's magnitude
is coded bit by bit, coarse planes first, as embedded image coders do (Shapiro 1993; Taubman 2000). All tokens stand
in one fixed order, from the one that lowers the error most per bit to the one that lowers it least.

A token has one of three values. While all earlier ones of its latent are 0 it says: 0 still zero, 1 positive from
here on, 2 negative. Later ones are the next bit of the magnitude, 0 or 1.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cameo import codec
from cameo.nn.blocks import Autoencoder, Encoder, Mixer, Refiner, check_patches, frozen

CODES = 3
RATE_WAVES = 8  # cosines that tell the decoder how many tokens there are


@dataclass(frozen=True)
class ProgressiveConfig:
    """``size`` and ``patch`` in pixels; ``latents`` for each block of bands.

    ``planes`` bit planes and ``tokens`` in all; ``context`` is the width of the prior. The networks: ``width`` and
    ``depth`` of the decoder's mixer, half as wide and deep in the encoder; ``refine`` channels of the convolutions,
    to which the mixer adds ``features``; ``taps``, an odd number, of the filter on what they correct, 1 for none.
    """

    size: int
    patch: int
    bands: int
    latents: tuple[int, ...]
    planes: int
    tokens: int
    context: int
    width: int
    depth: int
    refine: int
    features: int
    taps: int = 1

    def __post_init__(self) -> None:
        check_patches(self.size, self.patch, self.bands, self.latents)
        if not self.taps % 2:
            raise ValueError(f"model.taps is {self.taps}; it must be an odd number")
        if self.tokens > sum(self.latents) * self.planes:
            raise ValueError(
                f"model.tokens is {self.tokens}; {sum(self.latents)} latents in {self.planes} planes have fewer"
            )


class ProgressiveOutput(NamedTuple):
    """For training: the picture, the latents z_BL, and the quantiser step of each; 0 where it is unknown."""

    picture_BCHW: Tensor
    z_BL: Tensor
    step_BL: Tensor


class BitPlanes(nn.Module):
    """Latents z_BL in units of the finest step -> tokens idx_BT, and any prefix of them -> values of the latents.

    latent_T, plane_T: what each token is about, plane 0 the coarsest. rank_LP: the place of each token in the list,
    T where there is no such token. offset_LP2: the value of a latent within its interval, as a share of the interval's
    width, when plane P is the last one known: first for latents that have just become non-zero, second for others.
    bits_T: what tokens cost on average.

    Two latents in three planes, which are worth 4, 2 and 1. Latent 0 has all three. Latent 1 is small and has no plane
    0, so T = 5. The order of the tokens is 0's planes 0 and 1, 1's plane 1, then both last planes:

    >>> planes = BitPlanes(latents=2, planes=3, tokens=5)
    >>> planes.order(torch.tensor([0, 0, 1, 0, 1]), torch.tensor([0, 1, 1, 2, 2]))
    >>> planes.rank_LP.tolist()
    [[0, 1, 3], [5, 2, 4]]

    6.7 has the magnitude 6 = 110 and -2.2 the magnitude 2 = 10:

    >>> z_BL = torch.tensor([[6.7, -2.2]])
    >>> planes.tokens(z_BL).tolist()
    [[1, 1, 2, 0, 0]]

    Of three tokens rank_LP < 3 tells the last known plane of each latent: 1 for both. So the first lies between 6 and
    8, the second between -2 and -4. The offset says where; before it is fitted, in the middle:

    >>> planes.last(torch.tensor([3])).tolist()
    [[1, 1]]
    >>> planes.values(planes.tokens(z_BL)[:, :3]).tolist()
    [[7.0, -3.0]]

    Most latents are near the lower end of their interval. Where latent 1 has just become non-zero at plane 1, it may be
    on average at 0.3 of the width 2:

    >>> planes.offset_LP2[1, 1, 0] = 0.3
    >>> round(planes.values(planes.tokens(z_BL)[:, :3])[0, 1].item(), 3)
    -2.6
    """

    latent_T: Tensor
    plane_T: Tensor
    rank_LP: Tensor
    offset_LP2: Tensor
    bits_T: Tensor

    def __init__(self, latents: int, planes: int, tokens: int) -> None:
        super().__init__()
        self.planes = planes
        self.register_buffer("latent_T", torch.zeros(tokens, dtype=torch.int32))
        self.register_buffer("plane_T", torch.zeros(tokens, dtype=torch.int32))
        self.register_buffer("rank_LP", torch.full((latents, planes), tokens, dtype=torch.int32))
        self.register_buffer("offset_LP2", torch.full((latents, planes, 2), 0.5))
        self.register_buffer("bits_T", torch.ones(tokens))

    def order(self, latent_T: Tensor, plane_T: Tensor) -> None:
        """Take this order of tokens. A latent's planes follow each other, up to the last that it has."""
        self.latent_T.copy_(latent_T)
        self.plane_T.copy_(plane_T)
        self.rank_LP.fill_(len(latent_T))
        self.rank_LP[latent_T.long(), plane_T.long()] = torch.arange(len(latent_T), dtype=torch.int32)

    def magnitude(self, z_BL: Tensor) -> Tensor:
        """The integer that the planes spell: |z|, rounded down, and no more than a latent's first plane allows."""
        has_LP = self.rank_LP < len(self.latent_T)
        most_L = (2 ** (self.planes - has_LP.float().argmax(1))) - 1
        return torch.minimum(z_BL.abs().floor().long(), most_L)

    def tokens(self, z_BL: Tensor) -> Tensor:
        """All tokens: idx_BT, int64."""
        magnitude_BT = self.magnitude(z_BL)[:, self.latent_T]
        shift_T = self.planes - 1 - self.plane_T
        bit_BT = (magnitude_BT >> shift_T) & 1
        first_BT = (magnitude_BT >> shift_T) == 1
        return bit_BT + (first_BT & (z_BL[:, self.latent_T] < 0))

    def values(self, idx_BK: Tensor) -> Tensor:
        """What a prefix of the tokens tells about the latents: z_BL."""
        count, latent_K = idx_BK.shape[1], self.latent_T[: idx_BK.shape[1]].long()
        bit_BK = idx_BK.clamp(max=1) << (self.planes - 1 - self.plane_T[:count])
        zero_BL = idx_BK.new_zeros(len(idx_BK), len(self.rank_LP))
        magnitude_BL = zero_BL.index_add(1, latent_K, bit_BK)
        negative_BL = zero_BL.index_add(1, latent_K, (idx_BK == 2).long()) > 0
        last_BL = self.last(torch.full_like(zero_BL[:, :1], count)[:, 0])
        return self._middle(magnitude_BL, last_BL) * torch.where(negative_BL, -1.0, 1.0)

    def last(self, count_B: Tensor) -> Tensor:
        """The last plane that each latent's prefix of ``count_B`` tokens knows: plane_BL, -1 for none."""
        known_BLP = self.rank_LP < count_B[:, None, None]
        planes_P = torch.arange(self.planes, device=count_B.device)
        return torch.where(known_BLP, planes_P, -1).amax(2)

    def coarse(self, z_BL: Tensor, last_BL: Tensor) -> Tensor:
        """The values of latents of which the planes up to ``last_BL`` are known: tokens and back in one step."""
        shift_BL = self.planes - 1 - last_BL.clamp(min=0)
        magnitude_BL = torch.where(last_BL < 0, 0, self.magnitude(z_BL) >> shift_BL << shift_BL)
        return self._middle(magnitude_BL, last_BL) * z_BL.sign()

    def through(self, z_BL: Tensor, last_BL: Tensor) -> Tensor:
        """:meth:`coarse`, with the gradients of z_BL where a plane is known."""
        coarse_BL = self.coarse(z_BL.detach(), last_BL)
        return torch.where(last_BL < 0, 0.0, z_BL + (coarse_BL - z_BL).detach())

    def step(self, last_BL: Tensor) -> Tensor:
        """How finely latents are known whose last plane is ``last_BL``: step_BL, 0 where none is."""
        return torch.where(last_BL < 0, 0.0, 2.0 ** (self.planes - 1 - last_BL))

    def _middle(self, magnitude_BL: Tensor, last_BL: Tensor) -> Tensor:
        plane_BL = last_BL.clamp(min=0)
        width_BL = 1 << (self.planes - 1 - plane_BL)
        old_BL = (magnitude_BL >= 2 * width_BL).long()
        latent_L = torch.arange(len(self.offset_LP2), device=magnitude_BL.device)
        value_BL = magnitude_BL + self.offset_LP2[latent_L, plane_BL, old_BL] * width_BL
        return torch.where(magnitude_BL > 0, value_BL, 0.0)


class Progressive(Autoencoder):
    """Portraits to tokens idx_BT, and any prefix idx_BK of them back to portraits."""

    encoder: Encoder
    decoder: "ProgressiveDecoder"
    embed_T3H: Tensor
    output_T3H: Tensor
    bias_T3: Tensor

    def __init__(self, config: ProgressiveConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = Encoder(c.size, c.patch, c.bands, c.latents, c.width // 2, max(1, c.depth // 2))
        self.planes = BitPlanes(sum(c.latents), c.planes, c.tokens)
        self.decoder = ProgressiveDecoder(c)
        self.register_buffer("embed_T3H", torch.zeros(c.tokens, CODES, c.context, dtype=torch.int8))
        self.register_buffer("output_T3H", torch.zeros(c.tokens, CODES, c.context, dtype=torch.int8))
        self.register_buffer("bias_T3", torch.zeros(c.tokens, CODES, dtype=torch.int32))

    @property
    def levels(self) -> NDArray[np.int64]:
        """The alphabet size of every token, in the shape of one portrait's tokens: T."""
        return np.full(self.config.tokens, CODES, np.int64)

    @property
    def prior(self) -> dict[str, NDArray[np.integer[Any]]]:
        """What the entropy coder expects of the tokens: the arrays of :class:`cameo.codec.Prior`, by name."""
        tensors = {
            "latent_T": self.planes.latent_T, "embed_T3H": self.embed_T3H, "output_T3H": self.output_T3H,
            "bias_T3": self.bias_T3,
        }  # fmt: skip
        return {name: tensor.numpy(force=True) for name, tensor in tensors.items()}

    def coding(self) -> codec.Progressive:
        """By the prior of the tokens: any budget holds the first of them."""
        return codec.Progressive(codec.Prior(**self.prior))

    def forward(self, x_BCHW: Tensor, count_B: Tensor, shift_BL: Tensor | None = None) -> ProgressiveOutput:
        """For training: pictures in [-1, 1] through the first ``count_B`` tokens, with straight-through gradients.

        They reach the latents that these tokens tell something about. ``shift_BL`` moves latents, in steps, as a
        search does.
        """
        z_BL = self.encoder(x_BCHW).float()
        last_BL = self.planes.last(count_B)
        step_BL = self.planes.step(last_BL)
        moved_BL = z_BL if shift_BL is None else z_BL + shift_BL * step_BL
        through_BL = self.planes.through(moved_BL, last_BL)
        return ProgressiveOutput(self.decoder(through_BL, count_B), z_BL, step_BL)

    def quantise(self, z_BL: Tensor) -> Tensor:
        """What the encoder gives -> all tokens idx_BT, int64."""
        return self.planes.tokens(z_BL)

    def dequantise(self, idx_BK: Tensor) -> tuple[Tensor, Tensor]:
        """The first K tokens, 0 to T of them -> what the decoder takes."""
        count_B = torch.full((len(idx_BK),), idx_BK.shape[1], device=idx_BK.device)
        return self.planes.values(idx_BK), count_B


class ProgressiveDecoder(nn.Module):
    """Latents z_BL, of which ``count_B`` tokens are known -> pictures x_BCHW in about [-1, 1], not clamped."""

    def __init__(self, config: ProgressiveConfig) -> None:
        super().__init__()
        self.config = c = config
        self.grid = c.size // c.patch
        patches, block = self.grid**2, c.bands // len(c.latents)
        self.from_latents = nn.ModuleList(frozen(nn.Linear(out, patches * block)) for out in c.latents)
        self.mixer = Mixer(patches, c.bands, c.width, c.depth)
        self.from_rate = nn.Linear(RATE_WAVES, c.width)
        self.from_bands = frozen(nn.Linear(c.bands, 3 * c.patch**2, bias=False))
        self.refiner = Refiner(c.size, c.refine, c.features, c.taps)
        self.to_features = nn.Linear(c.width, c.features * self.refiner.pixels(c.patch) ** 2)

    def forward(self, z_BL: Tensor, count_B: Tensor) -> Tensor:
        parts = z_BL.split(list(self.config.latents), dim=1)
        y = [layer(part).unflatten(1, (self.grid**2, -1)) for layer, part in zip(self.from_latents, parts, strict=True)]
        y_BNK, h_BND = self.mixer.hidden(torch.cat(y, dim=2), self.from_rate(self._waves(count_B))[:, None])
        x_BCHW = F.pixel_shuffle(self._map(self.from_bands(y_BNK)), self.config.patch)
        feature_BCHW = F.pixel_shuffle(self._map(self.to_features(h_BND)), self.refiner.pixels(self.config.patch))
        picture: Tensor = self.refiner(x_BCHW, feature_BCHW)
        return picture

    def _map(self, y_BND: Tensor) -> Tensor:
        y_BDHW: Tensor = y_BND.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return y_BDHW

    def _waves(self, count_B: Tensor) -> Tensor:
        """How many tokens there are, on a logarithmic scale: waves_BW."""
        share_B = torch.log1p(count_B.float()) / np.log1p(self.config.tokens)
        waves_BW: Tensor = torch.cos(torch.pi * share_B[:, None] * torch.arange(RATE_WAVES, device=count_B.device))
        return waves_BW
