"""Quantisers: latents in, integer tokens out, and back.

Both have ``tokens(z_BL)`` and ``values(idx)``, which need nothing but the module's own state.
"""

import torch
from torch import Tensor, nn


class VectorQuantiser(nn.Module):
    """VQ: L latents are cut into T tokens of D latents, and each becomes the nearest of K codes.

    Each token has a codebook of its own (product quantisation, Jegou et al. 2011), or all ``share`` one, as in the
    VQ-VAE of van den Oord et al. 2017. Training learns the codes.

    codebook_TKD: T codebooks, or a single one that is shared, of K codes of D numbers.
    """

    def __init__(self, tokens: int, codes: int, code_dim: int, *, shared: bool = False) -> None:
        super().__init__()
        self.shape = (tokens, code_dim)
        books = 1 if shared else tokens
        self.codebook_TKD = nn.Parameter(torch.zeros(books, codes, code_dim), requires_grad=False)

    def tokens(self, z_BL: Tensor) -> Tensor:
        """The nearest codes: z_BL -> idx_BT, int64 in [0, K)."""
        idx_BT: Tensor = nearest(self.by_codebook(z_BL), self.codebook_TKD).T.reshape(-1, self.shape[0])
        return idx_BT

    def values(self, idx_BT: Tensor) -> Tensor:
        """The codes themselves: idx_BT -> z_BL."""
        book = torch.arange(self.codebook_TKD.shape[0], device=idx_BT.device)  # a single one is broadcast
        return self.codebook_TKD[book, idx_BT].flatten(1)

    def by_codebook(self, z_BL: Tensor) -> Tensor:
        """The vectors that each codebook has to code: z_BL -> z_TMD, M = B, or M = B times T for a shared one."""
        z_BTD: Tensor = z_BL.unflatten(1, self.shape)
        return z_BTD.transpose(0, 1) if len(self.codebook_TKD) > 1 else z_BTD.reshape(1, -1, self.shape[1])

    def forward(self, z_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Straight-through values z_BL, the codes q_BL that they equal, and tokens idx_BT.

        Gradients of the first reach the latents, those of the second the codebook.
        """
        z_BL = z_BL.float()  # in half precision neighbouring codes could not be told apart
        idx_BT = self.tokens(z_BL.detach())
        q_BL = self.values(idx_BT)
        return z_BL + (q_BL - z_BL).detach(), q_BL, idx_BT


def nearest(z_TMD: Tensor, codebook_TKD: Tensor) -> Tensor:
    """For each vector the index of the code at the least Euclidean distance: idx_TM."""
    # |z - c|^2 without |z|^2, which all codes share; never in half precision.
    with torch.autocast(z_TMD.device.type, enabled=False):
        return torch.baddbmm(codebook_TKD.square().sum(2)[:, None], z_TMD, codebook_TKD.mT, alpha=-2).argmin(2)


# Uniform quantisers of a standard normal source at 0 to 8 bits: the step of least error and that error (Max 1960).
NORMAL_STEP = (1.0, 1.596, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)
NORMAL_ERROR = (1.0, 0.3634, 0.1188, 0.03744, 0.01154, 0.003495, 0.001041, 0.000304, 0.0000877)


class ScalarQuantiser(nn.Module):
    """Uniform quantisation of latent means, with more bits for the latents that carry more.

    A latent whose posterior is sharp needs a fine step, one whose posterior is as wide as its prior needs
    none. :meth:`calibrate` divides a budget of bits by that rule; a latent without bits stays at its mean.
    """

    levels_L: Tensor
    step_L: Tensor
    centre_L: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.register_buffer("levels_L", torch.ones(latents, dtype=torch.int64))
        self.register_buffer("step_L", torch.ones(latents))
        self.register_buffer("centre_L", torch.zeros(latents))

    def tokens(self, mean_BL: Tensor) -> Tensor:
        """Latent means to integers: mean_BL -> idx_BL, int64 in [0, levels)."""
        idx_BL = ((mean_BL - self.centre_L) / self.step_L + (self.levels_L - 1) / 2).round().long()
        return torch.minimum(idx_BL.clamp(min=0), self.levels_L - 1)

    def values(self, idx_BL: Tensor) -> Tensor:
        """The middle of each quantisation interval: idx_BL -> mean_BL."""
        return (idx_BL - (self.levels_L - 1) / 2) * self.step_L + self.centre_L

    @torch.no_grad()
    def calibrate(self, mean_ML: Tensor, sigma_L: Tensor, bits: int) -> None:
        """Divide ``bits`` among the latents, given many means and the posterior's standard deviations.

        Greedy: bit after bit goes to the latent whose squared error falls most, measured in variances of its
        posterior, since a narrow posterior means that the decoder is sensitive to errors there.
        """
        spread_L = mean_ML.std(0)
        error = torch.tensor(NORMAL_ERROR)
        gain_LB = (spread_L / sigma_L).square()[:, None] * (error[:-1] - error[1:])
        # The error table is convex, so the greedy choice is just the largest gains of all.
        chosen = gain_LB.flatten().topk(bits).indices // gain_LB.shape[1]
        bits_L = torch.bincount(chosen, minlength=len(spread_L))
        self.levels_L.copy_(2**bits_L)
        self.step_L.copy_(torch.tensor(NORMAL_STEP)[bits_L] * spread_L)
        self.centre_L.copy_(mean_ML.mean(0))
