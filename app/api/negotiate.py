"""Content negotiation: which of the offered media types an ``Accept`` header prefers."""

import mimeparse
from fastapi import Request

from cameo.errors import NotAcceptable

PAYLOAD = "application/vnd.cameo"
JSON = "application/json"
OCTETS = "application/octet-stream"


def negotiate(request: Request, *offered: str) -> str:
    """The best of ``offered`` (the first where all are equally welcome), or NotAcceptable."""
    accept = ", ".join(request.headers.getlist("accept")) or "*/*"
    try:
        # On a tie mimeparse takes the last; it tells upper from lower case, which RFC 9110 does not.
        best: str = mimeparse.best_match(list(reversed(offered)), accept.lower())
    except mimeparse.MimeTypeParseException:
        best = ""
    if not best:
        raise NotAcceptable(
            f"Accept is {accept[:100]!r}; this address gives {', '.join(offered)}", accept=accept[:100], offered=offered
        )
    return best


def content_type(request: Request) -> str:
    """The media type of the body; empty where none is given."""
    return media_type(request.headers.get("content-type", ""))


def media_type(value: str) -> str:
    """Of the field ``Content-Type``: without parameters, in lower case, at most 100 characters."""
    return value.partition(";")[0].strip().lower()[:100]
