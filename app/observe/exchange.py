"""One request and its answer: what metrics, traces and the access log report."""

import time
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Scope

from cameo.jobs import Timings

CLIENT_LEFT = 499  # there was no answer; nginx's number for it

MARKS = ("request_id", "trace_id", "key", "model")  # of a request's state, for logs and traces


@dataclass
class Exchange:
    """``status`` is that of the answer once it has begun; bytes are those of the bodies."""

    scope: Scope
    timings: Timings
    status: int = CLIENT_LEFT
    bytes_in: int = 0
    bytes_out: int = 0
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0  # until it ended

    @property
    def answered(self) -> bool:
        """Whether the answer has begun."""
        return self.status != CLIENT_LEFT

    @property
    def route(self) -> str:
        """The route's pattern, not the path: labels of metrics must not grow with what clients invent."""
        return getattr(self.scope.get("route"), "path", "unmatched")

    @property
    def method(self) -> str:
        """One of the route's own methods, or ``other``."""
        allowed = getattr(self.scope.get("route"), "methods", ())
        return self.scope["method"] if self.scope["method"] in allowed else "other"

    @property
    def marks(self) -> dict[str, Any]:
        """Those of ``MARKS`` that are known."""
        state = self.scope["state"]
        return {name: state[name] for name in MARKS if name in state}

    def count_received(self, message: Message) -> None:
        self.bytes_in += len(message.get("body", b""))

    def count_sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.bytes_out += len(message.get("body", b""))
