"""Facts that several resources answer with, as JSON and as headers."""

import base64

import numpy as np

from app.api import schemas
from app.engine.service import Service
from cameo.cards import ReadCard
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


def card_facts(card: ReadCard) -> schemas.CardFacts:
    """What a card says, and the state of its signature."""
    return schemas.CardFacts(
        state=card.state,
        detail=card.detail,
        issuer=card.issuer,
        issued=card.issued,
        not_before=card.not_before,
        expires=card.expires,
        claims=card.claims.given(),
        payload=None if card.payload is None else base64.b64encode(card.payload).decode(),
        text=card.text,
    )


def observe_sizes(service: Service, coder: Coder, done: Compressed, upload_bytes: int) -> schemas.Sizes:
    """How large everything is; the payload and its ratio go into the metrics."""
    pixels, payload = coder.size**2, len(done.payload)
    sizes = schemas.Sizes(
        upload=upload_bytes,
        portrait=3 * pixels,
        payload=payload,
        ratio=round(3 * pixels / payload, 3),
        bits_per_pixel=round(8 * payload / pixels, 4),
    )
    labels = done.model, str(done.version)
    service.metrics.payload_bytes.labels(*labels).observe(sizes.payload)
    service.metrics.ratio.labels(*labels).observe(sizes.ratio)
    return sizes


def refused(service: Service) -> list[schemas.RefusedInfo]:
    """The versions that failed verification, and why."""
    return [schemas.RefusedInfo(name=r.name, version=r.version, reason=r.reason) for r in service.registry.refused]


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


def token_facts(coder: Coder, done: Compressed) -> schemas.Tokens:
    return schemas.Tokens.model_validate(token_shape(coder, done) | {"indices": done.tokens.tolist()})


def token_shape(coder: Coder, done: Compressed) -> dict[str, object]:
    return {"shape": list(done.tokens.shape), "codebook_size": coder.manifest.tokens.codebook_size}
