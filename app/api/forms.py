"""The parts of a ``multipart/form-data`` body (RFC 7578): found in one pass, in C, and few of them."""

import re
from typing import NamedTuple
from urllib.parse import unquote

from cameo.errors import BadRequest, UnsupportedMediaType, quoted

FORM = "multipart/form-data"
FIELDS = 8  # parts of a form that is for one picture
HEADER_BYTES = 8192  # of a part
BOUNDARY_CHARACTERS = 70  # RFC 2046
WINDOW_BYTES = 2**17  # searched at a time: meanwhile no other thread has a turn
TEXT_BYTES = 1000  # a part without file name and type that is longer is taken for a file

_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)')
_CHARSETS = {"", "utf-8", "utf8", "us-ascii"}


class Part(NamedTuple):
    name: str
    filename: str | None
    media_type: str  # empty where none is given
    data: bytes

    @property
    def is_file(self) -> bool:
        """By its file name or type; a part that has neither is text if its bytes are."""
        if self.filename is not None or self.media_type not in {"", "text/plain"}:
            return True
        return len(self.data) > TEXT_BYTES or not _is_text(self.data)


def parse(body: bytes, content_type: str, most: int) -> list[Part]:
    """At most ``most`` parts, in order. BadRequest, or UnsupportedMediaType for text that is not UTF-8."""
    parameters = _parameters(content_type)
    charset = parameters.get("charset", "").lower()
    if charset not in _CHARSETS:
        raise UnsupportedMediaType(
            f"the form's charset is {quoted(charset)}; send UTF-8, and leave the parameter out",
            content_type=FORM, charset=charset[:100], allowed=["utf-8"],
        )  # fmt: skip
    boundary = parameters.get("boundary", "")
    if not 0 < len(boundary) <= BOUNDARY_CHARACTERS:
        raise BadRequest(
            f"the boundary of the form has {len(boundary)} characters; 1 to {BOUNDARY_CHARACTERS} are read"
        )
    dash = b"--" + boundary.encode()
    parts: list[Part] = []
    at = len(dash) if body.startswith(dash) else _find(body, b"\r\n" + dash, 0)[1]
    while body[at : at + 2] != b"--":
        if len(parts) == most:
            raise BadRequest(f"the form has more than {most} parts, which is the limit")
        start = at + 2
        end = body.find(b"\r\n\r\n", at, at + HEADER_BYTES)
        if body[at:start] != b"\r\n" or end < 0:
            raise BadRequest(
                f"part {len(parts)} of the form does not begin with a header of up to {HEADER_BYTES} bytes"
            )
        stop, at = _find(body, b"\r\n" + dash, end + 4)
        parts.append(_part(body[start:end], body[end + 4 : stop]))
    return parts


def _find(body: bytes, delimiter: bytes, start: int) -> tuple[int, int]:
    """Where the next delimiter begins and ends."""
    while start < len(body):
        found = body.find(delimiter, start, start + WINDOW_BYTES + len(delimiter))
        if found >= 0:
            return found, found + len(delimiter)
        start += WINDOW_BYTES
    raise BadRequest("the form is cut short: its boundary does not come any more")


def _part(header: bytes, data: bytes) -> Part:
    fields = {}
    for line in header.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    parameters = _parameters(fields.get("content-disposition", ""))
    if "name" not in parameters:
        raise BadRequest("a part of the form has no name: Content-Disposition must have one")
    filename = parameters.get("filename")
    if extended := parameters.get("filename*"):  # RFC 8187: charset'language'percent-encoded
        filename = unquote(extended.split("'", 2)[-1], "utf-8", "replace")
    return Part(parameters["name"], filename, fields.get("content-type", "").partition(";")[0].strip().lower(), data)


def _parameters(value: str) -> dict[str, str]:
    """Of a header field's value."""
    return {name.lower(): _unquote(text) for name, text in _PARAMETER.findall(value[:HEADER_BYTES])}


def _unquote(text: str) -> str:
    # Browsers escape quotes as %22 and send backslashes, of Windows' paths, as they are.
    return text[1:-1].replace('\\"', '"') if text.startswith('"') and len(text) > 1 else text


def _is_text(data: bytes) -> bool:
    try:
        return data.decode().isprintable()
    except UnicodeDecodeError:
        return False
