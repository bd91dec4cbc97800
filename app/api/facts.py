"""The same facts as JSON and as headers."""

import numpy as np

from app.api import schemas
from cameo.coder.coder import Coder
from cameo.results import Compressed, Frame


def frame_facts(frame: Frame) -> schemas.Frame:
    """How the portrait was cut out, rounded to what means something."""
    return schemas.Frame(**frame.rounded())


def doubts(done: Compressed) -> schemas.Doubts:
    """How like the face is, and what is doubtful."""
    return schemas.Doubts(
        likeness=None if done.likeness is None else round(done.likeness, 4),
        warnings=[schemas.Doubt(code=code, detail=detail) for code, detail in done.warnings],
    )


def model_header(coder: Coder) -> str:
    """The value of ``Cameo-Model``."""
    manifest = coder.manifest
    return dictionary({"name": manifest.name, "version": manifest.version, "digest": coder.stored.digest})


def dictionary(values: dict[str, object]) -> str:
    """A Structured Fields dictionary (RFC 9651); None is left out, lists are inner lists, flattened."""
    return ", ".join(f"{k.replace('_', '-')}={_item(v)}" for k, v in values.items() if v is not None)


def _item(value: object) -> str:
    if isinstance(value, list):
        return "(" + " ".join(_item(v) for v in np.ravel(value).tolist()) + ")"
    return f'"{value}"' if isinstance(value, str) else str(value)
