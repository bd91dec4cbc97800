"""The VAE: a linear start by probabilistic PCA, noise in every step, bits divided at the end."""

import torch
from torch import Tensor

from cameo.nn.blocks import to_pixels, to_signal
from cameo.nn.vae import VAE, VAEOutput
from training.data.portraits import Portraits
from training.initialise import fit_transform, log_advice
from training.kinds.base import Kind
from training.recipe import Losses, Recipe


class VAEKind(Kind[VAE]):
    """See :mod:`cameo.nn.vae`."""

    @classmethod
    def validate(cls, recipe: Recipe) -> None:
        super().validate(recipe)
        if not recipe.losses.kl:
            raise ValueError("losses.kl is 0; a VAE needs a weight above 0, which divides its bits")

    @torch.no_grad()
    def initialise(self, data: Portraits, metric_RP: Tensor | None) -> None:
        # Probabilistic PCA: the prior is standard normal, the posterior as sharp as the weight of KL makes it.
        transform = fit_transform(self.model.config, self.recipe, data, metric_RP)
        log_advice(self.recipe, transform.spectra)
        variance_L = transform.variance_L
        posterior_L = (self.recipe.losses.kl / 2 / variance_L).clamp(max=0.99)
        scale_L = ((1 - posterior_L) / variance_L).sqrt()
        self.model.logvar_L.copy_(posterior_L.log())
        transform.scale(scale_L, variance_L * scale_L)
        transform.install(self.model.encoder, self.model.decoder)

    def inputs(self, x_BCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        noise_BL = torch.randn(self.recipe.optimise.batch, len(self.model.logvar_L), generator=generator)
        return (self.share(noise_BL).to(x_BCHW.device),)

    def terms(self, out: VAEOutput, numbers: int, step: int) -> dict[str, Tensor]:
        return {"kl": kl_weight(self.recipe.losses, step) * out.kl / numbers}

    @torch.inference_mode()
    def reconstruct(self, average: VAE, pixels_BCHW: Tensor) -> Tensor:
        """Through its means as they are: bits are divided at the end only."""
        return to_pixels(average.decoder(average.encoder(to_signal(pixels_BCHW))))

    def fit_quantiser(self, average: VAE, z_ML: Tensor) -> None:
        """Bits are divided by the posterior that training ended with."""
        average.quantiser.calibrate(z_ML, (0.5 * average.logvar_L).exp(), average.config.bits)

    @classmethod
    def unfinished(cls, model: VAE, *, finished: bool) -> str | None:
        return None if model.coding().bits else "a VAE has tokens only at its end"


def kl_weight(weights: Losses, step: int) -> float:
    """The weight of the KL term in this step."""
    return weights.kl * min(1.0, (step + 1) / max(1, weights.kl_warmup))
