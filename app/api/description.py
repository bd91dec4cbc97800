"""What the OpenAPI document says of bodies, answers and errors beyond their schemas."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI

from app.api import access
from app.api.problems import MEDIA_TYPE, responses
from app.api.run import DEADLINE
from app.api.schemas import CardRequest, CardText, InterpolateRequest, Problem, ReconstructRequest, ShortenRequest
from cameo import errors
from cameo.errors import CameoError

BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}

# The shipped cameo-128, version 5, at 32 bytes, of astronaut.png of scikit-image: Eileen Collins, by NASA.
PAYLOAD_EXAMPLE = "E8eoAii1QfRm1WZXeX8P6GNLYQUdX6k0+iWUx4pJYns="
LINE_EXAMPLE = f'{{"payload":"{PAYLOAD_EXAMPLE}","name":"eileen"}}\n'

PICTURE_ERRORS = (
    errors.NotAnImage, errors.TruncatedImage, errors.UnsupportedImage, errors.TooManyPixels,
    errors.TooComplex, errors.NoFace, errors.NotAcceptable, errors.BodyTooLarge, errors.UnsupportedMediaType,
    errors.ImageFieldMissing, errors.ImageFieldRepeated, errors.UnknownModel, errors.UnknownVersion,
    errors.RefusedVersion, errors.StoreUnavailable, errors.Overloaded, errors.NotReady, errors.DeadlineExceeded,
)  # fmt: skip
PAYLOAD_ERRORS = (
    errors.EmptyPayload, errors.TruncatedPayload, errors.OverlongPayload, errors.DamagedPayload,
    errors.ForeignPayload, errors.UnknownTag, errors.NotAcceptable, errors.BodyTooLarge, errors.UnsupportedMediaType,
    errors.RefusedVersion, errors.StoreUnavailable, errors.Overloaded, errors.NotReady, errors.DeadlineExceeded,
)  # fmt: skip
CARD_ERRORS = (errors.NoCard, errors.NotACard, errors.DamagedCard, errors.InvalidKey)
# Whatever is asked: what is no HTTP, a query parameter that is not known, a head or a connection too many, a defect.
ANY_ERRORS = (
    errors.BadRequest, errors.InvalidParameter, errors.HeadTooLarge, errors.TooManyConnections, errors.InternalError,
)  # fmt: skip

DEADLINE_PARAMETER = {
    "name": DEADLINE, "in": "header", "required": False,
    "description": "milliseconds from the request's head within which the answer is of use; what cannot be done in "
    "time is refused, or dropped, with 504. Default: the service's",
    "schema": {"type": "integer", "minimum": 1},
}  # fmt: skip

HEADERS = {
    "X-Request-Id": "the request's, or a new one; logs have it",
    "traceparent": "W3C trace context: the request's, or a new one",
    "X-Content-Type-Options": "nosniff",
    "Server-Timing": "milliseconds that each stage took",
    "Retry-After": "seconds after which the request has a chance",
    "WWW-Authenticate": "Bearer",
    "Cameo-Model": "name, version and digest of the model version that was used; a Structured Fields dictionary",
    "Cameo-Sizes": "`sizes` as a Structured Fields dictionary, where the body is the payload alone",
    "Cameo-Tokens": "`shape` and `codebook-size` of the tokens, where the body is the payload alone",
    "Cameo-Effort": "`effort`, where the body is the payload alone",
    "Cameo-Frame": "`frame` as a Structured Fields dictionary, where the body is the payload alone",
    "Cameo-Likeness": "`likeness`, where the body is the payload alone",
    "Cameo-Card": "`characters` and `qr-version` of the card, and the bytes of its `payload`",
    "Cameo-Warnings": "codes of the `warnings`, where there are any and the body is the payload alone",
}
REQUIRED = {"X-Request-Id"}  # the server outside answers with it, too
ON_ALL = ("X-Request-Id", "traceparent", "X-Content-Type-Options", "Server-Timing")
ON_STATUS = {"401": ["WWW-Authenticate"], "429": ["Retry-After"], "503": ["Retry-After"]}
FACTS = ("Cameo-Sizes", "Cameo-Tokens", "Cameo-Effort", "Cameo-Frame", "Cameo-Likeness", "Cameo-Warnings")


def files(*kinds: str) -> dict[str, Any]:
    """``content`` of a body or an answer that is a file of one of these media types."""
    return dict.fromkeys(kinds, BINARY)


def headers(*names: str) -> dict[str, Any]:
    """``headers`` of an answer."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def describe(app: FastAPI, keys_needed: bool, max_deadline_ms: int) -> None:
    """Make ``app.openapi()`` say what no route knows: what is around all of them."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(original(), keys_needed, max_deadline_ms)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], keys_needed: bool, max_deadline_ms: int) -> None:
    components = document["components"]
    # Which FastAPI does not see.
    for schema in (Problem, InterpolateRequest, ReconstructRequest, ShortenRequest, CardRequest, CardText):
        described = schema.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= described.pop("$defs", {}) | {schema.__name__: described}
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} | ({"required": True} if name in REQUIRED else {})
        for name, text in HEADERS.items()
    }
    if keys_needed:
        components["securitySchemes"] = access.SCHEMES
    for path, operations in document["paths"].items():
        needs_key = keys_needed and path not in access.OPEN
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == DEADLINE:
                    parameter["schema"]["maximum"] = max_deadline_ms
            if needs_key:
                operation["security"] = [{name: []} for name in access.SCHEMES]
            _add_errors(operation["responses"], (*ANY_ERRORS, *(access.ERRORS if needs_key else ())))
            for status, answer in operation["responses"].items():
                answer["headers"] = headers(*ON_ALL, *ON_STATUS.get(status, [])) | answer.get("headers", {})


def _add_errors(documented: dict[str, Any], kinds: Iterable[type[CameoError]]) -> None:
    known = {name for answer in documented.values() for name in _problem(answer).get("examples", {})}
    for status, more in responses(*(kind for kind in kinds if kind.type not in known)).items():
        answer = documented.setdefault(str(status), more)
        if answer is not more:
            answer["description"] = answer["description"].rstrip(".") + "; " + more["description"]
            answer["content"].setdefault(MEDIA_TYPE, _problem(more))
            _problem(answer)["examples"] |= _problem(more)["examples"]
    by_status = sorted(documented.items())
    documented.clear()
    documented.update(by_status)


def _problem(answer: dict[str, Any]) -> dict[str, Any]:
    """What is documented of an answer that is a problem; empty where it is none."""
    found: dict[str, Any] = answer.get("content", {}).get(MEDIA_TYPE, {})
    return found
