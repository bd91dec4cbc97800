"""Plain ASGI middleware: what every request gets, whatever it asks for."""

import asyncio
import re
import time

from opentelemetry.trace import get_current_span
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import pages
from app.api.problems import problem
from app.observe import access, tracing
from app.observe.exchange import Exchange
from app.observe.metrics import Metrics
from cameo.errors import ClientLeft, InternalError, NotReady
from cameo.jobs import Timings

ENDED = "the service has ended, and this was not done within its grace period"

MODEL = re.compile(r'name="([^"]*)", version=(\d+)')  # in the header Cameo-Model


class Observe:
    """Gives each request an id and a trace, its answer the common headers, and reports both when they have ended.

    What nothing inside handles is answered here, not by the server outside, so that it has all of these, too.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, traces: tracing.Tracing | None = None) -> None:
        self._app, self._metrics, self._traces = app, metrics, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = tracing.traceparent(Headers(scope=scope), self._traces)
        exchange = self._begin(scope, trace)

        async def counted_receive() -> Message:
            message = await receive()
            exchange.count_received(message)
            return message

        async def marked_send(message: Message) -> None:
            exchange.count_sent(message)
            if message["type"] == "http.response.start":
                self._mark(exchange, MutableHeaders(scope=message), trace)
            await send(message)

        try:
            await self._answer(exchange, counted_receive, marked_send)
        finally:
            self._report(exchange)

    def _begin(self, scope: Scope, trace: str) -> Exchange:
        exchange = Exchange(scope, Timings())
        if self._traces:
            exchange.timings.seconds = tracing.Stages()
        scope.setdefault("state", {}).update(
            request_id=access.request_id(Headers(scope=scope)), trace_id=trace.split("-")[1], timings=exchange.timings
        )
        return exchange

    def _mark(self, exchange: Exchange, headers: MutableHeaders, trace: str) -> None:
        """Headers that every answer has."""
        state, seconds = exchange.scope["state"], exchange.timings.seconds
        headers["X-Request-Id"], headers["traceparent"] = state["request_id"], trace
        pages.protect(headers)
        if model := MODEL.match(headers.get("Cameo-Model", "")):
            state["model"] = "/".join(model.groups())
        if self._traces:  # now: the span ends with the answer's last byte
            tracing.mark(exchange.marks)
        if seconds:
            headers["Server-Timing"] = ", ".join(f"{stage};dur={s * 1e3:.2f}" for stage, s in seconds.items())

    async def _answer(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        scope = exchange.scope
        try:
            await self._app(scope, receive, send)
        except (ClientDisconnect, ClientLeft):
            pass  # there is nobody to answer
        except asyncio.CancelledError:
            # Only uvicorn cancels a whole request: it has outlived the grace period. An answer that has begun is cut
            # where whoever reads it notices.
            if not exchange.answered:
                await problem(Request(scope), NotReady(ENDED, retry_after=1))(scope, receive, send)
        except Exception as error:
            access.log_failure(scope, error)
            if exchange.answered:
                raise
            await problem(Request(scope), InternalError())(scope, receive, send)

    def _report(self, exchange: Exchange) -> None:
        exchange.seconds = time.perf_counter() - exchange.began
        self._metrics.count_request(exchange)
        if self._traces:
            self._traces.add_stages(get_current_span(), exchange.timings.seconds)
        access.log_request(exchange)


class Head:
    """Answers HEAD as GET; the server outside leaves the body off, which it sends to nobody who said HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        await self._app(asked, receive, send)
        scope["route"] = asked.get("route")  # metrics and logs name it
