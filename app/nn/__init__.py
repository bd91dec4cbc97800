"""Models. :func:`build` makes one from the ``model`` section of a manifest or a recipe."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from app.nn.vae import VAE, VAEConfig
from app.nn.vqvae import VQVAE, VQVAEConfig

Model = VAE | VQVAE

_KINDS: dict[str, tuple[type[Any], type[Any]]] = {"vae": (VAE, VAEConfig), "vqvae": (VQVAE, VQVAEConfig)}


def build(config: Mapping[str, Any]) -> Model:
    """A model with random weights from ``{"kind": "vae" | "vqvae", ...}``; ValueError names what is wrong."""
    settings = dict(config)
    kind = settings.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"model.kind is {kind!r}; allowed: {', '.join(_KINDS)}")
    model, model_config = _KINDS[kind]
    names = [field.name for field in fields(model_config)]
    if unknown := sorted(settings.keys() - set(names)):
        raise ValueError(f"model has the unknown keys {unknown}; {kind} takes {names}")
    if missing := [name for name in names if name not in settings]:
        raise ValueError(f"model lacks {missing}, which {kind} needs")
    latents = settings["latents"]
    if not isinstance(latents, list | tuple) or not latents:
        raise ValueError(f"model.latents is {latents!r}; it must list the latents of each block of bands")
    settings["latents"] = tuple(latents)
    numbers = [(name, value) for name, value in settings.items() if name != "latents"]
    for name, value in [*numbers, *(("latents", value) for value in latents)]:
        if type(value) is not int or value < 1:
            raise ValueError(f"model.{name} has the value {value!r}; it must be a whole number of at least 1")
    size, patch = settings["size"], settings["patch"]
    if size not in (64, 128):
        raise ValueError(f"model.size is {size}; portraits are 64 or 128 pixels")
    if size % patch:
        raise ValueError(f"model.patch is {patch}; it must divide model.size, which is {size}")
    if settings["bands"] > 3 * patch**2 or settings["bands"] % len(latents):
        raise ValueError(f"model.bands is {settings['bands']}; at most {3 * patch**2}, in {len(latents)} equal blocks")
    if kind == "vqvae" and sum(latents) != settings["tokens"] * settings["code_dim"]:
        raise ValueError(f"model.latents sum to {sum(latents)}; that must be tokens x code_dim")
    built: Model = model(model_config(**settings))
    return built
