"""A recipe: everything that decides a training run, as one TOML file."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cameo.nn import build
from training.toml import read_toml

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Augment(_Section):
    """Strengths, see :mod:`training.data.augment`. At 0, or a zoom of 1, an augmentation is off and costs nothing.

    Each picture draws its own: a factor in 1 - s to 1 + s for the four of Pillow's ``ImageEnhance``, for the others
    anything up to the strength.
    """

    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a mirror image")
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)
    sharpness: float = Field(default=0.0, ge=0, le=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    rotation: float = Field(default=0.0, ge=0, le=45, description="degrees, either way")
    noise: float = Field(default=0.0, ge=0, le=0.5, description="standard deviation as a share of 255")
    translation: int = Field(default=2, ge=0, le=8, description="whole pixels of the 128-pixel portrait, either way")
    blur: float = Field(default=0.0, ge=0, le=4, description="sigma in pixels of the 128-pixel portrait")
    zoom: float = Field(default=1.0, ge=0.5, le=1, description="smallest share of the portrait's width that is shown")


class Losses(_Section):
    """Weights of the terms; every term is logged under its name."""

    mse: Weight = Field(default=1.0, description="mean squared error, pictures in [-1, 1]")
    l1: Weight = Field(default=0.0, description="mean absolute error")
    commitment: Weight = Field(default=0.25, description="VQ-VAE: pull of the encoder towards its codes")
    kl: Weight = Field(default=0.0, description="VAE: nats per portrait, divided by the numbers in a picture")
    kl_warmup: int = Field(default=0, ge=0, description="steps in which the weight of kl rises from zero")
    perceptual: Weight = Field(default=0.0, description="distance of VGG-16's features; needs --vgg")
    perceptual_faces: int = Field(default=16, ge=1, description="faces of a batch that the perceptual loss sees")
    identity: Weight = Field(default=0.0, description="change of embeddings in the linear approximation")
    identity_rank: int = Field(default=384, ge=1, description="directions kept of the identity metric")
    identity_faces: int = Field(default=2048, ge=1, description="faces that the identity metric is measured on")
    rate: Weight = Field(default=0.0, description="progressive code: bits that latents take, at the price of each step")
    lpips: Weight = Field(default=0.0, description="LPIPS with AlexNet; needs --lpips")
    lpips_faces: int = Field(default=64, ge=1, description="faces of a batch that LPIPS sees")
    recognisers: tuple[Literal["sface", "faceres"], ...] = Field(
        default=("sface",), min_length=1, description="whose eyes identity, likeness and face_features see with"
    )
    likeness: Weight = Field(default=0.0, description="1 - cosine of embeddings, by the networks themselves")
    likeness_faces: int = Field(default=16, ge=1, description="faces of a batch that the likeness loss sees")
    likeness_jitter: float = Field(
        default=0.0, ge=0, le=0.25, description="how far recognisers' crops stray, share of the width; both alike"
    )
    likeness_blur: float = Field(
        default=0.0, ge=0, le=2, description="strongest blur of what recognisers see, sigma in pixels; both alike"
    )
    contrast: float = Field(
        default=0.0, ge=0, description="part of likeness: that a face is told from others, not only like its own"
    )
    face_features: Weight = Field(default=0.0, description="distance of recognisers' feature maps, on the same faces")
    late: int = Field(default=0, ge=0, description="steps before the terms of whole networks begin")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not self.mse + self.l1:
            raise ValueError("losses.mse and losses.l1 are both 0; one of them must hold the picture in place")
        if self.contrast and not self.likeness:
            raise ValueError(f"losses.contrast is {self.contrast}, a part of losses.likeness, which is 0")
        return self


class Quantiser(_Section):
    """VQ-VAE: how its codes are learnt; progressive code: the budgets that it is learnt at."""

    start: Literal["kmeans", "random"] = "kmeans"
    update: Literal["ema", "gradient"] = Field(default="ema", description="moving averages, or the optimiser")
    decay: float = Field(default=0.99, ge=0, lt=1, description="of the moving averages, a step")
    anneal: float = Field(default=0.0, ge=0, le=1, description="share of the commitment cost that follows code usage")
    revive: float = Field(default=0.05, ge=0, lt=1, description="a code used less than this share of the mean is dead")
    revive_noise: Weight = Field(default=0.05, description="of a revived code, in standard deviations of its codebook")
    refit: int = Field(default=3, ge=0, description="rounds of k-means at the end of training")
    least_bytes: int = Field(default=32, ge=8, description="payload bytes that a face is trained at, from")
    most_bytes: int = Field(default=320, ge=8, description="to, evenly on a logarithmic scale")
    searched: float = Field(
        default=0.0, ge=0, le=1, description="share of a batch whose tokens are searched for, as the service does"
    )
    search_rounds: int = Field(default=2, ge=1, description="of such a search")
    reorders: int = Field(default=0, ge=0, description="times in a run that its order of tokens follows the encoder")
    prior_steps: int = Field(default=900, ge=1, description="steps in which its prior is learnt at the end")


class Optimise(_Section):
    steps: int | None = Field(default=None, ge=1, description="length of the run, or else:")
    epochs: int | None = Field(default=None, ge=1, description="times that every portrait is seen")
    batch: int = Field(default=64, ge=1, description="of all processes together")
    learning_rate: Positive = 2e-3
    transform: float = Field(
        default=0.0, ge=0, le=1, description="share of learning_rate at which the linear transform learns; 0: frozen"
    )
    encoder: bool = Field(default=True, description="whether the encoder learns; false: the decoder alone does")
    refit: bool = Field(default=False, description="with --from: take its networks, but fit the transform anew")
    warmup: int = Field(default=200, ge=0, description="steps of linear warm-up; a cosine to zero follows")
    weight_decay: Weight = 0.01
    clip: Positive = Field(default=1.0, description="largest norm of the gradient")
    ema: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights that are published")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of the matrix products")
    channels_last: bool = Field(default=False, description="memory layout of the convolutions")

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("optimise needs either steps or epochs")
        return self

    def length(self, portraits: int) -> int:
        """Steps of a run on so many portraits."""
        return self.steps or (self.epochs or 0) * (portraits // self.batch)


class Recipe(_Section):
    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="the model's name in the store")
    description: str
    seed: int = Field(default=0, ge=0)
    model: dict[str, Any]
    augment: Augment = Augment()
    losses: Losses = Losses()
    quantiser: Quantiser = Quantiser()
    optimise: Optimise

    @model_validator(mode="after")
    def _builds(self) -> Self:
        with torch.device("meta"):
            build(self.model)
        from training.kinds import kind_named  # noqa: PLC0415 - kinds need recipes

        kind_named(self.model).validate(self)
        return self


def read_recipe(path: Path) -> Recipe:
    """Parse and check a recipe; ValueError lists all that is wrong, each with file, line, and what is allowed."""
    return read_toml(path, Recipe)
