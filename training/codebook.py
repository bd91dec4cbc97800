"""How the codes of a VQ-VAE are learnt: where they start, how they follow the encoder, what becomes of dead ones."""

import torch
import torch.distributed as dist
from torch import Tensor

from cameo.nn.quantise import VectorQuantiser, nearest
from training.recipe import Quantiser

HALF_A_CODE = 0.5  # of the mean usage: the most that a revived code takes from the code it copies
LLOYD_ROUNDS = 8  # at the start
ENOUGH = 65_536  # vectors that k-means looks at


class Codebook:
    """The codes of a quantiser and how much each is used.

    ``count_TK`` and ``sum_TKD`` are moving averages, a step, of how many vectors a code has and of their sum; their
    quotient is the code (van den Oord et al. 2017, appendix A.1). With ``update = "gradient"`` the codes are
    learnt by the optimiser instead, and the counts only tell which are in use.
    """

    def __init__(self, quantiser: VectorQuantiser, settings: Quantiser) -> None:
        self.quantiser, self.settings = quantiser, settings
        code_TKD = quantiser.codebook_TKD
        code_TKD.requires_grad_(settings.update == "gradient")
        self.count_TK = torch.ones(code_TKD.shape[:2], device=code_TKD.device)
        self.sum_TKD = torch.zeros_like(code_TKD.data)
        self._measure()

    @torch.no_grad()
    def start(self, z_ML: Tensor) -> None:
        """Put the codes where k-means finds the latents z_ML, or at random, as the recipe says.

        ValueError when there are fewer latents than codes.
        """
        code_TKD = self.quantiser.codebook_TKD
        z_TMD = some(self.quantiser.by_codebook(z_ML))
        codes, vectors = code_TKD.shape[1], z_TMD.shape[1]
        if self.settings.start == "random":
            code_TKD.uniform_(-1 / codes, 1 / codes)
            return
        if vectors < codes:
            raise ValueError(f"{len(z_ML)} portraits cannot start {codes} codes; give at least {codes}")
        code_TKD.copy_(some(z_TMD, codes))
        lloyd(code_TKD, z_TMD, LLOYD_ROUNDS)

    @torch.no_grad()
    def begin(self, batch: int) -> None:
        """Set the averages as if every code had had its share of each batch so far, and moves were over."""
        tokens, (books, codes) = self.quantiser.shape[0], self.count_TK.shape
        self.count_TK.fill_(batch * tokens / books / codes)
        self.sum_TKD.copy_(self.quantiser.codebook_TKD * self.count_TK[..., None])
        self._measure()

    @torch.no_grad()
    def update(self, z_BL: Tensor, idx_BT: Tensor, generator: torch.Generator) -> None:
        """After a step: latents and their tokens, of this process's part of the batch.

        ``generator`` lives on the CPU, and is at the same place in all processes.
        """
        z_TMD = self.quantiser.by_codebook(z_BL.detach().float())
        idx_TM = idx_BT.T if len(self.count_TK) > 1 else idx_BT.reshape(1, -1)
        used_TK, sum_TKD = tally(z_TMD, idx_TM, self.count_TK.shape[1])
        if dist.is_initialized():
            dist.all_reduce(used_TK)
            dist.all_reduce(sum_TKD)
        self.count_TK.lerp_(used_TK, 1 - self.settings.decay)
        self.sum_TKD.lerp_(sum_TKD, 1 - self.settings.decay)
        if self.settings.revive:
            self._revive(generator)
        if self.settings.update == "ema":
            torch.div(self.sum_TKD, self.count_TK[..., None].clamp(min=1e-6), out=self.quantiser.codebook_TKD.data)
        self._measure()

    def _revive(self, generator: torch.Generator) -> None:
        """Move each dead code beside one in use, drawn by its usage: the two divide its vectors between them.

        Compare Jukebox (Dhariwal et al. 2020), which moves dead codes onto vectors of the batch.
        """
        mean_T1 = self.count_TK.mean(1, keepdim=True)
        dead_TK = self.count_TK < self.settings.revive * mean_T1
        t, k = dead_TK.nonzero(as_tuple=True)
        if not len(t):
            return
        usage_TK = self.count_TK.masked_fill(dead_TK, 0).cpu()
        parent = torch.multinomial(usage_TK[t.cpu()], 1, generator=generator)[:, 0].to(t.device)
        code_TKD = self.quantiser.codebook_TKD.data
        spread = code_TKD[t].std(1) * self.settings.revive_noise
        noise = torch.randn(spread.shape, generator=generator).to(spread.device)
        code_TKD[t, k] = code_TKD[t, parent] + spread * noise
        self.count_TK[t, k] = mean_T1[t, 0].minimum(HALF_A_CODE * self.count_TK[t, parent])
        self.sum_TKD[t, k] = code_TKD[t, k] * self.count_TK[t, k, None]

    def _measure(self) -> None:
        """How even the recent use of the codes is.

        ``perplexity`` is the exponential of the entropy of a codebook's use, averaged over codebooks: K when all its
        codes are used alike. ``usage`` is the share of codes that are used at least a twentieth of the mean.
        """
        share_TK = self.count_TK / self.count_TK.sum(1, keepdim=True)
        perplexity = torch.special.entr(share_TK).sum(1).exp().mean()
        usage = (share_TK > 0.05 / share_TK.shape[1]).float().mean()
        self.perplexity: float
        self.usage: float
        self.perplexity, self.usage = torch.stack([perplexity, usage]).tolist()

    def commitment(self, cost: float) -> float:
        """The commitment cost for now: the less even the use of the codes, the freer the encoder is to move."""
        return cost * (1 - self.settings.anneal * (1 - self.perplexity / self.count_TK.shape[1]))

    @torch.no_grad()
    def refit(self, quantiser: VectorQuantiser, z_ML: Tensor) -> None:
        """At the end: move the codes of the averaged model, which lag behind its encoder, to the latents z_ML."""
        lloyd(quantiser.codebook_TKD, some(quantiser.by_codebook(z_ML)), self.settings.refit)

    def state_dict(self) -> dict[str, Tensor]:
        return {"count_TK": self.count_TK, "sum_TKD": self.sum_TKD}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.count_TK.copy_(state["count_TK"])
        self.sum_TKD.copy_(state["sum_TKD"])
        self._measure()


def some(z_TMD: Tensor, most: int = ENOUGH) -> Tensor:
    """At most so many of the vectors, at random."""
    return z_TMD[:, torch.randperm(z_TMD.shape[1])[:most]]


def lloyd(codebook_TKD: Tensor, z_TMD: Tensor, rounds: int) -> None:
    """Rounds of k-means (Lloyd 1982) from where the codes are; a code that nothing is near moves to a vector."""
    codes = codebook_TKD.shape[1]
    for t, z_1MD in enumerate(z_TMD.split(1)):  # a codebook at a time, which bounds the memory
        code_1KD = codebook_TKD.data[t : t + 1]
        for _ in range(rounds):
            used_1K, sum_1KD = tally(z_1MD, nearest(z_1MD, code_1KD), codes)
            spare_1KD = z_1MD[:, torch.randint(z_1MD.shape[1], (codes,))]
            code_1KD = torch.where(used_1K[..., None] > 0, sum_1KD / used_1K[..., None].clamp(min=1), spare_1KD)
        codebook_TKD.data[t] = code_1KD[0]


def tally(z_TMD: Tensor, idx_TM: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """How many vectors each code has, and their sum: used_TK, sum_TKD."""
    used_TK = z_TMD.new_zeros(len(z_TMD), codes).scatter_add_(1, idx_TM, torch.ones_like(z_TMD[..., 0]))
    sum_TKD = z_TMD.new_zeros(len(z_TMD), codes, z_TMD.shape[2])
    return used_TK, sum_TKD.scatter_add_(1, idx_TM[..., None].expand_as(z_TMD), z_TMD)
