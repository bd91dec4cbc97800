"""The same facts as JSON and as headers."""

import numpy as np

from app.api.schemas import Doubt, Doubts, Frame
from app.engine.models import Coder
from app.engine.service import Compressed
from app.portrait import Framed


def frame_facts(framed: Framed) -> Frame:
    """How the portrait was cut out, rounded to what means something."""
    return Frame(
        method=framed.method,
        box=[round(float(v), 1) for v in framed.box],
        landmarks=None if framed.landmarks is None else np.round(framed.landmarks, 1).tolist(),
        roll=None if framed.roll is None else round(framed.roll, 1),
        turned=framed.turned,
        score=None if framed.score is None else round(framed.score, 3),
        faces=framed.faces,
    )


def doubts(done: Compressed) -> Doubts:
    """How like the face is, and what is doubtful."""
    return Doubts(
        likeness=None if done.likeness is None else round(done.likeness, 4),
        warnings=[Doubt(code=code, detail=detail) for code, detail in done.warnings],
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
