"""A face photo in about a hundred bytes, and back.

    import cameo

    with cameo.open() as c:
        face = c.compress("photo.jpg", max_bytes=96)
        c.reconstruct(face.payload).save("face.png")

Nothing heavy is loaded before :func:`open` is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cameo import cards, errors
    from cameo.cards import Card, Claims, ReadCard, SigningKey
    from cameo.comparison import Comparison, Row
    from cameo.errors import CameoError
    from cameo.local import Cameo, open  # noqa: A004 - cameo.open(), as gzip.open() and PIL's Image.open()
    from cameo.results import Compressed, Frame, ModelVersion, RecogniserVersion, Verified

_HOMES = {
    "Cameo": "cameo.local",
    "CameoError": "cameo.errors",
    "Card": "cameo.cards",
    "Claims": "cameo.cards",
    "Comparison": "cameo.comparison",
    "Compressed": "cameo.results",
    "Frame": "cameo.results",
    "ModelVersion": "cameo.results",
    "ReadCard": "cameo.cards",
    "RecogniserVersion": "cameo.results",
    "Row": "cameo.comparison",
    "SigningKey": "cameo.cards",
    "Verified": "cameo.results",
    "open": "cameo.local",
}

__all__ = [
    "Cameo", "CameoError", "Card", "Claims", "Comparison", "Compressed", "Frame", "ModelVersion", "ReadCard",
    "RecogniserVersion", "Row", "SigningKey", "Verified", "cards", "errors", "open",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in {"cards", "errors"}:
        return import_module(f"cameo.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'cameo' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
