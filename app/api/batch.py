"""``POST /compress/batch`` and ``POST /reconstruct/batch``: many items in one request."""

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from app.api import archives, problems
from app.api.access import charge
from app.api.archives import Item, Limits
from app.api.description import (
    BINARY,
    DEADLINE_PARAMETER,
    PAYLOAD_ERRORS,
    PAYLOAD_EXAMPLE,
    PICTURE_ERRORS,
    files,
    headers,
)  # fmt: skip
from app.api.facts import doubts, frame_facts, model_header, observe_sizes, token_facts
from app.api.forms import FIELDS, FORM
from app.api.negotiate import OCTETS, PAYLOAD, content_type, negotiate
from app.api.parameters import Route, Wanted, refuse_unknown_fields
from app.api.payloads import strip_newline
from app.api.stream import NDJSON, TAR, Answer, Batch, stream
from app.api.uploads import read_form
from app.engine.service import Service
from cameo import errors
from cameo.jobs import Timings

router = APIRouter(tags=["batches"], route_class=Route)

ZIP = "application/zip"
GZIPPED = ("application/gzip", "application/x-gzip", "application/x-gtar", "application/x-tgz")
ZIPPED = (ZIP, "application/x-zip-compressed", "application/x-zip")
ARCHIVES = dict.fromkeys(ZIPPED, archives.unzip) | dict.fromkeys((TAR, *GZIPPED), archives.untar)

BATCH_ERRORS = (errors.BrokenArchive, errors.TooManyItems)


class WantedOfMany(Wanted):
    """The query of a batch to compress."""

    tokens: Annotated[bool, Query(description="whether lines have the tokens, some 30 times as long as payloads")] = (
        False
    )


def _open_body(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "parameters": [DEADLINE_PARAMETER],
        "requestBody": {"required": True, "description": description, "content": content},
    }


def _streamed(what: str, line: dict[str, Any], failed: int = 0) -> dict[str, Any]:
    lines = ({"index": 0, "name": "eileen"} | line, {"items": 1, "failed": failed})
    return {
        "description": f"Answers in the order of the items, sent as they are ready. {what} The last line has the "
        f"numbers of `items` and `failed` ones. In a tar, which {OCTETS} is, too, an item that failed is "
        "NAME.problem.json.",
        "content": {
            NDJSON: {
                "schema": {"type": "string"},
                "example": "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in lines),
            },
            **files(TAR, OCTETS),
        },
    }


@router.post(
    "/compress/batch",
    operation_id="compress_batch",
    summary="Many pictures to payloads",
    response_class=StreamingResponse,
    responses={
        200: _streamed("A line has `index`, `name`, and either `payload` in base64, `bytes`, `model`, `version`, "
                       "`effort`, `likeness`, `warnings`, `frame` and, if asked for, `tokens`, or `problem`.",
                       {"payload": PAYLOAD_EXAMPLE, "bytes": 32, "model": "cameo-128", "version": 5, "effort": "fast",
                        "likeness": None, "warnings": [], "frame": {"method": "asis", "box": [0, 0, 128, 128]}})
        | {"headers": headers("Cameo-Model")},
        **problems.responses(*PICTURE_ERRORS, errors.TooManyFaces, errors.BudgetTooSmall, *BATCH_ERRORS),
    },
    openapi_extra=_open_body(
        f"Pictures: fields `image` of a form, or the files of a zip or tar, as {ZIP}, {TAR}, {GZIPPED[0]} or {OCTETS}.",
        {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "array", "minItems": 1, "items": BINARY["schema"]}},
                }
            },
            OCTETS: BINARY,
        },
    ),
)  # fmt: skip
async def compress_batch(request: Request, wanted: Annotated[WantedOfMany, Query()]) -> Response:
    """Each picture gives what `/compress` gives for it alone with the same effort, and fails alone.

    Batches are for many: without an `effort`, theirs is `fast`, unless the service says otherwise.

    The deadline is for all of them: what is not done by then fails with `deadline-exceeded`. While the service is
    busy, a batch waits where a single picture would be refused.
    """
    service: Service = request.app.state.service
    media_type = negotiate(request, NDJSON, TAR, OCTETS)
    coder = await service.coder(wanted.model, wanted.version)
    coder.budget(wanted.max_bytes)
    effort = service.pipeline.effort(coder, wanted.effort, many=True)
    likeness = service.pipeline.judges(wanted.likeness, effort, many=True)
    items = await _pictures(request)

    async def compute(batch: Batch, data: bytes, timings: Timings) -> Answer:
        work = service.compress(data, wanted.frame, wanted.face, coder, wanted.max_bytes, effort, likeness, timings)
        done = await batch.run(work, timings)
        observe_sizes(service, coder, done, len(data))
        facts = doubts(done).model_dump() | {"effort": done.effort, "frame": frame_facts(done.frame).model_dump()}
        if wanted.tokens:
            facts["tokens"] = token_facts(coder, done).model_dump()
        return Answer(coder, done.payload, PAYLOAD, facts)

    charge(request, len(items))
    return stream(request, items, compute, media_type, {"Cameo-Model": model_header(coder)})


@router.post(
    "/reconstruct/batch",
    operation_id="reconstruct_batch",
    summary="Many payloads to pictures",
    response_class=StreamingResponse,
    responses={
        200: _streamed("A line has `index`, `name`, and either `picture` in base64, `media_type`, `bytes`, `model` and "
                       "`version`, or `problem`.",
                       {"problem": problems.example(errors.TruncatedPayload)}, failed=1),
        **problems.responses(*PAYLOAD_ERRORS, *BATCH_ERRORS),
    },
    openapi_extra=_open_body(
        f"Payloads, of any models: the files of a zip or tar, as {ZIP}, {TAR} or {GZIPPED[0]}, or lines of JSON, "
        f'`{{"payload": BASE64, "name": TEXT}}` with a name or without, as {NDJSON}; or any of these as {OCTETS}.',
        {OCTETS: BINARY},
    ),
)  # fmt: skip
async def reconstruct_batch(
    request: Request,
    picture_format: Annotated[
        Literal["png", "webp", "jpeg"], Query(alias="format", description="file format of the pictures")
    ] = "png",
) -> Response:
    """Each payload gives the picture that `/reconstruct` gives for it alone, and fails alone."""
    service: Service = request.app.state.service
    media_type = negotiate(request, NDJSON, TAR, OCTETS)
    items = await _unpack(request, {NDJSON: archives.lines, OCTETS: archives.unpack_payloads} | ARCHIVES)
    picture_type = f"image/{picture_format}"

    async def compute(batch: Batch, data: bytes, timings: Timings) -> Answer:
        coder, payload = await service.open_payload(strip_newline(data))
        work = service.reconstruct(coder, partial(coder.unpack, payload), picture_type, timings)
        return Answer(coder, await batch.run(work, timings), picture_type)

    charge(request, len(items))
    return stream(request, items, compute, media_type, {})


def _limits(request: Request) -> Limits:
    settings = request.app.state.service.settings
    return Limits(settings.batch_items, settings.max_body_bytes)


async def _pictures(request: Request) -> list[Item]:
    if content_type(request) != FORM:
        return await _unpack(request, {OCTETS: archives.unpack} | ARCHIVES, FORM)
    limit = _limits(request).items
    parts = await read_form(request, limit + FIELDS)
    images = [part for part in parts if part.name == "image"]
    if len(images) > limit:
        raise archives.too_many(len(images), limit)
    if not images or not all(part.is_file for part in images):
        raise errors.ImageFieldMissing(
            "send each picture as a file in a field named image (with curl: -F image=@a.jpg)"
        )
    refuse_unknown_fields(request, [part.name for part in parts], "image")
    return [Item(archives.label(part.filename or "", i), partial(bytes, part.data)) for i, part in enumerate(images)]


async def _unpack(
    request: Request, openers: Mapping[str, Callable[[bytes, Limits], list[Item]]], *also: str
) -> list[Item]:
    kind = content_type(request)
    if kind not in openers:
        allowed = [*also, *(kind for kind in openers if kind in {NDJSON, ZIP, TAR, GZIPPED[0]})]
        raise errors.UnsupportedMediaType(
            f"the body is {kind or 'of no stated type'}; send {' or '.join(allowed)}",
            content_type=kind, allowed=allowed,
        )  # fmt: skip
    return await asyncio.to_thread(openers[kind], await request.body(), _limits(request))
