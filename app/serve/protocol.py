"""Limits for HTTP connections, which uvicorn and httptools lack.

A head that is too large is refused with 431 while it arrives, before the application sees it. All that is not body
counts: extensions of chunks and trailers, too. Beyond ``connections`` a new connection gets 503. A client that is still
sending when it is answered can read the answer: what it sends is dropped for a while before the connection is closed,
as nginx does with ``lingering_close``.
"""

import asyncio
import json
import secrets
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.problems import MEDIA_TYPE, TYPE_PREFIX
from app.observe.metrics import Metrics
from cameo.errors import BadRequest, CameoError, HeadTooLarge, TooManyConnections

HEAD_BYTES = 2**16
HEAD_FIELDS = 100
PIPELINED = 32  # requests on one connection that wait for the answer to an earlier one
LINGER_SECONDS = 30.0
LINGER_BYTES = 128 * 2**20
HURRY_SECONDS = 1.0  # the same while the service ends, or is full


class Lingering:
    """A transport whose ``close`` waits until the client has stopped to send, within limits."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = LINGER_BYTES
        self._timer: asyncio.TimerHandle | None = None
        self.unread = False  # the client has more to send than was read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def lingers(self) -> bool:
        return self._timer is not None

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self.lingers:  # after that nothing is sent any more
            self._transport.write(data)

    def close(self, seconds: float = LINGER_SECONDS) -> None:
        if self.lingers or self._transport.is_closing() or not self.unread:
            self.end()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def drop(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            self.end()

    def end(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """One connection."""

    transport: Lingering  # type: ignore[assignment]

    def __init__(self, *args: Any, most_connections: int, metrics: Metrics, **more: Any) -> None:
        super().__init__(*args, **more)
        self._most_connections, self._metrics = most_connections, metrics
        self._start_count()

    def _start_count(self) -> None:
        self._spare = HEAD_BYTES  # bytes that may still come without being a body
        self._head = self._fields = 0
        self._error: CameoError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", Lingering(transport)))
        if len(self.connections) > self._most_connections:
            self._refuse(
                TooManyConnections(
                    f"there are {self._most_connections} connections, which is the limit; try again in 1 s",
                    limit=self._most_connections, retry_after=1,
                ), "connections", HURRY_SECONDS,
            )  # fmt: skip

    def data_received(self, data: bytes) -> None:
        if self.transport.lingers:
            self.transport.drop(len(data))
            return
        self._spare -= len(data)
        super().data_received(data)
        if self._spare < 0 and not self.transport.is_closing():
            self._refuse(_too_large(f"more than {HEAD_BYTES} bytes of it are no body"), "head")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_count()
        if len(self.pipeline) >= PIPELINED:
            self._fail(BadRequest(f"more than {PIPELINED} requests were sent before the first was answered"))

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value) + len(": \r\n"))
        if self._fields > HEAD_FIELDS:
            self._fail(_too_large(f"it has more than {HEAD_FIELDS} fields"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.transport.unread = True

    def on_body(self, body: bytes) -> None:
        self._spare += 2 * len(body)  # so the framing of chunks may be as long as what is in them
        if self.cycle.response_complete:
            self.transport.drop(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.transport.unread = False

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_BYTES:
            self._fail(_too_large(f"it has more than {HEAD_BYTES} bytes"))

    def _fail(self, error: CameoError) -> None:
        """Stop the parser, which then calls :meth:`send_400_response`."""
        self._error = error
        raise error

    def send_400_response(self, msg: str) -> None:
        if self._error:
            self._refuse(self._error, "head")
        else:
            self._refuse(BadRequest(f"{msg} It is not HTTP/1.1."), "head")

    def _refuse(self, error: CameoError, reason: str, linger: float = LINGER_SECONDS) -> None:
        """Answer in the application's place, unless an answer has begun already, and close."""
        self._metrics.rejected.labels(reason).inc()
        pending = self.cycle is not None and not self.cycle.response_complete
        if not self.pipeline and not (pending and self.cycle.response_started):
            self.transport.write(_answer(error))
        if pending:  # the application waits for a body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.unread = True
        self.transport.close(linger)

    def shutdown(self) -> None:
        if self.transport.lingers:
            self.transport.end()
        else:
            super().shutdown()


def _too_large(what: str) -> HeadTooLarge:
    return HeadTooLarge(
        f"the head of the request is too large: {what}", limit_bytes=HEAD_BYTES, limit_fields=HEAD_FIELDS
    )


def _answer(error: CameoError) -> bytes:
    request_id = secrets.token_hex(16)
    facts = dict(error.facts)
    retry_after = facts.pop("retry_after", None)
    document = facts | {
        "type": TYPE_PREFIX + error.type, "title": error.title, "status": error.status, "detail": error.detail,
        "request_id": request_id,
    }  # fmt: skip
    body = json.dumps(document).encode()
    head = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        f"Content-Type: {MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
        *([f"Retry-After: {retry_after}"] if retry_after else []),
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
