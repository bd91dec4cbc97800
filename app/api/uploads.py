"""The uploaded picture: the raw body, or the one field ``image`` of a form."""

import asyncio
from typing import Any

from fastapi import Request

from app.api.description import BINARY
from app.api.forms import FIELDS, FORM, Part, parse
from app.api.negotiate import OCTETS, content_type
from app.api.parameters import refuse_unknown_fields
from cameo.errors import ImageFieldMissing, ImageFieldRepeated, UnsupportedMediaType

AT_ONCE_BYTES = 2**19  # of a form: what takes no longer than a thread's turn


async def read_image(request: Request) -> bytes:
    """The bytes of the picture; which format they are is for the decoder to find out."""
    kind = content_type(request)
    if kind.startswith("image/") or kind == OCTETS:
        return await request.body()
    if kind != FORM:
        raise UnsupportedMediaType(
            f"the body is {kind or 'of no stated type'}; send the picture as image/* or as the field image of a {FORM}",
            content_type=kind, allowed=["image/*", OCTETS, FORM],
        )  # fmt: skip
    parts = await read_form(request, FIELDS)
    data = image_of(parts)
    refuse_unknown_fields(request, [part.name for part in parts], "image")
    return data


def image_of(parts: list[Part]) -> bytes:
    """The one file in the field ``image``."""
    images = [part for part in parts if part.name == "image"]
    if not images:
        names = sorted({part.name[:50] for part in parts})
        raise ImageFieldMissing(f"the form has the fields {names}; name the picture's field image", fields=names)
    if len(images) > 1:
        raise ImageFieldRepeated(f"the form has {len(images)} fields named image; send one", count=len(images))
    if not images[0].is_file:
        raise ImageFieldMissing("the field image is text; send it as a file (with curl: -F image=@photo.jpg)")
    return images[0].data


async def read_form(request: Request, most: int) -> list[Part]:
    """The parts of the form, at most so many; see :func:`app.api.forms.parse`."""
    body, kind = await request.body(), request.headers["content-type"]
    if len(body) <= AT_ONCE_BYTES:
        return parse(body, kind, most)
    return await asyncio.to_thread(parse, body, kind, most)


REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"A photo or portrait: its bytes, as image/* or {OCTETS}, or the one field `image` of a form.",
        "content": {
            FORM: {
                "schema": {"type": "object", "required": ["image"], "properties": {"image": BINARY["schema"]}},
            },
            OCTETS: BINARY,
        },
    }
}
