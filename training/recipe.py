"""A recipe: everything that decides a training run, as one TOML file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.nn import build

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Augment(_Section):
    flip: bool = Field(default=True, description="mirror half of the pictures")
    shift: int = Field(default=2, ge=0, le=8, description="largest translation in pixels of the 128-pixel portrait")


class Losses(_Section):
    """Weights of the terms; every term is logged under its name."""

    mse: Weight = 1.0
    commitment: Weight = Field(default=0.25, description="VQ-VAE: pull of the encoder towards its codes")
    kl: Weight = Field(default=0.0, description="VAE: nats per portrait, divided by the numbers in a picture")
    identity: Weight = Field(default=0.0, description="change of SFace's embedding in the linear approximation")
    identity_rank: int = Field(default=384, ge=1, description="directions kept of the identity metric")
    identity_faces: int = Field(default=2048, ge=1, description="faces that the identity metric is measured on")


class Optimise(_Section):
    steps: int = Field(ge=1)
    batch: int = Field(default=64, ge=1)
    learning_rate: Positive = 2e-3
    warmup: int = Field(default=200, ge=0, description="steps of linear warm-up; a cosine to zero follows")
    weight_decay: Weight = 0.01
    clip: Positive = Field(default=1.0, description="largest norm of the gradient")
    ema: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights that are published")


class Recipe(_Section):
    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="the model's name in the store")
    description: str
    seed: int = Field(default=0, ge=0)
    model: dict[str, Any]
    augment: Augment = Augment()
    losses: Losses = Losses()
    optimise: Optimise

    @model_validator(mode="after")
    def _builds(self) -> Self:
        with torch.device("meta"):
            build(self.model)
        if self.model["kind"] == "vae" and not self.losses.kl:
            raise ValueError("losses.kl is 0; a VAE needs a weight above 0, which divides its bits")
        return self


def read_recipe(path: Path) -> Recipe:
    """Parse and check a recipe; ValueError says which file and key is wrong and what is allowed."""
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})"
            if e["loc"]
            else f"{path}: {e['msg']}"
            for e in error.errors()
        ]
        raise ValueError("\n".join(lines)) from error
