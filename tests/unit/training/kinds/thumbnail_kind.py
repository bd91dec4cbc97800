"""How it is trained: what would be ``training/kinds/thumbnail.py``."""

import torch
from torch import Tensor

from tests.unit.training.kinds.thumbnail import Thumbnail
from training.kinds import Kind


class ThumbnailKind(Kind[Thumbnail]):
    """Noise in every step is all that is special to it."""

    def inputs(self, x_BCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        noise_BL = torch.rand(self.recipe.optimise.batch, self.model.levels.size, generator=generator) - 0.5
        return (self.share(noise_BL).to(x_BCHW.device),)

    @classmethod
    def alphabet(cls, model: Thumbnail) -> int:
        return model.config.values
