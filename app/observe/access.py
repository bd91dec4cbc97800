"""Request ids, and the access log."""

import logging
import re
import secrets
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import Scope

from app.observe.exchange import Exchange

log = logging.getLogger("cameo.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(headers: Headers) -> str:
    """The client's ``X-Request-Id`` where it is a plain one, else a new one."""
    sent = headers.get("x-request-id", "")
    return sent if REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)


def log_request(exchange: Exchange) -> None:
    """One line for a request that has ended."""
    scope, marks = exchange.scope, exchange.marks
    fields = marks | {
        "method": scope["method"],
        "route": exchange.route,
        "status": exchange.status,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "ms": round(exchange.seconds * 1e3, 1),
        "stages_ms": {stage: round(spent * 1e3, 2) for stage, spent in exchange.timings.seconds.items()},
    }
    log.info(
        # Quoted, for a path may have line breaks.
        "%s %s %d in=%d out=%d ms=%.1f id=%s%s",
        scope["method"], quote(scope["path"]), exchange.status, exchange.bytes_in, exchange.bytes_out,
        exchange.seconds * 1e3, marks["request_id"], f" key={marks['key']}" if "key" in marks else "",
        extra={"fields": fields},
    )  # fmt: skip


def log_failure(scope: Scope, error: Exception) -> None:
    """What nothing has handled, with its traceback."""
    state = scope["state"]
    fields = {name: state[name] for name in ("request_id", "trace_id")}
    log.error(
        "%s %s failed id=%s",
        scope["method"], quote(scope["path"]), state["request_id"], exc_info=error, extra={"fields": fields},
    )  # fmt: skip
