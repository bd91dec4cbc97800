"""``POST /reconstruct``: a payload or tokens in, a picture out. ``POST /shorten``: a coarser payload."""

import base64
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.api import json_body
from app.api.description import BINARY, DEADLINE_PARAMETER, PAYLOAD_ERRORS, PAYLOAD_EXAMPLE, files, headers
from app.api.facts import model_header
from app.api.negotiate import JSON, OCTETS, PAYLOAD, content_type, negotiate
from app.api.parameters import Route
from app.api.payloads import decode_base64, strip_newline
from app.api.problems import responses
from app.api.run import run
from app.api.schemas import ReconstructRequest, ShortenAnswer, ShortenRequest, Tokens
from app.engine.service import Service
from cameo import errors
from cameo.cards import bare_qr
from cameo.coder.coder import Coder
from cameo.pictures.encode import MEDIA_TYPES

S = TypeVar("S", bound=BaseModel)
PAYLOADS = (PAYLOAD, OCTETS)
PICTURE, *_ = MEDIA_TYPES
SVG = "image/svg+xml"

router = APIRouter(tags=["reconstruction"], route_class=Route)


def _body(schema: type[BaseModel]) -> dict[str, Any]:
    return {
        "parameters": [DEADLINE_PARAMETER],
        "requestBody": {
            "required": True,
            "description": f"A payload: its bytes, as {' or '.join(PAYLOADS)}, or JSON.",
            "content": {
                JSON: {
                    "schema": {"$ref": f"#/components/schemas/{schema.__name__}"},
                    "example": {"payload": PAYLOAD_EXAMPLE},
                },
                OCTETS: BINARY,
            },
        },
    }


@router.post(
    "/reconstruct",
    operation_id="reconstruct",
    summary="A payload or tokens to a picture",
    response_class=Response,
    responses={
        200: {
            "description": f"The portrait. {OCTETS} is {PICTURE}, for whoever asks for no picture.",
            "content": files(*MEDIA_TYPES, OCTETS),
            "headers": headers("Cameo-Model"),
        },
        **responses(
            *PAYLOAD_ERRORS, errors.WrongTokenShape, errors.TokenOutOfRange, errors.UnknownModel, errors.UnknownVersion,
        ),
    },
    openapi_extra=_body(ReconstructRequest),
)  # fmt: skip
async def reconstruct(request: Request) -> Response:
    """Draw the face that a payload, or a model's tokens, stand for.

    Of a model with several rates a payload has any length, and any number of first tokens is a coarser face.
    """
    service: Service = request.app.state.service
    media_type = negotiate(request, *MEDIA_TYPES, OCTETS)
    picture_type = PICTURE if media_type == OCTETS else media_type
    if content_type(request) in PAYLOADS:
        coder, payload = await service.open_payload(strip_newline(await request.body()))
        read = partial(coder.unpack, payload)
    else:
        asked = await _json(request, ReconstructRequest)
        if (asked.payload is None) == (asked.tokens is None):
            raise errors.InvalidParameter("give either payload, or model and tokens", parameter="payload")
        if asked.payload is not None:
            coder, payload = await service.open_payload(decode_base64(asked.payload))
            read = partial(coder.unpack, payload)
        else:
            if asked.model is None:
                raise errors.InvalidParameter("tokens need the name of their model", parameter="model")
            coder = await service.coder(asked.model, asked.version)
            read = partial(coder.check, asked.tokens.indices if isinstance(asked.tokens, Tokens) else asked.tokens)
    picture = await run(request, service.reconstruct(coder, read, picture_type, request.state.timings))
    return Response(picture, headers={"Cameo-Model": model_header(coder)}, media_type=media_type)


@router.post(
    "/shorten",
    operation_id="shorten",
    summary="The payload of a coarser face, made without the photo",
    response_model=ShortenAnswer,
    responses={
        200: {
            "description": f"JSON, the payload alone, or as {SVG} a QR code that holds it in Base45.",
            "content": files(PAYLOAD, SVG),
            "headers": headers("Cameo-Model"),
        },
        **responses(*PAYLOAD_ERRORS, errors.BudgetTooSmall, errors.CardTooLarge),
    },
    openapi_extra=_body(ShortenRequest),
)
async def shorten(
    request: Request, max_bytes: Annotated[int, Query(description="largest payload wanted, bytes", ge=1)]
) -> Response:
    """Of a model with several rates: the payload that its photo gives for this budget.

    One that is within the budget already comes back as it is. One of a model with a single rate never shrinks, and
    no model goes below its least rate: 422, with the least.
    """
    service: Service = request.app.state.service
    media_type = negotiate(request, JSON, PAYLOAD, SVG)
    if content_type(request) in PAYLOADS:
        data = strip_newline(await request.body())
    else:
        data = decode_base64((await _json(request, ShortenRequest)).payload)
    coder, payload = await service.open_payload(data)
    shorter = await run(request, service.shorten(data, coder, payload, max_bytes, request.state.timings))
    return _payload_answer(coder, shorter, media_type)


def _payload_answer(coder: Coder, payload: bytes, media_type: str) -> Response:
    named = {"Cameo-Model": model_header(coder)}
    if media_type == PAYLOAD:
        return Response(payload, headers=named, media_type=PAYLOAD)
    if media_type == SVG:
        return Response(bare_qr(payload), headers=named, media_type=SVG)
    answer = ShortenAnswer(
        model=coder.manifest.name,
        version=coder.manifest.version,
        payload=base64.b64encode(payload).decode(),
        bytes=len(payload),
    )
    return JSONResponse(answer.model_dump(), headers=named)


async def _json(request: Request, schema: type[S]) -> S:
    kind = content_type(request)
    if kind != JSON:
        allowed = [*PAYLOADS, JSON]
        raise errors.UnsupportedMediaType(
            f"the body is {kind or 'of no stated type'}; send {' or '.join(allowed)}",
            content_type=kind, allowed=allowed,
        )  # fmt: skip
    return json_body.parse(schema, await request.body(), "the body")
