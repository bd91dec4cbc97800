"""Models and classical codecs on the same portrait, side by side."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.classical import at_nearest_rate
from app.engine.models import Coder
from app.engine.workers import Timings
from app.portrait import Framed, asis
from app.quality import IdentityJudge, enlarge, ms_ssim, psnr

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One reconstruction; ``beside`` names the model whose rate a classical codec was to match."""

    kind: str
    name: str
    version: int | None
    quality: int | None
    side: int
    beside: str | None
    bytes: int
    pixels: Pixels  # SIDE x SIDE
    psnr: float
    ms_ssim: float
    identity: float | None


@dataclass(frozen=True)
class Comparison:
    """The original portrait, and a group of rows for each model: the model, then the codecs at its rate."""

    framed: Framed
    groups: list[list[Row]]


def compare(
    framed: Framed, coders: list[Coder], codecs: list[str], judge: IdentityJudge | None, timings: Timings
) -> Comparison:
    """``framed`` holds a portrait of SIDE pixels. Each codec is taken at the best quality within a model's bytes."""
    original = framed.portrait
    likeness = judge.likeness(original) if judge else None
    groups: list[list[Row]] = []
    for coder in coders:
        name, version = coder.manifest.name, coder.manifest.version
        with timings.stage("infer"):
            tokens = coder.tokens(asis(original, coder.size).portrait)
            pixels = enlarge(coder.reconstruct(tokens))
        with timings.stage("encode"):
            size = len(coder.pack(tokens))
            group = [_row("model", name, version, None, coder.size, None, size, original, pixels, likeness)]
            for codec in codecs:
                r = at_nearest_rate(original, codec, size)
                group.append(
                    _row("codec", codec, None, r.quality, r.size_px, name, len(r.data), original, r.pixels, likeness)
                )
        groups.append(group)
    return Comparison(framed, groups)


def _row(
    kind: str, name: str, version: int | None, quality: int | None, side: int, beside: str | None, size: int,
    original: Pixels, pixels: Pixels, likeness: Callable[[Pixels], float] | None,
) -> Row:  # fmt: skip
    identity = likeness(pixels) if likeness else None
    return Row(
        kind, name, version, quality, side, beside, size, pixels, psnr(original, pixels), ms_ssim(original, pixels),
        identity,
    )  # fmt: skip
