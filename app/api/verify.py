"""``POST /verify``: does a photo show the person of a payload?"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.description import BINARY, DEADLINE_PARAMETER, PAYLOAD_ERRORS, PICTURE_ERRORS, headers
from app.api.facts import frame_facts, model_header
from app.api.forms import FIELDS, FORM, Part
from app.api.negotiate import JSON, content_type, negotiate
from app.api.parameters import FrameMethod, Route, refuse_unknown_fields
from app.api.payloads import decode_base64, strip_newline
from app.api.problems import responses
from app.api.run import run
from app.api.schemas import Doubt, RecogniserVersion, VerifyAnswer
from app.api.uploads import one_image, read_form
from app.engine.service import Service
from cameo import errors
from cameo.faces.verification import DEFAULT_FMR, FMRS

router = APIRouter(tags=["verification"], route_class=Route)

VERIFY_ERRORS = (
    *(kind for kind in PICTURE_ERRORS if kind not in {errors.UnknownModel, errors.UnknownVersion, *PAYLOAD_ERRORS}),
    *PAYLOAD_ERRORS, errors.PayloadFieldMissing, errors.NotCalibrated,
)  # fmt: skip

BODY: dict[str, Any] = {
    "parameters": [DEADLINE_PARAMETER],
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["image", "payload"],
                    "properties": {
                        "image": BINARY["schema"] | {"description": "a photo of the person"},
                        "payload": BINARY["schema"]
                        | {"description": "the payload: its bytes as a file, or base64 as text"},
                    },
                }
            }
        },
    },
}  # fmt: skip

Fmr = Annotated[
    float,
    Query(
        gt=0, lt=1, json_schema_extra={"enum": list(FMRS)},
        description="false match rate that is tolerated: the share of other people whose photo would match",
    ),
]  # fmt: skip


@router.post(
    "/verify",
    operation_id="verify",
    summary="Does a photo show the person of a payload?",
    response_model=VerifyAnswer,
    responses={
        200: {"description": "The score, and the decision.", "headers": headers("Cameo-Model")},
        **responses(*VERIFY_ERRORS),
    },
    openapi_extra=BODY,
)
async def verify(request: Request, fmr: Fmr = DEFAULT_FMR, frame: FrameMethod = "auto") -> Response:
    """Compare a photo with the face that a payload decodes to, by a face recogniser.

    The threshold is calibrated: measured on other people, for this version, size of payload and recogniser, at the
    FMR that is asked for. Without such a measurement there is no decision: 422 `not-calibrated`.

    A match says that two pictures are alike. It does not say that a living person is in front of the camera (no
    detection of presentation attacks, ISO/IEC 30107), and a payload is a photo, not an anonymous template.
    """
    service: Service = request.app.state.service
    negotiate(request, JSON)
    if (kind := content_type(request)) != FORM:
        raise errors.UnsupportedMediaType(
            f"the body is {kind or 'of no stated type'}; send a {FORM} with the fields image and payload",
            content_type=kind, allowed=[FORM],
        )  # fmt: skip
    parts = await read_form(request, FIELDS)
    refuse_unknown_fields(request, [part.name for part in parts], "image", "payload")
    photo, data = one_image(parts), _payload_of(parts)
    coder, payload = await service.open_payload(data)
    done = await run(request, service.verify(photo, frame, coder, payload, len(data), fmr, request.state.timings))
    answer = VerifyAnswer(
        match=done.match,
        score=round(done.score, 4),
        threshold=done.threshold,
        fmr=done.fmr,
        recogniser=RecogniserVersion(name=done.recogniser.name, sha256=done.recogniser.sha256),
        model=done.model,
        version=done.version,
        digest=coder.stored.digest,
        bytes=done.bytes,
        frame=frame_facts(done.frame),
        warnings=[Doubt(code=code, detail=detail) for code, detail in done.warnings],
    )
    return JSONResponse(answer.model_dump(), headers={"Cameo-Model": model_header(coder)})


def _payload_of(parts: list[Part]) -> bytes:
    """The bytes in the one field ``payload``: a file, or text in base64."""
    found = [part for part in parts if part.name == "payload"]
    if len(found) != 1:
        raise errors.PayloadFieldMissing(
            f"the form has {len(found)} fields named payload; send one, as a file or in base64", count=len(found)
        )
    return strip_newline(found[0].data) if found[0].is_file else decode_base64(found[0].data.decode())
