"""``POST /card``: a face and claims to a signed card. ``POST /card/read``: a card to claims, face and signature."""

from datetime import date, datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api import json_body
from app.api.description import (
    BINARY,
    CARD_ERRORS,
    DEADLINE_PARAMETER,
    PAYLOAD_ERRORS,
    PAYLOAD_EXAMPLE,
    PICTURE_ERRORS,
    files,
    headers,
)
from app.api.facts import card_facts, dictionary, model_header
from app.api.forms import FIELDS, FORM
from app.api.negotiate import JSON, OCTETS, content_type, negotiate
from app.api.parameters import Route, WantedFace, refuse_unknown_fields
from app.api.payloads import decode_base64
from app.api.problems import responses
from app.api.run import run
from app.api.schemas import CardRequest, CardsAnswer, CardText
from app.api.uploads import one_image, read_form, read_image
from app.engine.admission import Kind
from app.engine.service import Service, Work
from cameo import errors
from cameo.cards import MEDIA_TYPES, Claims, make_card, require_drawable
from cameo.coder.coder import Coder
from cameo.work import compressed, unpacked

router = APIRouter(tags=["cards"], route_class=Route)

TEXT = "text/plain"
CLAIMS_BYTES = 2**13  # of a form's field: more than the longest values of all attributes take that fit on a card
CLAIMS_EXAMPLE = {"full_name": "Eileen Collins", "date_of_birth": "1956-11-19", "gender": "female", "nationality": "US"}


class WantedCard(WantedFace):
    """The query of a request to make a card."""

    expires: Annotated[
        date | datetime | None,
        Query(description="last day on which the card is valid, in UTC, or the very moment, with its time zone"),
    ] = None
    not_before: Annotated[
        date | datetime | None, Query(description="first day on which the card is valid, or the very moment")
    ] = None
    dpi: Annotated[Literal["300", "600"], Query(description="dots per inch of a PNG")] = "300"


@router.post(
    "/card",
    operation_id="card",
    summary="A face and claims to a signed card",
    response_class=Response,
    responses={
        200: {
            "description": f"The card, 85.6 by 54 mm, to print; as {TEXT} only what its QR code holds. "
            f"{OCTETS} is a PDF, for whoever asks for none of these.",
            "content": files(*MEDIA_TYPES.values(), OCTETS),
            "headers": headers("Cameo-Model", "Cameo-Card"),
        },
        **responses(
            *dict.fromkeys((*PICTURE_ERRORS, *PAYLOAD_ERRORS)), errors.TooManyFaces, errors.BudgetTooSmall,
            errors.CardTooLarge, errors.CannotDraw, errors.NoSigningKey,
        ),
    },
    openapi_extra={
        "parameters": [DEADLINE_PARAMETER],
        "requestBody": {
            "required": True,
            "description": "A form with a photo and the claims, or JSON with a payload and the claims.",
            "content": {
                FORM: {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {
                            "image": BINARY["schema"],
                            "claims": {
                                "type": "string",
                                "contentMediaType": JSON,
                                "description": "attributes of Claim 169, as in CardRequest",
                            },
                        },
                    },
                },
                JSON: {
                    "schema": {"$ref": f"#/components/schemas/{CardRequest.__name__}"},
                    "example": {"payload": PAYLOAD_EXAMPLE, "claims": CLAIMS_EXAMPLE},
                },
            },
        },
    },
)  # fmt: skip
async def card(request: Request, wanted: Annotated[WantedCard, Query()]) -> Response:
    """Compress the face, sign it with the claims, print the card.

    Only where the service has a key, `CAMEO_CARD_KEY`. All claims are in the QR code; name, date of birth, sex,
    nationality and number are printed, too. What does not fit, or cannot be drawn, is refused before anything is.
    """
    service: Service = request.app.state.service
    key = service.issuing.require_key()
    media_type = negotiate(request, *MEDIA_TYPES.values(), OCTETS)
    file_type = MEDIA_TYPES[".pdf"] if media_type == OCTETS else media_type
    coder, claims, face = await (_of_payload if content_type(request) == JSON else _of_photo)(request, wanted)
    if file_type != TEXT:
        require_drawable(claims, key)
    sign = partial(make_card, claims=claims, key=key, expires=wanted.expires, not_before=wanted.not_before)
    work = service.print_card(face, coder, sign, file_type, int(wanted.dpi), request.state.timings)
    done, file = await run(request, work)
    facts: dict[str, object] = {
        "characters": len(done.text),
        "qr_version": done.qr_version,
        "payload": len(done.payload),
    }
    named = {"Cameo-Model": model_header(coder), "Cameo-Card": dictionary(facts)}
    return Response(file, headers=named, media_type=media_type)


async def _of_photo(request: Request, wanted: WantedCard) -> tuple[Coder, Claims, Work[Any]]:
    service: Service = request.app.state.service
    if content_type(request) != FORM:
        raise errors.UnsupportedMediaType(
            f"the body is {content_type(request) or 'of no stated type'}; send a {FORM} with the fields image and "
            f"claims, or {JSON} with payload and claims", content_type=content_type(request), allowed=[FORM, JSON],
        )  # fmt: skip
    coder = await service.coder(wanted.model, wanted.version)
    effort = service.pipeline.effort(coder, wanted.effort)
    parts = await read_form(request, FIELDS)
    refuse_unknown_fields(request, [part.name for part in parts], "image", "claims")
    data = one_image(parts)
    given = [part.data for part in parts if part.name == "claims"]
    if len(given) > 1:
        raise errors.InvalidParameter(f"the form has {len(given)} fields named claims; send one", parameter="claims")
    claims = _claims(given[0]) if given else Claims()
    photo = service.compress(
        data, wanted.frame, wanted.face, coder, wanted.max_bytes, effort, False, request.state.timings
    )
    return coder, claims, Work(compressed(photo.job), photo.kind, photo.first)


async def _of_payload(request: Request, _: WantedCard) -> tuple[Coder, Claims, Work[Any]]:
    service: Service = request.app.state.service
    asked = json_body.parse(CardRequest, await request.body(), "the body")
    data = decode_base64(asked.payload)
    coder, payload = await service.open_payload(data)
    return coder, asked.claims, Work(unpacked(data, coder, payload), Kind(coder.manifest.name), coder.decoding)


def _claims(data: bytes) -> Claims:
    if len(data) > CLAIMS_BYTES:
        raise errors.CardTooLarge(
            f"the claims have {len(data)} bytes, the limit is {CLAIMS_BYTES}; a card holds some hundred",
            bytes=len(data), limit=CLAIMS_BYTES,
        )  # fmt: skip
    return json_body.parse(Claims, data, "claims")


@router.post(
    "/card/read",
    operation_id="read_card",
    summary="A picture of a card, or its text, to claims, face and the state of the signature",
    response_model=CardsAnswer,
    responses={
        200: {"description": "What each card says, and whether a trusted issuer says it."},
        **responses(*PICTURE_ERRORS, *CARD_ERRORS),
    },
    openapi_extra={
        "parameters": [DEADLINE_PARAMETER],
        "requestBody": {
            "required": True,
            "description": f"A photo or scan of one card or several: its bytes, as image/* or {OCTETS}, or the one "
            f"field `image` of a form. Or the text of the QR code, as {TEXT} or JSON.",
            "content": {
                FORM: {
                    "schema": {"type": "object", "required": ["image"], "properties": {"image": BINARY["schema"]}},
                },
                OCTETS: BINARY,
                JSON: {"schema": {"$ref": f"#/components/schemas/{CardText.__name__}"}},
            },
        },
    },
)
async def read_card(request: Request) -> Response:
    """Find the QR code, verify the signature, give what is signed.

    Trusted are the issuers whose public keys are in the folder `CAMEO_CARD_ISSUERS`, and the service itself. The
    states: valid, unknown-issuer, broken (the signature is not the issuer's), expired, not-yet-valid.
    """
    service: Service = request.app.state.service
    negotiate(request, JSON)
    kind, timings = content_type(request), request.state.timings
    if kind == JSON:
        asked = json_body.parse(CardText, await request.body(), "the body")
        work = service.read_card_text(asked.text, timings)
    elif kind == TEXT:
        work = service.read_card_text((await request.body()).decode("ascii", "replace"), timings)
    else:
        work = service.read_cards(await read_image(request), timings)
    answer = CardsAnswer(cards=[card_facts(each) for each in await run(request, work)])
    return JSONResponse(answer.model_dump(mode="json"))
