"""Limits of request bodies: of one by its kind, of all together, and of compressed ones once inflated."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.negotiate import JSON, media_type
from app.config import Settings
from cameo.errors import BadRequest, BodyTooLarge, Overloaded, UnsupportedMediaType

GZIP = {"gzip", "x-gzip"}
INFLATED_BYTES = 2**18  # of a compressed body at a time


class Budget:
    """Bytes of bodies that one process holds at the same time.

    A body may grow up to the number of bytes that are still free. So the largest are refused first, and there is always
    room for a small one (Choudhury and Hahne, Dynamic queue length thresholds, 1998).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @classmethod
    def of(cls, settings: Settings) -> "Budget":
        """ValueError where the largest body has no room."""
        limit = settings.body_memory_mb * 2**20
        if limit < 2 * settings.max_body_bytes:
            raise ValueError(
                f"CAMEO_BODY_MEMORY_MB={settings.body_memory_mb} must hold twice CAMEO_MAX_BODY_BYTES, "
                f"which is {settings.max_body_bytes}"
            )
        return cls(limit)

    def take(self, size: int, own: int) -> None:
        """``size`` bytes more for a body that has ``own`` already; Overloaded."""
        free = self._limit - self.held - size
        if own + size > free:
            raise Overloaded(
                f"the bodies of all requests take {self.held} bytes, the limit is {self._limit}; try again in 1 s",
                bytes=self.held, limit=self._limit, retry_after=1,
            )  # fmt: skip
        self.held += size

    def give_back(self, size: int) -> None:
        self.held -= size


class LimitBodies:
    """Refuses a body over its limit: by its declared length before a byte is read, else once it has grown too far.

    JSON has its own limit: parsing it blocks all other requests. A body with ``Content-Encoding: gzip`` is
    decoded, and the limits are for what comes out. BodyTooLarge, Overloaded, UnsupportedMediaType or BadRequest, when
    the body is read.
    """

    def __init__(self, app: ASGIApp, limit: int, json_limit: Callable[[], int], budget: Budget) -> None:
        self._app, self._limit, self._json_limit, self._budget = app, limit, json_limit, budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(Headers(scope=scope), receive, self._budget, self._limit, self._json_limit)
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._budget.give_back(body.size)


class _Body:
    def __init__(
        self, headers: Headers, receive: Receive, budget: Budget, limit: int, json_limit: Callable[[], int]
    ) -> None:
        self.size = 0
        self._receive, self._budget = receive, budget
        is_json = media_type(headers.get("content-type", "")) == JSON
        self._limit = min(limit, json_limit()) if is_json else limit
        declared = headers.get("content-length", "")
        self._declared = int(declared[:20]) if declared.isdecimal() else 0
        self._encoding = headers.get("content-encoding", "identity").strip().lower()
        self._inflate = Inflate() if self._encoding in GZIP else None

    async def receive(self) -> Message:
        if self._declared > self._limit:
            raise self._too_large(self._declared)
        if self._inflate is None and self._encoding != "identity":
            raise UnsupportedMediaType(
                f"Content-Encoding is {self._encoding[:100]!r}; send the body as it is, or with gzip",
                content_encoding=self._encoding[:100], allowed=["gzip", "identity"],
            )  # fmt: skip
        message = await self._receive()
        data = message.get("body", b"")
        if self._inflate is None or message["type"] != "http.request":
            self._grow(len(data))
            return message
        whole = b"".join([part async for part in self._inflated(data)])
        if not message.get("more_body", False):
            self._inflate.require_end()
        return {**message, "body": whole}

    async def _inflated(self, data: bytes) -> AsyncIterator[bytes]:
        assert self._inflate
        while data:
            part, data = await asyncio.to_thread(self._inflate, data, INFLATED_BYTES)
            self._grow(len(part))
            yield part

    def _grow(self, size: int) -> None:
        if self.size + size > self._limit:
            raise self._too_large(self.size + size)
        self._budget.take(size, self.size)
        self.size += size

    def _too_large(self, size: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"the body has at least {size} bytes, the limit is {self._limit}", bytes=size, limit=self._limit
        )


class Inflate:
    """Decodes gzip piece by piece; BadRequest for other data."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def __call__(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        """At most ``most`` bytes of what ``data`` becomes, and the rest of ``data``."""
        if self._stream.eof:
            raise BadRequest("there is more after the end of the gzip data; send one stream")
        try:
            part = self._stream.decompress(data, most)
        except zlib.error as error:
            raise BadRequest(f"the data is not gzip: {error}") from error
        return part, self._stream.unused_data or self._stream.unconsumed_tail

    def require_end(self) -> None:
        if not self._stream.eof:
            raise BadRequest("the gzip data is cut short")
