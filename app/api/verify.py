"""``POST /verify``: does a photo show the person of a payload or card?"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.description import BINARY, CARD_ERRORS, DEADLINE_PARAMETER, PAYLOAD_ERRORS, PICTURE_ERRORS, headers
from app.api.facts import card_facts, frame_facts, model_header
from app.api.forms import FIELDS, FORM, Part
from app.api.negotiate import JSON, content_type, negotiate
from app.api.parameters import FaceChoice, FrameMethod, Route, refuse_unknown_fields
from app.api.payloads import decode_base64, strip_newline
from app.api.problems import responses
from app.api.run import run
from app.api.schemas import Doubt, RecogniserVersion, VerifyAnswer
from app.api.uploads import one_image, read_form
from app.engine.service import Service
from cameo import errors
from cameo.cards import ReadCard, is_text, only_card
from cameo.faces.verification import DEFAULT_FMR, FMRS

router = APIRouter(tags=["verification"], route_class=Route)

VERIFY_ERRORS = (
    *(kind for kind in PICTURE_ERRORS if kind not in {errors.UnknownModel, errors.UnknownVersion, *PAYLOAD_ERRORS}),
    *PAYLOAD_ERRORS, *CARD_ERRORS, errors.SeveralCards, errors.CardWithoutFace, errors.TooManyFaces,
    errors.PayloadFieldMissing, errors.NotCalibrated,
)  # fmt: skip

BODY: dict[str, Any] = {
    "parameters": [DEADLINE_PARAMETER],
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "description": "a photo, and either a payload or a card",
                    "properties": {
                        "image": BINARY["schema"] | {"description": "a photo of the person"},
                        "payload": BINARY["schema"]
                        | {"description": "the payload: its bytes as a file, or base64 as text"},
                        "card": BINARY["schema"]
                        | {"description": "the card: a photo or scan of it as a file, or the text of its QR code"},
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
    summary="Does a photo show the person of a payload or card?",
    response_model=VerifyAnswer,
    responses={
        200: {"description": "The score, and the decision.", "headers": headers("Cameo-Model")},
        **responses(*VERIFY_ERRORS),
    },
    openapi_extra=BODY,
)
async def verify(
    request: Request, fmr: Fmr = DEFAULT_FMR, frame: FrameMethod = "auto", face: FaceChoice = "largest"
) -> Response:
    """Compare a photo with the face that a payload decodes to, by a face recogniser.

    The payload may be that of a card. Then the answer has the card, too, with the state of its signature as
    `/card/read` gives it, and a card that is not `valid` is never a match, however alike the faces are: its face is
    what somebody put there.

    The threshold is calibrated: measured on other people, for this version, size of payload and recogniser, at the
    FMR that is asked for. Without such a measurement there is no decision: 422 `not-calibrated`.

    A match says that two pictures are alike. It does not say that a living person is in front of the camera (no
    detection of presentation attacks, ISO/IEC 30107), and a payload is a photo, not an anonymous template.
    """
    service: Service = request.app.state.service
    negotiate(request, JSON)
    if (kind := content_type(request)) != FORM:
        raise errors.UnsupportedMediaType(
            f"the body is {kind or 'of no stated type'}; send a {FORM} with the fields image, and payload or card",
            content_type=kind, allowed=[FORM],
        )  # fmt: skip
    parts = await read_form(request, FIELDS)
    refuse_unknown_fields(request, [part.name for part in parts], "image", "payload", "card")
    photo, reference = one_image(parts), _reference(parts)
    card = await _read_card(request, reference) if reference.name == "card" else None
    data = card.require_payload() if card else _payload(reference)
    coder, payload = await service.open_payload(data)
    work = service.verify(
        photo, data, coder, payload, card=card, fmr=fmr, frame=frame, face=face, timings=request.state.timings
    )
    done = await run(request, work)
    answer = VerifyAnswer(
        match=done.match,
        decision=done.decision,
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
        card=None if done.card is None else card_facts(done.card),
    )
    return JSONResponse(answer.model_dump(mode="json"), headers={"Cameo-Model": model_header(coder)})


def _reference(parts: list[Part]) -> Part:
    """The one field ``payload`` or ``card``."""
    found = [part for part in parts if part.name in {"payload", "card"}]
    if len(found) != 1:
        raise errors.PayloadFieldMissing(
            f"the form has {len(found)} fields named payload or card; send one of them", count=len(found)
        )
    return found[0]


def _payload(part: Part) -> bytes:
    """A file, or text in base64."""
    return strip_newline(part.data) if part.is_file else decode_base64(part.data.decode())


async def _read_card(request: Request, part: Part) -> ReadCard:
    """A picture, or the text of the code."""
    service: Service = request.app.state.service
    timings = request.state.timings
    if part.is_file and not is_text(part.data):
        work = service.read_cards(part.data, timings)
    else:
        work = service.read_card_text(part.data.decode("ascii", "replace"), timings)
    return only_card(await run(request, work))
