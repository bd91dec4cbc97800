"""``POST /compress``: a picture in, tokens and a payload out."""

import base64
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.description import DEADLINE_PARAMETER, FACTS, PICTURE_ERRORS, files, headers
from app.api.facts import dictionary, doubts, frame_facts, model_header, observe_sizes, token_facts, token_shape
from app.api.negotiate import JSON, PAYLOAD, negotiate
from app.api.parameters import Route, Wanted
from app.api.problems import responses
from app.api.run import run
from app.api.schemas import CompressAnswer
from app.api.uploads import REQUEST_BODY, read_image
from app.engine.service import Service
from cameo.errors import BudgetTooSmall, TooManyFaces

router = APIRouter(tags=["compression"], route_class=Route)


@router.post(
    "/compress",
    operation_id="compress",
    summary="A picture to tokens and a payload",
    response_model=CompressAnswer,
    responses={
        200: {
            "description": "JSON with everything, or the payload alone with the same facts in headers.",
            "content": files(PAYLOAD),
            "headers": headers("Cameo-Model", *FACTS),
        },
        **responses(*PICTURE_ERRORS, TooManyFaces, BudgetTooSmall),
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
    work = service.compress(
        data, wanted.frame, wanted.face, coder, wanted.max_bytes, effort, likeness, request.state.timings
    )
    done = await run(request, work)
    sizes = observe_sizes(service, coder, done, len(data))
    facts = doubts(done)
    named = {"Cameo-Model": model_header(coder)}
    if media_type == PAYLOAD:
        named |= {
            "Cameo-Sizes": dictionary(sizes.model_dump()),
            "Cameo-Tokens": dictionary(token_shape(coder, done)),
            "Cameo-Effort": done.effort,
            "Cameo-Frame": dictionary(frame_facts(done.frame).model_dump()),
        }
        if facts.likeness is not None:
            named["Cameo-Likeness"] = str(facts.likeness)
        if facts.warnings:
            named["Cameo-Warnings"] = ", ".join(warning.code for warning in facts.warnings)
        return Response(done.payload, headers=named, media_type=PAYLOAD)
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
    return JSONResponse(answer.model_dump(), headers=named)
