"""The progressive code: a budget for every face in every step, tokens in order, and a prior at the end."""

import logging
import math

import torch
from torch import Tensor, nn

from cameo.codec import OVERHEAD
from cameo.faces.recogniser import Recogniser
from cameo.nn.progressive import CODES, Progressive, ProgressiveOutput
from cameo.nn.search import search_shifts
from training.data.portraits import Portraits
from training.initialise import FEWER, fit_transform, latents
from training.kinds.base import Kind
from training.losses import Networks
from training.planes import fit_planes, fit_step, prefix
from training.prior import fit_prior
from training.ranks import ALONE, Ranks
from training.recipe import Quantiser, Recipe

log = logging.getLogger("cameo.training")

RATES = (32, 48, 64, 96, 128, 192, 256, 320)  # bytes that it is measured at
DEFAULT_RATE = 96
SEARCHES_WITH = "sface"  # the recogniser that the service searches with


class ProgressiveKind(Kind[Progressive]):
    """See :mod:`cameo.nn.progressive`."""

    default_rate = DEFAULT_RATE

    def __init__(self, model: Progressive, recipe: Recipe, ranks: Ranks = ALONE) -> None:
        super().__init__(model, recipe, ranks)
        self._recogniser: Recogniser | None = None

    @classmethod
    def validate(cls, recipe: Recipe) -> None:
        """All recipes will do."""

    @torch.no_grad()
    def initialise(self, data: Portraits, metric_RP: Tensor | None) -> None:
        transform = fit_transform(self.model.config, self.recipe, data, metric_RP)
        z_ML = transform.latents(FEWER)
        planes = self.model.planes
        step = fit_step(planes, z_ML, 8 * self.recipe.quantiser.most_bytes)
        fit_planes(planes, z_ML / step)
        log.info("the finest of %d planes is a step of %.3g", planes.planes, step)
        one_L = torch.ones_like(transform.variance_L)
        transform.scale(one_L / step, one_L * step)
        transform.install(self.model.encoder, self.model.decoder)

    def begin(self, networks: Networks, device: torch.device) -> None:
        if self.recipe.quantiser.searched:
            self._recogniser = networks.recogniser(SEARCHES_WITH).to(device)

    def before_step(self, step: int, steps: int, average: Progressive, data: Portraits) -> None:
        """At times, put the tokens in the order that suits the encoder as it is by now."""
        reorders = self.recipe.quantiser.reorders
        if step in {(i + 1) * steps // (reorders + 1) for i in range(reorders)}:
            self._reorder(average, data)

    @torch.no_grad()
    def _reorder(self, average: Progressive, data: Portraits) -> None:
        model = self.model
        step = torch.ones(1, device=next(model.parameters()).device)
        if self.ranks.writer:
            step.fill_(fit_scale(model, latents(model, data, self.recipe.seed, FEWER), self.recipe.quantiser))
        self.ranks.share(model)
        self.ranks.broadcast(step)
        rescale(average, float(step))
        average.planes.load_state_dict(model.planes.state_dict())

    def inputs(self, x_BCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """How many tokens each face may have; and where its latents go by a search, if the recipe wants some."""
        q = self.recipe.quantiser
        least, most = math.log(q.least_bytes - OVERHEAD), math.log(q.most_bytes - OVERHEAD)
        share_B = torch.rand(self.recipe.optimise.batch, generator=generator)
        budget_B = 8 * (least + (most - least) * share_B).exp()
        count_B = self.share(prefix(self.model.planes.bits_T.cpu(), budget_B)).to(x_BCHW.device)
        if self._recogniser is None:
            return (count_B,)
        return count_B, search_some(self.model, self._recogniser, x_BCHW, count_B, q)

    def terms(self, out: ProgressiveOutput, numbers: int, step: int) -> dict[str, Tensor]:
        return {"rate": self.recipe.losses.rate * rate(out) / numbers}

    def reconstruct(self, average: Progressive, pixels_BCHW: Tensor) -> Tensor:
        """By about as many tokens as the default rate holds."""
        budget_1 = torch.tensor([8.0 * (DEFAULT_RATE - OVERHEAD)])
        count = int(prefix(average.planes.bits_T.cpu(), budget_1))
        return average.decode(average.encode(pixels_BCHW)[:, :count])

    def fitted_to(self, data: Portraits) -> int:
        return len(data)

    def fit_quantiser(self, average: Progressive, z_ML: Tensor) -> None:
        """Tokens are put in order, and their prior is learnt."""
        q = self.recipe.quantiser
        fit_prior(average, z_ML / fit_scale(average, z_ML, q), q.prior_steps)

    @classmethod
    def unfinished(cls, model: Progressive, *, finished: bool) -> str | None:
        return None if finished else "a progressive code has a prior only at its end"

    @classmethod
    def rates(cls, model: Progressive) -> tuple[int, ...]:
        return RATES

    @classmethod
    def alphabet(cls, model: Progressive) -> int:
        return CODES


def search_some(model: Progressive, recogniser: Recogniser, x_BCHW: Tensor, count_B: Tensor, q: Quantiser) -> Tensor:
    """Search for better tokens of the first faces of a batch, ``q.searched`` of them: shift_BL of latents, in steps.

    The decoder learns to draw such tokens only if it sees them.
    """
    some = round(q.searched * len(x_BCHW))
    shift_BL = search_shifts(model, recogniser, x_BCHW[:some], count_B[:some], q.search_rounds)
    return torch.cat([shift_BL, shift_BL.new_zeros(len(x_BCHW) - some, shift_BL.shape[1])])


def rate(out: ProgressiveOutput) -> Tensor:
    """What latents cost, in squares of the finest step a face: log2(1 + |z| / step) bits, at a price of step^2 each.

    On the curve of a uniform quantiser's error over its bits that is, up to a factor, the slope.
    """
    bits_BL = (1 + out.z_BL.abs() / out.step_BL.clamp(min=1)).log2()
    return (out.step_BL.square() * bits_BL).sum(1).mean()


@torch.no_grad()
def fit_scale(model: Progressive, z_ML: Tensor, q: Quantiser) -> float:
    """Divide latents by the step at which all tokens take the largest budget, and order them; the step.

    Between two such times the encoder learns to spread its latents, which makes each token tell more and cost more.
    """
    device = next(model.parameters()).device
    step = fit_step(model.planes.cpu(), z_ML, 8 * (q.most_bytes - OVERHEAD))
    fit_planes(model.planes, z_ML / step)
    model.planes.to(device)
    rescale(model, step)
    return step


@torch.no_grad()
def rescale(model: Progressive, step: float) -> None:
    """Latents in units of ``step``: the encoder divides by it, the decoder multiplies."""
    for into, out in zip(model.encoder.to_latents, model.decoder.from_latents, strict=True):
        assert isinstance(into, nn.Linear)
        assert isinstance(out, nn.Linear)
        into.weight.div_(step)
        into.bias.div_(step)
        out.weight.mul_(step)
