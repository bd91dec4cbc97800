"""The same facts as JSON and as headers."""

import numpy as np

from app.api import schemas
from cameo.coder.coder import Coder
from cameo.results import Frame


def frame_facts(frame: Frame) -> schemas.Frame:
    """How the portrait was cut out, rounded to what means something."""
    return schemas.Frame(
        method=frame.method,
        box=[round(float(v), 1) for v in frame.box],
        landmarks=None if frame.landmarks is None else np.round(frame.landmarks, 1).tolist(),
        roll=None if frame.roll is None else round(frame.roll, 1),
        score=None if frame.score is None else round(frame.score, 3),
        faces=frame.faces,
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
