"""The terms of the training loss, each with a name."""

import torch.nn.functional as F
from torch import Tensor

from app.nn.vae import VAEOutput
from app.nn.vqvae import VQVAEOutput
from training.recipe import Losses


def terms(out: VAEOutput | VQVAEOutput, x_BCHW: Tensor, weights: Losses, metric_RP: Tensor | None) -> dict[str, Tensor]:
    """Weighted scalars by name, whose sum is the loss. Pictures are in [-1, 1]."""
    named = {"mse": weights.mse * F.mse_loss(out.picture_BCHW, x_BCHW)}
    if isinstance(out, VAEOutput):
        named["kl"] = weights.kl * out.kl / x_BCHW[0].numel()
    else:
        named["commitment"] = weights.commitment * out.commitment / x_BCHW[0].numel()
    if metric_RP is not None:
        change_BR = (out.picture_BCHW - x_BCHW).flatten(1) @ metric_RP.T
        named["identity"] = weights.identity * change_BR.square().sum(1).mean()
    return named
