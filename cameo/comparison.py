"""Models and classical codecs on the same portrait, side by side."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cameo import codec
from cameo.coder.coder import Coder
from cameo.errors import InvalidParameter, quoted
from cameo.faces.framing import Framed, asis
from cameo.faces.judge import IdentityJudge
from cameo.jobs import Call, Job, Operation, Timings
from cameo.pictures.classical import CODECS, at_nearest_rate
from cameo.pictures.quality import enlarge, ms_ssim, psnr
from cameo.results import Comparison, Pixels, Row

MOST_DIGITS = 10  # of a version's number
PAUSE = Operation(
    ("compare", "", "pause"), lambda items: items, 1
)  # a job whose deadline has passed, or whose client has left, ends here


Encode = Callable[[Coder, Pixels, int | None], Job[NDArray[np.int64]]]


def parse_version(text: str) -> tuple[str, int | None]:
    """``NAME`` or ``NAME/VERSION`` -> the name, and the version or None. InvalidParameter."""
    name, _, version = text.partition("/")
    if version and not (version.isascii() and version.isdecimal() and len(version) < MOST_DIGITS):
        raise InvalidParameter(f"models: {quoted(text)} is not NAME or NAME/VERSION", parameter="models", value=text)
    return name, int(version) if version else None


def require_codecs(names: list[str]) -> None:
    """InvalidParameter where one is not known."""
    if unknown := [name for name in names if name not in CODECS]:
        raise InvalidParameter(
            f"codecs: {', '.join(map(quoted, unknown))} are unknown",
            parameter="codecs",
            value=unknown,
            allowed=list(CODECS),
        )


def budgets(coder: Coder, asked: list[int]) -> list[int | None]:
    """At which budgets a model is shown: those asked for, or its default; None for a model with one rate.

    BudgetTooSmall where no payload fits one of them.
    """
    if not coder.coding.several_rates:
        return [None]
    return list(dict.fromkeys(map(coder.budget, asked))) or [coder.budget(None)]


def compare(
    framed: Framed,
    coders: list[tuple[Coder, list[int | None]]],
    codecs: list[str],
    judge: IdentityJudge | None,
    encode: Encode,
    timings: Timings,
) -> Job[Comparison]:
    """``framed`` holds a portrait of SIDE pixels. Every model comes with its :func:`budgets`.

    ``encode`` gives all tokens of a portrait for a budget. Each codec is taken at the best quality within a model's
    bytes.
    """
    original = framed.portrait
    likeness = judge.likeness(original) if judge else None

    def judged(pixels: Pixels, **facts: Any) -> Row:
        return Row(
            **facts, pixels=pixels, psnr=psnr(original, pixels), ms_ssim=ms_ssim(original, pixels),
            identity=likeness(pixels) if likeness else None,
        )  # fmt: skip

    groups: list[list[Row]] = []
    for coder, at in coders:
        name, version = coder.manifest.name, coder.manifest.version
        portrait = asis(original, coder.size).portrait
        for max_bytes in at:
            tokens = yield from encode(coder, portrait, max_bytes)
            with timings.stage("encode"):
                payload = coder.pack(tokens, max_bytes)
            pixels = enlarge((yield Call(coder.decoding, coder.unpack(codec.unwrap(payload)))))
            size = len(payload)
            with timings.stage("encode"):
                group = [
                    judged(
                        pixels, kind="model", name=name, version=version, quality=None, side=coder.size, beside=None,
                        max_bytes=max_bytes, bytes=size,
                    )
                ]  # fmt: skip
            for rival in codecs:
                yield Call(PAUSE, None)
                with timings.stage("encode"):
                    r = at_nearest_rate(original, rival, size)
                    group.append(
                        judged(
                            r.pixels, kind="codec", name=rival, version=None, quality=r.quality, side=r.size_px,
                            beside=name, max_bytes=size, bytes=len(r.data),
                        )
                    )  # fmt: skip
            groups.append(group)
    return Comparison(framed, groups, original)
