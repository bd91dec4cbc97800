"""A face photo in about a hundred bytes, and back.

    import cameo

    with cameo.open() as c:
        face = c.compress("photo.jpg", max_bytes=96)
        c.reconstruct(face.payload).save("face.png")

The same calls through a service: ``cameo.Client("http://127.0.0.1:8000")``, and ``AsyncClient`` with await.
Nothing heavy is loaded before :func:`open` is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cameo import cards, errors
    from cameo.cards import Card, Claims, ReadCard, SigningKey
    from cameo.client import AsyncClient, Client
    from cameo.errors import CameoError
    from cameo.local import Cameo, open  # noqa: A004 - cameo.open(), as gzip.open() and PIL's Image.open()
    from cameo.results import Comparison, Compressed, Frame, ModelVersion, RecogniserVersion, Row, Verified

_HOMES = {
    "AsyncClient": "cameo.client",
    "Cameo": "cameo.local",
    "CameoError": "cameo.errors",
    "Card": "cameo.cards",
    "Claims": "cameo.cards",
    "Client": "cameo.client",
    "Comparison": "cameo.results",
    "Compressed": "cameo.results",
    "Frame": "cameo.results",
    "ModelVersion": "cameo.results",
    "ReadCard": "cameo.cards",
    "RecogniserVersion": "cameo.results",
    "Row": "cameo.results",
    "SigningKey": "cameo.cards",
    "Verified": "cameo.results",
    "open": "cameo.local",
}

__all__ = [
    "AsyncClient", "Cameo", "CameoError", "Card", "Claims", "Client", "Comparison", "Compressed", "Frame",
    "ModelVersion", "ReadCard", "RecogniserVersion", "Row", "SigningKey", "Verified", "cards", "errors", "open",
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
