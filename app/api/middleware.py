"""Plain ASGI middleware: what every request gets, whatever it asks for."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import pages
from app.api.problems import problem
from app.observe.metrics import Metrics
from app.observe.tracing import Stages, Tracing
from cameo.errors import ClientLeft, InternalError, NotReady
from cameo.jobs import Timings

log = logging.getLogger("cameo.access")

CLIENT_LEFT = 499  # there was no answer; nginx's number for it

ENDED = "the service has ended, and this was not done within its grace period"

MARKS = ("request_id", "trace_id", "key", "model")  # of a request's state, for logs and traces

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
MODEL = re.compile(r'name="([^"]*)", version=(\d+)')  # in the header Cameo-Model
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class Observe:
    """Request id and trace context in and out, ``Server-Timing``, metrics, and a line in the access log.

    What nothing inside handles is answered here, not by the server outside, so that it has all of these, too.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, traces: Tracing | None = None) -> None:
        self._app, self._metrics, self._traces = app, metrics, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = _taken(headers.get("x-request-id"), REQUEST_ID) or secrets.token_hex(16)
        trace = _taken(headers.get("traceparent"), TRACEPARENT)
        trace = trace or self._new_trace()
        timings = Timings()
        if self._traces:
            timings.seconds = Stages()
        state = scope.setdefault("state", {})
        state.update(request_id=request_id, trace_id=trace.split("-")[1], timings=timings)
        seen = {"status": CLIENT_LEFT, "in": 0, "out": 0}

        async def counted_receive() -> Message:
            message = await receive()
            seen["in"] += len(message.get("body", b""))
            return message

        async def marked_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                answer = MutableHeaders(scope=message)
                answer["X-Request-Id"], answer["traceparent"] = request_id, trace
                answer["X-Content-Type-Options"] = "nosniff"
                if answer.get("Content-Type", "").startswith("text/html"):
                    for name, value in pages.HEADERS.items():
                        answer.setdefault(name, value)
                if model := MODEL.match(answer.get("Cameo-Model", "")):
                    state["model"] = "/".join(model.groups())
                if self._traces:  # now: the span ends with the answer's last byte
                    get_current_span().set_attributes({f"cameo.{k}": state[k] for k in MARKS if k in state})
                if timings.seconds:
                    answer["Server-Timing"] = ", ".join(f"{k};dur={v * 1e3:.2f}" for k, v in timings.seconds.items())
            seen["out"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted_receive, marked_send)
        except (ClientDisconnect, ClientLeft):
            pass  # there is nobody to answer
        except asyncio.CancelledError:
            # Only uvicorn cancels a whole request: it has outlived the grace period. An answer that has begun is cut
            # where whoever reads it notices.
            if seen["status"] == CLIENT_LEFT:
                await problem(Request(scope), NotReady(ENDED, retry_after=1))(scope, receive, marked_send)
        except Exception:
            fields = {"request_id": request_id, "trace_id": state["trace_id"]}
            said = (scope["method"], quote(scope["path"]), request_id)
            log.exception("%s %s failed id=%s", *said, extra={"fields": fields})
            if seen["status"] != CLIENT_LEFT:
                raise
            await problem(Request(scope), InternalError())(scope, receive, marked_send)
        finally:
            self._record(scope, seen, timings, time.perf_counter() - began)

    def _new_trace(self) -> str:
        context = get_current_span().get_span_context()
        if self._traces and context.is_valid:
            span, flags = format_span_id(context.span_id), context.trace_flags
            return f"00-{format_trace_id(context.trace_id)}-{span}-{flags:02x}"
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"

    def _record(self, scope: MutableMapping[str, Any], seen: dict[str, int], timings: Timings, seconds: float) -> None:
        # The route's pattern, and its own methods: labels must not grow with what clients invent.
        matched = scope.get("route")
        route = getattr(matched, "path", "unmatched")
        method = scope["method"] if scope["method"] in getattr(matched, "methods", ()) else "other"
        m = self._metrics
        m.requests.labels(method, route, str(seen["status"])).inc()
        m.request_seconds.labels(route).observe(seconds)
        m.bytes_in.labels(route).inc(seen["in"])
        m.bytes_out.labels(route).inc(seen["out"])
        for stage, spent in timings.seconds.items():
            m.stage_seconds.labels(route, stage).observe(spent)
        if self._traces:
            self._traces.add_stages(get_current_span(), timings.seconds)
        state = scope["state"]
        fields = {name: state[name] for name in MARKS if name in state} | {
            "method": scope["method"],
            "route": route,
            "status": seen["status"],
            "bytes_in": seen["in"],
            "bytes_out": seen["out"],
            "ms": round(seconds * 1e3, 1),
            "stages_ms": {stage: round(spent * 1e3, 2) for stage, spent in timings.seconds.items()},
        }
        log.info(
            # Quoted, for a path may have line breaks.
            "%s %s %d in=%d out=%d ms=%.1f id=%s%s",
            scope["method"], quote(scope["path"]), seen["status"], seen["in"], seen["out"], seconds * 1e3,
            state["request_id"], f" key={state['key']}" if "key" in state else "", extra={"fields": fields},
        )  # fmt: skip


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


def _taken(value: str | None, pattern: re.Pattern[str]) -> str | None:
    return value if value is not None and pattern.fullmatch(value) else None
