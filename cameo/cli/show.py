"""Results as people read them, and as JSON: the same from the library as from a service."""

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cameo.cli.group import say
from cameo.results import Compressed, ModelVersion, Row

if TYPE_CHECKING:
    from cameo.cards import ReadCard


def emit(value: Any) -> None:
    """A line of JSON on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))


def face_facts(face: Compressed) -> dict[str, Any]:
    return {
        "model": face.model,
        "version": face.version,
        "effort": face.effort,
        "payload": base64.b64encode(face.payload).decode(),
        "bytes": len(face.payload),
        "likeness": None if face.likeness is None else round(face.likeness, 4),
        "warnings": [{"code": code, "detail": detail} for code, detail in face.warnings],
        "frame": face.frame.rounded(),
    }


def summary(face: Compressed) -> str:
    likeness = "" if face.likeness is None else f", likeness {face.likeness:.2f}"
    return f"{len(face.payload)} bytes, {face.model}/{face.version}{likeness}"


def warn(name: str, face: Compressed) -> None:
    for warning in face.warnings:
        say(f"{name}: warning: {warning.detail}")


def row_facts(row: Row) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "name": row.name,
        "version": row.version,
        "quality": row.quality,
        "side": row.side,
        "beside": row.beside,
        "max_bytes": row.max_bytes,
        "bytes": row.bytes,
        "psnr": None if row.psnr == float("inf") else round(row.psnr, 3),
        "ms_ssim": round(row.ms_ssim, 4),
        "identity": None if row.identity is None else round(row.identity, 4),
    }


def model_facts(model: ModelVersion) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "default": model.default,
        "portrait": model.portrait,
        "rates": list(model.rates),
        "default_rate": model.default_rate,
    }


def card_facts(card: "ReadCard") -> dict[str, Any]:
    return {
        "state": card.state,
        "detail": card.detail,
        "issuer": card.issuer,
        "expires": card.expires and card.expires.isoformat(),
        "claims": card.claims.given(),
        "payload": card.payload and base64.b64encode(card.payload).decode(),
    }


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Columns on stdout; all but the first are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for line in (head, *lines):
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        click.echo("  ".join((first, *others)).rstrip())
