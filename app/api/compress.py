"""``POST /compress``: a picture in, tokens and a payload out."""

import base64
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.api.facts import dictionary, doubts, frame_facts, model_header
from app.api.negotiate import JSON, PAYLOAD, negotiate
from app.api.problems import responses
from app.api.run import DEADLINE_PARAMETER, run
from app.api.schemas import CompressAnswer, Sizes, Tokens
from app.api.uploads import REQUEST_BODY, read_image
from app.config import Effort
from app.engine.service import Service
from cameo import errors
from cameo.coder.coder import Coder
from cameo.results import Compressed

router = APIRouter(tags=["compression"])

PICTURE_ERRORS = (
    errors.NotAnImage, errors.TruncatedImage, errors.UnsupportedImage, errors.TooManyPixels,
    errors.TooComplex, errors.NoFace, errors.NotAcceptable, errors.BodyTooLarge, errors.UnsupportedMediaType,
    errors.ImageFieldMissing, errors.ImageFieldRepeated, errors.InvalidParameter, errors.BadRequest,
    errors.UnknownModel, errors.UnknownVersion, errors.RefusedVersion, errors.Overloaded, errors.NotReady,
    errors.DeadlineExceeded, errors.InternalError,
)  # fmt: skip

FrameMethod = Annotated[
    Literal["auto", "asis"],
    Query(description="auto: find the face and warp it to the canonical portrait; asis: centre square, resized"),
]


WantedEffort = Annotated[
    Effort | None,
    Query(
        description="good and best search for the tokens of which the decoder makes the likest face, for some .3 and "
        ".8 seconds of a CPU; fast takes what the encoder says. Only models with several rates have such a search. "
        "Default: the service's: good, if nobody chose, and fast for batches"
    ),
]


class Wanted(BaseModel):
    """The query of a request to compress."""

    model: Annotated[str | None, Query(description="name of the model; default: the store's", max_length=100)] = None
    version: Annotated[int | None, Query(description="default: the model's default version", ge=1)] = None
    max_bytes: Annotated[
        int | None, Query(description="largest payload wanted, bytes; default: the version's default rate", ge=1)
    ] = None
    frame: FrameMethod = "auto"
    effort: WantedEffort = None
    likeness: Annotated[
        bool | None,
        Query(
            description="whether to say how like the face is, which takes some 40 milliseconds of a CPU; default: yes, "
            "but for batches only where tokens are searched for"
        ),
    ] = None


@router.post(
    "/compress",
    operation_id="compress",
    summary="A picture to tokens and a payload",
    response_model=CompressAnswer,
    responses={
        200: {
            "description": "JSON with everything, or the payload alone with the same facts in headers.",
            "content": {PAYLOAD: {"schema": {"type": "string", "format": "binary"}}},
        },
        **responses(*PICTURE_ERRORS, errors.BudgetTooSmall),
    },
    openapi_extra=REQUEST_BODY | {"parameters": [DEADLINE_PARAMETER]},
)
async def compress(request: Request, wanted: Annotated[Wanted, Query()]) -> Response:
    """Decode the picture, frame the face, encode it, pack the tokens.

    A payload never has more than `max_bytes`. A model with several rates takes any budget from its least rate on
    and gives the finest face that fits; the tokens in the answer are those in the payload. A model with a single
    rate does not become coarser: a budget below that rate is refused.

    The same picture, version, budget and effort give the same payload on the same machine, alone or under load.
    """
    service: Service = request.app.state.service
    media_type = negotiate(request, JSON, PAYLOAD)
    coder = await service.coder(wanted.model, wanted.version)
    effort = service.pipeline.effort(coder, wanted.effort)
    likeness = service.pipeline.judges(wanted.likeness, effort)
    data = await read_image(request)
    work = service.compress(data, wanted.frame, coder, wanted.max_bytes, effort, likeness, request.state.timings)
    done = await run(request, work)
    sizes = observed(service, coder, done, len(data))
    facts = doubts(done)
    headers = {"Cameo-Model": model_header(coder)}
    if media_type == PAYLOAD:
        headers |= {
            "Cameo-Sizes": dictionary(sizes.model_dump()),
            "Cameo-Tokens": dictionary(_shape(coder, done)),
            "Cameo-Effort": done.effort,
            "Cameo-Frame": dictionary(frame_facts(done.frame).model_dump()),
        }
        if facts.likeness is not None:
            headers["Cameo-Likeness"] = str(facts.likeness)
        if facts.warnings:
            headers["Cameo-Warnings"] = ", ".join(warning.code for warning in facts.warnings)
        return Response(done.payload, headers=headers, media_type=PAYLOAD)
    answer = CompressAnswer(
        model=done.model,
        version=done.version,
        digest=coder.stored.digest,
        effort=done.effort,
        likeness=facts.likeness,
        warnings=facts.warnings,
        tokens=token_facts(coder, done),
        payload=base64.b64encode(done.payload).decode(),
        sizes=sizes,
        frame=frame_facts(done.frame),
    )
    return JSONResponse(answer.model_dump(), headers=headers)


def observed(service: Service, coder: Coder, done: Compressed, upload_bytes: int) -> Sizes:
    """What it takes, which goes into the metrics."""
    pixels, payload = coder.size**2, len(done.payload)
    sizes = Sizes(
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


def token_facts(coder: Coder, done: Compressed) -> Tokens:
    """The tokens in a payload."""
    return Tokens.model_validate(_shape(coder, done) | {"indices": done.tokens.tolist()})


def _shape(coder: Coder, done: Compressed) -> dict[str, object]:
    return {"shape": list(done.tokens.shape), "codebook_size": coder.manifest.tokens.codebook_size}
