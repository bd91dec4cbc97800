"""``POST /interpolate`` and ``GET /sample``: faces between two faces, and faces of nobody, from a VAE."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.api import json_body
from app.api.access import charge
from app.api.description import DEADLINE_PARAMETER, PAYLOAD_ERRORS, PAYLOAD_EXAMPLE, files, headers
from app.api.facts import model_header
from app.api.negotiate import JSON, OCTETS, content_type, negotiate
from app.api.parameters import Route
from app.api.payloads import decode_base64
from app.api.problems import responses
from app.api.run import run
from app.api.schemas import InterpolateRequest
from app.engine.service import Service
from cameo import errors, latent
from cameo.work import require_one_vae, require_vae

router = APIRouter(tags=["latent space"], route_class=Route)

PNG = "image/png"
STRIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"The faces, from left to right. {OCTETS} is {PNG}, for whoever asks for no picture.",
        "content": files(PNG, OCTETS),
        "headers": headers("Cameo-Model"),
    }
}
SAMPLE_ERRORS = (
    errors.NotAcceptable, errors.InvalidParameter, errors.UnknownModel, errors.UnknownVersion, errors.RefusedVersion,
    errors.StoreUnavailable, errors.Overloaded, errors.NotReady, errors.DeadlineExceeded,
)  # fmt: skip


@router.post(
    "/interpolate",
    operation_id="interpolate",
    summary="Faces between two faces",
    response_class=Response,
    responses=STRIP | responses(*PAYLOAD_ERRORS),
    openapi_extra={
        "parameters": [DEADLINE_PARAMETER],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {"$ref": f"#/components/schemas/{InterpolateRequest.__name__}"},
                    "example": {"a": PAYLOAD_EXAMPLE, "b": PAYLOAD_EXAMPLE},
                }
            },
        },
    },
)
async def interpolate(
    request: Request,
    steps: Annotated[int, Query(ge=2, le=latent.MOST, description="how many faces, both ends counted")] = latent.STEPS,
) -> Response:
    """Walk through the latent space of a VAE from one payload to another, and draw a face at each step.

    Faces in the middle can match both people: such morphs are an attack on issuers of cards, who should take photos
    themselves.
    """
    service: Service = request.app.state.service
    media_type = negotiate(request, PNG, OCTETS)
    if (kind := content_type(request)) != JSON:
        raise errors.UnsupportedMediaType(
            f"the body is {kind or 'of no stated type'}; send {JSON}", content_type=kind, allowed=[JSON]
        )
    asked = json_body.parse(InterpolateRequest, await request.body(), "the body")
    (coder, a), (other, b) = [await service.open_payload(decode_base64(each)) for each in (asked.a, asked.b)]
    require_one_vae(coder, other)
    charge(request, steps)
    strip = await run(request, service.interpolate(coder, (a, b), steps, request.state.timings))
    return Response(strip, headers={"Cameo-Model": model_header(coder)}, media_type=media_type)


@router.get(
    "/sample",
    operation_id="sample",
    summary="Faces of nobody",
    response_class=Response,
    responses=STRIP | responses(*SAMPLE_ERRORS),
    openapi_extra={"parameters": [DEADLINE_PARAMETER]},
)
async def sample(
    request: Request,
    model: Annotated[str | None, Query(description="name of a VAE; default: the first by name", max_length=100)] = None,
    version: Annotated[int | None, Query(description="default: the model's default version", ge=1)] = None,
    seed: Annotated[int, Query(ge=0, le=latent.MOST_SEED, description="the same seed gives the same faces")] = 0,
    count: Annotated[int, Query(ge=1, le=latent.MOST, description="how many faces")] = latent.COUNT,
) -> Response:
    """Draw latents from the prior of a VAE, and the faces that they stand for."""
    service: Service = request.app.state.service
    media_type = negotiate(request, PNG, OCTETS)
    service.require_ready()
    coder = await service.coder(model or latent.first_vae(service.registry.entries), version)
    require_vae(coder)
    charge(request, count)
    await request.body()  # there is none: what comes after it says whether the client is still there
    strip = await run(request, service.sample(coder, count, seed, request.state.timings))
    return Response(strip, headers={"Cameo-Model": model_header(coder)}, media_type=media_type)
