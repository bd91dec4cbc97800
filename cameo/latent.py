"""What a smooth latent space is good for: faces between two, and faces of nobody. For VAEs (Kingma & Welling 2013).

A face between those of two people can match both: a morph (Ferrara, Franco and Maltoni 2014). Whoever issues cards has
to expect it, and takes photos itself, or checks them for it.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cameo.errors import InvalidParameter, UnknownModel
from cameo.store import Entry

KIND: Final = "vae"
STEPS: Final = 8
COUNT: Final = 8
MOST: Final = 16
"""Faces of a strip."""
MOST_SEED: Final = 2**32 - 1

_TINY: Final = 1e-9
_STRAIGHT: Final = 1e-4

Latents = NDArray[np.float32]


def between(a_1L: Latents, b_1L: Latents, steps: int) -> list[Latents]:
    """``steps`` points from ``a`` to ``b``, both among them, on an arc: latents of faces have about the same norm.

    Spherical interpolation (Shoemake 1985; White 2016), of norms in a straight line. InvalidParameter.
    """
    _require("steps", steps, 2, MOST)
    t_S1 = np.linspace(0, 1, steps)[:, None]
    lengths = float(np.linalg.norm(a_1L)), float(np.linalg.norm(b_1L))
    unit_a, unit_b = (z_1L / max(length, _TINY) for z_1L, length in zip((a_1L, b_1L), lengths, strict=True))
    angle = np.arccos(np.clip((unit_a @ unit_b.T).item(), -1, 1))
    if min(lengths) < _TINY or np.sin(angle) < _STRAIGHT:  # there is no arc, or no single one
        points_SL = (1 - t_S1) * a_1L + t_S1 * b_1L
    else:
        direction_SL = (np.sin((1 - t_S1) * angle) * unit_a + np.sin(t_S1 * angle) * unit_b) / np.sin(angle)
        points_SL = ((1 - t_S1) * lengths[0] + t_S1 * lengths[1]) * direction_SL
    inner = [point_1L.astype(np.float32) for point_1L in points_SL[1:-1, None]]
    return [a_1L, *inner, b_1L]  # exactly what the payloads hold


def prior(latents: int, count: int, seed: int) -> list[Latents]:
    """``count`` draws z_1L from the standard normal prior; the first ones of a seed are the same. InvalidParameter."""
    _require("count", count, 1, MOST)
    _require("seed", seed, 0, MOST_SEED)
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((1, latents), np.float32) for _ in range(count)]


def first_vae(entries: Iterable[Entry[Any]]) -> str:
    """The name of the first VAE among what a store serves; UnknownModel without any."""
    names = [each.stored.manifest.name for each in entries if each.stored.manifest.model["kind"] == KIND]
    if not names:
        raise UnknownModel("There is no VAE in the store.", name=None, known=[])
    return min(names)


def _require(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidParameter(
            f"{name} is {value}; it may be {least} to {most}", parameter=name, value=value, limit=most
        )
