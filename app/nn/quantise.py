"""Quantisers: latents in, integer tokens out, and back.

Both have ``tokens(z_BL)`` and ``values(idx)``, which need nothing but the module's own state.
"""

import torch
from torch import Tensor, nn

DECAY = 0.99  # of the codebooks' moving averages, a step
REVIVE_BELOW = 0.05  # a code used less than this share of the mean usage is dead


class VectorQuantiser(nn.Module):
    """Product VQ: L latents are cut into T tokens of D latents, each token with its own codebook of K codes.

    The codebooks follow an exponential moving average of the vectors assigned to them (van den Oord et al.
    2017, appendix A.1) after a k-means start; dead codes are moved onto vectors of the batch (Jukebox,
    Dhariwal et al. 2020).

    codebook_TKD: T codebooks of K codes of D numbers.
    """

    codebook_TKD: Tensor
    count_TK: Tensor
    sum_TKD: Tensor

    def __init__(self, tokens: int, codes: int, code_dim: int) -> None:
        super().__init__()
        self.shape = (tokens, code_dim)
        self.register_buffer("codebook_TKD", torch.zeros(tokens, codes, code_dim))
        # What only training needs is not published.
        self.register_buffer("count_TK", torch.ones(tokens, codes), persistent=False)
        self.register_buffer("sum_TKD", torch.zeros(tokens, codes, code_dim), persistent=False)

    def tokens(self, z_BL: Tensor) -> Tensor:
        """The nearest code of every codebook: z_BL -> idx_BT, int64 in [0, K)."""
        return nearest(self._split(z_BL), self.codebook_TKD).T

    def values(self, idx_BT: Tensor) -> Tensor:
        """The codes themselves: idx_BT -> z_BL."""
        token = torch.arange(self.shape[0], device=idx_BT.device)
        return self.codebook_TKD[token, idx_BT].flatten(1)

    def forward(self, z_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Straight-through values z_BL, tokens idx_BT, and the commitment loss (summed over L, mean over B).

        In training mode the codebooks are updated, too.
        """
        idx_BT = self.tokens(z_BL.detach())
        if self.training:
            self._update(self._split(z_BL.detach()), idx_BT.T)
        q_BL = self.values(idx_BT)
        return z_BL + (q_BL - z_BL).detach(), idx_BT, (z_BL - q_BL).square().sum(1).mean()

    def _split(self, z_BL: Tensor) -> Tensor:
        z_TBD: Tensor = z_BL.unflatten(1, self.shape).transpose(0, 1)
        return z_TBD

    @torch.no_grad()
    def _update(self, z_TBD: Tensor, idx_TB: Tensor) -> None:
        used_TK, sum_TKD = tally(z_TBD, idx_TB, self.codebook_TKD.shape[1])
        self.count_TK.lerp_(used_TK, 1 - DECAY)
        self.sum_TKD.lerp_(sum_TKD, 1 - DECAY)
        mean_count = z_TBD.shape[1] / self.codebook_TKD.shape[1]
        t, k = (self.count_TK < REVIVE_BELOW * mean_count).nonzero(as_tuple=True)
        if len(t):
            # At the mean usage at once: a code that starts near zero would be found dead again.
            self.sum_TKD[t, k] = z_TBD[t, torch.randint(z_TBD.shape[1], t.shape, device=t.device)] * mean_count
            self.count_TK[t, k] = mean_count
        torch.div(self.sum_TKD, self.count_TK[..., None], out=self.codebook_TKD)

    @torch.no_grad()
    def start(self, z_ML: Tensor, batch: int) -> None:
        """Put the codes where k-means finds the latents z_ML; ``batch`` is that of the training to come.

        ValueError when there are fewer latents than codes.
        """
        codes = self.codebook_TKD.shape[1]
        if len(z_ML) < codes:
            raise ValueError(f"{len(z_ML)} portraits cannot start {codes} codes; give at least {codes}")
        self.codebook_TKD.copy_(self._split(z_ML)[:, torch.randperm(len(z_ML))[:codes]])
        self.refit(z_ML, rounds=8)
        self.count_TK.fill_(batch / codes)
        self.sum_TKD.copy_(self.codebook_TKD * self.count_TK[..., None])

    @torch.no_grad()
    def refit(self, z_ML: Tensor, rounds: int) -> None:
        """Rounds of k-means (Lloyd 1982) from where the codes are; a code that nothing is near moves to a latent."""
        codes = self.codebook_TKD.shape[1]
        for t, z_TMD in enumerate(self._split(z_ML).split(1)):  # a codebook at a time, which bounds the memory
            code_TKD = self.codebook_TKD[t : t + 1]
            for _ in range(rounds):
                used_TK, sum_TKD = tally(z_TMD, nearest(z_TMD, code_TKD), codes)
                spare_TKD = z_TMD[:, torch.randint(len(z_ML), (codes,))]
                code_TKD = torch.where(used_TK[..., None] > 0, sum_TKD / used_TK[..., None].clamp(min=1), spare_TKD)
            self.codebook_TKD[t] = code_TKD[0]


def nearest(z_TMD: Tensor, codebook_TKD: Tensor) -> Tensor:
    """For each vector the index of the code at the least Euclidean distance: idx_TM."""
    # |z - c|^2 without |z|^2, which all codes share.
    return torch.baddbmm(codebook_TKD.square().sum(2)[:, None], z_TMD, codebook_TKD.mT, alpha=-2).argmin(2)


def tally(z_TMD: Tensor, idx_TM: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """How many vectors each code has, and their sum: used_TK, sum_TKD."""
    used_TK = z_TMD.new_zeros(len(z_TMD), codes).scatter_add_(1, idx_TM, torch.ones_like(z_TMD[..., 0]))
    sum_TKD = z_TMD.new_zeros(len(z_TMD), codes, z_TMD.shape[2])
    return used_TK, sum_TKD.scatter_add_(1, idx_TM[..., None].expand_as(z_TMD), z_TMD)


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
        posterior, since the posterior's precision tells how much the decoder minds an error there.
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
