"""Models. :func:`build` makes one from the ``model`` section of a manifest or a recipe.

A new kind of model is a file of this package with a network and a dataclass of its settings, and a line in ``KINDS``;
how it is trained is in a file of :mod:`training.kinds`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from cameo.nn.blocks import Autoencoder as Model
from cameo.nn.grid import GridVQVAE, GridVQVAEConfig
from cameo.nn.progressive import Progressive, ProgressiveConfig
from cameo.nn.vae import VAE, VAEConfig
from cameo.nn.vqvae import VQVAE, VQVAEConfig

__all__ = ["KINDS", "Model", "build"]

MOST_NUMBER, MOST_DEPTH = 2**16, 64  # of a setting: what stands in a manifest is built before it is known to be sane

KINDS: dict[str, tuple[type[Model], type[Any]]] = {
    "vae": (VAE, VAEConfig),
    "vqvae": (VQVAE, VQVAEConfig),
    "vqvae-grid": (GridVQVAE, GridVQVAEConfig),
    "progressive": (Progressive, ProgressiveConfig),
}


def build(config: Mapping[str, Any]) -> Model:
    """A model with random weights from ``{"kind": one of KINDS, ...}``, where the rest are its settings.

    ValueError names what is wrong.
    """
    settings = dict(config)
    kind = settings.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"model.kind is {kind!r}; allowed: {', '.join(KINDS)}")
    model, model_config = KINDS[kind]
    names = [field.name for field in fields(model_config)]
    if unknown := sorted(settings.keys() - set(names)):
        raise ValueError(f"model has the unknown keys {unknown}; {kind} takes {names}")
    needed = [field.name for field in fields(model_config) if field.default is MISSING]
    if missing := [name for name in needed if name not in settings]:
        raise ValueError(f"model lacks {missing}, which {kind} needs")
    if "latents" in settings:
        latents = settings["latents"]
        if not isinstance(latents, list | tuple) or not latents:
            raise ValueError(f"model.latents is {latents!r}; it must list the latents of each block of bands")
        settings["latents"] = tuple(latents)
    for name, value in settings.items():
        for number in value if name == "latents" else (value,):
            most = MOST_DEPTH if name == "depth" else MOST_NUMBER
            if type(number) is not int or not 1 <= number <= most:
                raise ValueError(f"model.{name} has the value {number!r}; it must be a whole number from 1 to {most}")
    if settings["size"] not in (64, 128):
        raise ValueError(f"model.size is {settings['size']}; portraits are 64 or 128 pixels")
    return model(model_config(**settings))
