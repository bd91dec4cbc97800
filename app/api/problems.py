"""Errors as ``application/problem+json`` (RFC 9457)."""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cameo import errors
from cameo.errors import QUOTED_CHARACTERS, CameoError
from cameo.validation import problems

log = logging.getLogger("cameo.api")

MEDIA_TYPE = "application/problem+json"
DETAIL_CHARACTERS = 1000
FACT_ITEMS = 100
FACT_BITS = 640  # of a whole number: some 200 digits
TYPE_PREFIX = "urn:cameo:problem:"


def problem(request: Request, error: CameoError) -> Response:
    """The answer for an error, see :func:`document`."""
    retry_after = error.facts.get("retry_after")
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return JSONResponse(document(request, error), error.status, headers, media_type=MEDIA_TYPE)


def document(request: Request, error: CameoError) -> dict[str, Any]:
    """An error's type, title, status and detail, the request's id, and the error's facts."""
    return {name: _short(value) for name, value in error.facts.items() if name != "retry_after"} | {
        "type": TYPE_PREFIX + error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail[:DETAIL_CHARACTERS],
        "request_id": request.scope.get("state", {}).get("request_id"),
    }


def install(app: FastAPI) -> None:
    """Make the application's errors and the framework's problems; the middleware answers all other exceptions."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, CameoError)
        if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("%s: %s", error.type, error.detail, exc_info=error)
        return problem(request, error)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = problems(error)
        first = found[0]
        return problem(
            request,
            errors.InvalidParameter(
                str(first)[:QUOTED_CHARACTERS],
                parameter=first.place,
                value=_short(first.value),
                problems=[{"at": each.place, "problem": each.message} for each in found],
            ),
        )

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = _BY_STATUS.get(error.status_code, errors.BadRequest)
        detail = f"{request.method[:QUOTED_CHARACTERS]} {request.url.path[:QUOTED_CHARACTERS]}: {error.detail}"
        if allow := (error.headers or {}).get("Allow"):
            detail += f"; it takes {allow}"
        answer = problem(request, kind(detail))
        for name, value in (error.headers or {}).items():
            answer.headers[name] = value
        return answer

    app.add_exception_handler(CameoError, ours)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, framework)


_BY_STATUS: dict[int, type[CameoError]] = {
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    406: errors.NotAcceptable,
    413: errors.BodyTooLarge,
    415: errors.UnsupportedMediaType,
}


def _short(value: Any) -> Any:
    """A fact, shortened where it is long: any part of it may come from a client."""
    if isinstance(value, dict):
        return {str(key)[:QUOTED_CHARACTERS]: _short(each) for key, each in islice(value.items(), FACT_ITEMS)}
    if isinstance(value, list | tuple):
        return [_short(each) for each in islice(value, FACT_ITEMS)]
    if isinstance(value, float | bool | type(None)):
        return value
    if isinstance(value, int) and value.bit_length() <= FACT_BITS:
        return value
    return str(value)[:QUOTED_CHARACTERS]


def responses(*kinds: type[CameoError]) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route in OpenAPI: for each status the problems that it can stand for."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status in sorted({kind.status for kind in kinds}):
        same = [kind for kind in kinds if kind.status == status]
        documented[status] = {
            "description": "; ".join(kind.title for kind in same),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": _examples(same)}},
        }
    return documented


def example(kind: type[CameoError]) -> dict[str, Any]:
    return {
        "type": TYPE_PREFIX + kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": "one sentence on what is wrong with this request",
        "request_id": "4f1d6f0c8d2c4b7f9a3e5d1c0b9a8f7e",
    }


def _examples(kinds: Iterable[type[CameoError]]) -> dict[str, Any]:
    return {kind.type: {"value": example(kind)} for kind in kinds}
