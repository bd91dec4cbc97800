"""VQ-VAEs: codes that follow the encoder, over a linear transform or over the classic convolutions."""

import logging
from typing import TypeVar

import torch
from torch import Tensor

from cameo.nn.grid import GridVQVAE
from cameo.nn.vqvae import VQVAE, Quantised, VQVAEOutput
from training.codebook import Codebook
from training.data.portraits import Portraits
from training.initialise import balance, fit_transform, latents, log_advice
from training.kinds.base import Kind
from training.losses import Networks, squared
from training.ranks import ALONE, Ranks
from training.recipe import Recipe

log = logging.getLogger("cameo.training")

Q = TypeVar("Q", bound=Quantised)


class QuantisedKind(Kind[Q]):
    """What both have: a codebook."""

    def __init__(self, model: Q, recipe: Recipe, ranks: Ranks = ALONE) -> None:
        super().__init__(model, recipe, ranks)
        self.codebook = Codebook(model.quantiser, recipe.quantiser)
        self._commitment = 0.0

    @torch.no_grad()
    def initialise(self, data: Portraits, metric_RP: Tensor | None) -> None:
        log.info("starting %d codebooks", len(self.codebook.count_TK))
        self.codebook.start(latents(self.model, data, self.recipe.seed))

    def begin(self, networks: Networks, device: torch.device) -> None:
        self.codebook = Codebook(self.model.quantiser, self.recipe.quantiser)  # its averages on the device
        self.codebook.begin(self.recipe.optimise.batch)

    def terms(self, out: VQVAEOutput, numbers: int, step: int) -> dict[str, Tensor]:
        self._commitment = self.codebook.commitment(self.recipe.losses.commitment)
        return code_terms(out, numbers, self._commitment, learns_codes=self.recipe.quantiser.update == "gradient")

    def after_step(self, out: VQVAEOutput, generator: torch.Generator) -> None:
        self.codebook.update(out.z_BL, out.idx_BT, generator)

    def figures(self) -> dict[str, float]:
        book = self.codebook
        return {"perplexity": book.perplexity, "usage": book.usage, "commitment_cost": self._commitment}

    def fit_quantiser(self, average: Q, z_ML: Tensor) -> None:
        """Codes, which lag behind the encoder, move to the centres of what is assigned to them."""
        self.codebook.refit(average.quantiser, z_ML)

    def state_dict(self) -> dict[str, Tensor]:
        return self.codebook.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.codebook.load_state_dict(state)

    @classmethod
    def alphabet(cls, model: Q) -> int:
        return model.quantiser.codebook_TKD.shape[1]

    @classmethod
    def codebooks(cls, model: Q) -> tuple[int, int]:
        books, codes, _ = model.quantiser.codebook_TKD.shape
        return books, codes


class VQVAEKind(QuantisedKind[VQVAE]):
    """See :mod:`cameo.nn.vqvae`."""

    @torch.no_grad()
    def initialise(self, data: Portraits, metric_RP: Tensor | None) -> None:
        c = self.model.config
        transform = fit_transform(c, self.recipe, data, metric_RP)
        log_advice(self.recipe, transform.spectra)
        transform.install(self.model.encoder, self.model.decoder)
        order_L = balance(transform.variance_L, c.tokens, c.code_dim)
        self.model.encoder.order_L.copy_(order_L)
        self.model.decoder.order_L.copy_(order_L)
        super().initialise(data, metric_RP)


class GridVQVAEKind(QuantisedKind[GridVQVAE]):
    """See :mod:`cameo.nn.grid`: it has no transform that could be fitted."""


def code_terms(out: VQVAEOutput, numbers: int, commitment: float, *, learns_codes: bool) -> dict[str, Tensor]:
    """The pull of the encoder towards its codes, and of the codes towards it where the optimiser learns them."""
    named = {"commitment": commitment * squared(out.z_BL - out.q_BL.detach()) / numbers}
    if learns_codes:
        named["codebook"] = squared(out.z_BL.detach() - out.q_BL) / numbers
    return named
