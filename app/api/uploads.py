"""The uploaded picture: the raw body, or the one field ``image`` of a form."""

from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from app.api.negotiate import content_type
from cameo.errors import ImageFieldMissing, ImageFieldRepeated, UnsupportedMediaType

FORM = "multipart/form-data"


async def read_image(request: Request) -> bytes:
    """The bytes of the picture; which format they are is for the decoder to find out."""
    kind = content_type(request)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return await request.body()
    if kind != FORM:
        raise UnsupportedMediaType(
            f"the body is {kind or 'of no stated type'}; send the picture as image/* or as the field image of a {FORM}",
            content_type=kind, allowed=["image/*", "application/octet-stream", FORM],
        )  # fmt: skip
    async with request.form(max_files=8, max_fields=8) as form:
        fields = form.getlist("image")
        if not fields:
            names = sorted({name[:50] for name in form})
            raise ImageFieldMissing(f"the form has the fields {names}; name the picture's field image", fields=names)
        if len(fields) > 1:
            raise ImageFieldRepeated(f"the form has {len(fields)} fields named image; send one", count=len(fields))
        field = fields[0]
        if not isinstance(field, UploadFile):
            raise ImageFieldMissing("the field image is text; send it as a file (with curl: -F image=@photo.jpg)")
        return await field.read()


REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A photo or portrait: the raw bytes, or the one field `image` of a form.",
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
