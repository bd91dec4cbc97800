"""Quantisers that follow their encoder: during a run the order of a progressive code, at its end all of them."""

import torch
from torch import Tensor, nn

from cameo.codec import OVERHEAD
from cameo.nn import Model
from cameo.nn.progressive import Progressive
from cameo.nn.vae import VAE
from training.codebook import Codebook
from training.data.portraits import Portraits
from training.initialise import FEWER, STARTERS, latents
from training.planes import fit_planes, fit_step
from training.prior import fit_prior
from training.ranks import Ranks
from training.recipe import Recipe


@torch.no_grad()
def finish(average: Model, codebook: Codebook | None, data: Portraits, recipe: Recipe) -> None:
    """Fit the quantiser to the averaged encoder, on training portraits.

    A VAE's bits are divided by the posterior that training ended with; a VQ-VAE's codes, which lag behind the
    encoder by their moving average, move to the centres of what is assigned to them; a progressive code is put in
    order, and the prior of its tokens is learnt.
    """
    torch.manual_seed(recipe.seed)  # k-means draws
    device = next(average.parameters()).device
    z_ML = latents(average, data, recipe.seed, len(data) if isinstance(average, Progressive) else STARTERS)
    average.cpu()
    if isinstance(average, VAE):
        average.quantiser.calibrate(z_ML, (0.5 * average.logvar_L).exp(), average.config.bits)
    elif isinstance(average, Progressive):
        fit_prior(average, z_ML / fit_scale(average, z_ML, recipe), recipe.quantiser.prior_steps)
    elif codebook:
        codebook.refit(average.quantiser, z_ML)
    average.to(device)


@torch.no_grad()
def reorder(model: Progressive, average: Model, data: Portraits, recipe: Recipe, ranks: Ranks) -> None:
    """Put the tokens in the order that suits the encoder as it is by now."""
    assert isinstance(average, Progressive)
    step = torch.ones(1, device=next(model.parameters()).device)
    if ranks.writer:
        step.fill_(fit_scale(model, latents(model, data, recipe.seed, FEWER), recipe))
    ranks.share(model)
    ranks.broadcast(step)
    rescale(average, float(step))
    average.planes.load_state_dict(model.planes.state_dict())


@torch.no_grad()
def fit_scale(model: Progressive, z_ML: Tensor, recipe: Recipe) -> float:
    """Divide latents by the step at which all tokens take the largest budget, and order them; the step.

    Between two such times the encoder learns to spread its latents, which makes each token tell more and cost more.
    """
    device = next(model.parameters()).device
    step = fit_step(model.planes.cpu(), z_ML, 8 * (recipe.quantiser.most_bytes - OVERHEAD))
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
