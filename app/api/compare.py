"""``POST /compare``: models and classical codecs on one picture."""

from dataclasses import asdict
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.access import charge
from app.api.description import DEADLINE_PARAMETER, PICTURE_ERRORS, files
from app.api.facts import frame_facts
from app.api.negotiate import JSON, negotiate
from app.api.parameters import FrameMethod, Route, WantedEffort
from app.api.problems import responses
from app.api.run import run
from app.api.schemas import CompareAnswer, ComparisonRow
from app.api.uploads import REQUEST_BODY, read_image
from app.engine.service import Service, Work
from cameo.coder.coder import Coder
from cameo.comparison import budgets, parse_version, require_codecs
from cameo.errors import BudgetTooSmall, InvalidParameter, quoted
from cameo.jobs import Job
from cameo.pictures.classical import CODECS
from cameo.pictures.encode import encode
from cameo.pictures.quality import SIDE
from cameo.results import Comparison, Row

router = APIRouter(tags=["comparison"], route_class=Route)

MOST_LINES = 12  # of the sheet: a model at one budget


@router.post(
    "/compare",
    operation_id="compare",
    summary="Models and classical codecs side by side",
    response_model=CompareAnswer,
    responses={
        200: {
            "description": "A row for each, or one labelled sheet.",
            "content": files("image/png"),
        },
        **responses(*PICTURE_ERRORS, BudgetTooSmall),
    },
    openapi_extra=REQUEST_BODY | {"parameters": [DEADLINE_PARAMETER]},
)
async def compare_(
    request: Request,
    models: Annotated[
        str | None,
        Query(description="comma-separated names, each with /version if wanted; default: all", max_length=500),
    ] = None,
    codecs: Annotated[
        str, Query(description=f"comma-separated, of {', '.join(CODECS)}; empty for none", max_length=100)
    ] = ",".join(CODECS),
    max_bytes: Annotated[
        str | None,
        Query(
            description="comma-separated budgets at which models with several rates are shown; default: their own",
            max_length=100,
        ),
    ] = None,
    frame: FrameMethod = "auto",
    effort: WantedEffort = None,
) -> Response:
    """Every model at its rate and, for each, every codec at the best quality within the same bytes.

    A model with several rates is shown at its default rate, or at each of `max_bytes`, with tokens searched for as
    `effort` says; others are not concerned.
    All figures are of 128-pixel pictures: smaller ones are scaled up first. JPEG, WebP and AVIF files are
    counted whole, container included; where even the smallest is larger than the payload, that one is shown.
    """
    service: Service = request.app.state.service
    media_type = negotiate(request, JSON, "image/png")
    coders = await _coders(service, models, _numbers(max_bytes))
    wanted = list(dict.fromkeys(_items(codecs.lower())))
    require_codecs(wanted)
    charge(request, sum(len(at) for _, at in coders))
    data = await read_image(request)
    timings = request.state.timings
    work = service.compare(data, coders, wanted, effort=effort, frame=frame, timings=timings)

    def job() -> Job[Response]:
        done = yield from work.job
        with timings.stage("encode"):
            if media_type == "image/png":
                return Response(encode(np.asarray(done.sheet()), media_type), media_type=media_type)
            return JSONResponse(_answer(done, len(data)).model_dump())

    return await run(request, Work(job(), work.kind, work.first))


async def _coders(service: Service, models: str | None, asked: list[int]) -> list[tuple[Coder, list[int | None]]]:
    coders: dict[Coder, list[int | None]] = {}
    lines = 0
    for name in _items(models) or service.registry.names():
        coder = await service.coder(*parse_version(name))
        coders[coder] = budgets(coder, asked)  # a model that is named twice is shown once
        lines += len(coders[coder])
    if lines > MOST_LINES:
        raise InvalidParameter(
            f"models: {lines} are too many at once, counting each budget", parameter="models", value=lines,
            limit=MOST_LINES,
        )  # fmt: skip
    return list(coders.items())


def _numbers(max_bytes: str | None) -> list[int]:
    items = _items(max_bytes)
    for item in items:
        if not (item.isdecimal() and len(item) < 10):
            raise InvalidParameter(
                f"max_bytes: {quoted(item)} is no whole number of bytes", parameter="max_bytes", value=item
            )
    return [int(item) for item in items]


def _items(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def _answer(done: Comparison, upload: int) -> CompareAnswer:
    rows = [_row(row) for group in done.groups for row in group]
    return CompareAnswer(frame=frame_facts(done.frame), upload=upload, rows=rows)


def _row(row: Row) -> ComparisonRow:
    figures = asdict(row)
    del figures["pixels"]
    figures |= {
        "ratio": round(3 * SIDE**2 / row.bytes, 3),
        "psnr": None if row.psnr == float("inf") else round(row.psnr, 3),
        "ms_ssim": round(row.ms_ssim, 4),
        "identity": None if row.identity is None else round(row.identity, 4),
    }
    return ComparisonRow(**figures)
