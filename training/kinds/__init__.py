"""How each kind of model is trained, measured and published: one file a kind, and a line in ``KINDS``.

The networks are those of :data:`cameo.nn.KINDS`, under the same names.
"""

from collections.abc import Mapping
from typing import Any

from cameo import nn
from cameo.nn import Model
from training.kinds.base import Kind
from training.kinds.progressive import ProgressiveKind
from training.kinds.vae import VAEKind
from training.kinds.vqvae import GridVQVAEKind, VQVAEKind

__all__ = ["KINDS", "Kind", "kind_named", "kind_of"]

KINDS: dict[str, type[Kind[Any]]] = {
    "vae": VAEKind,
    "vqvae": VQVAEKind,
    "vqvae-grid": GridVQVAEKind,
    "progressive": ProgressiveKind,
}


def kind_named(config: Mapping[str, Any]) -> type[Kind[Any]]:
    """The kind of the ``model`` section of a recipe. ValueError where nothing says how it is trained."""
    name = config["kind"]
    if name not in KINDS:
        raise ValueError(
            f"model.kind is {name!r}, which training does not know; allowed: {', '.join(KINDS)}. "
            "A new kind needs a line in training/kinds/__init__.py"
        )
    return KINDS[name]


def kind_of(model: Model) -> type[Kind[Any]]:
    """The kind of a model."""
    (name,) = (name for name, (network, _) in nn.KINDS.items() if type(model) is network)
    return kind_named({"kind": name})
