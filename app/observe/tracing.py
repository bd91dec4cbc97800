"""OpenTelemetry, an optional extra. FastAPI makes the span of a request; this adds its stages and exports both."""

import re
import secrets
import time

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import Span, Tracer, TracerProvider, format_span_id, format_trace_id, get_current_span
from starlette.datastructures import Headers

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as Provider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError:  # without the extra
    INSTALLED = False
else:
    INSTALLED = True

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
EXPORT_SECONDS = 3.0  # a collector that is gone must not hold up the end of the process


class Tracing:
    """Spans for one application, sent to a collector in the background; what it does not take in time is dropped."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer: Tracer = provider.get_tracer("cameo")

    def add_stages(self, span: Span, seconds: dict[str, float]) -> None:
        """A child of ``span`` for each stage in :class:`Stages`."""
        if not isinstance(seconds, Stages):
            return
        parent = trace.set_span_in_context(span)
        following = time.time_ns()
        for stage, spent, recorded in seconds.records[::-1]:
            # A request is in one stage at a time: a stage that was recorded late ended where the next one began.
            ended = min(recorded, following)
            following = ended - spent
            self._tracer.start_span(stage, parent, start_time=following).end(ended)

    def close(self) -> None:
        """Send what waits; blocking, for some seconds where the collector does not answer."""
        shutdown = getattr(self.provider, "shutdown", None)  # the API has none, the SDK does
        if shutdown is not None:
            shutdown()


def traceparent(headers: Headers, traces: Tracing | None) -> str:
    """The client's trace context (W3C Trace Context), else that of the current span, else a new one, not sampled."""
    sent = headers.get("traceparent", "")
    if TRACEPARENT.fullmatch(sent):
        return sent
    context = get_current_span().get_span_context()
    if traces and context.is_valid:
        span, flags = format_span_id(context.span_id), context.trace_flags
        return f"00-{format_trace_id(context.trace_id)}-{span}-{flags:02x}"
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def mark(marks: dict[str, str]) -> None:
    """Name the request on the current span, with what is known of it."""
    get_current_span().set_attributes({f"cameo.{name}": value for name, value in marks.items()})


def telemetry(traces: Tracing | None) -> TelemetryConfig:
    """FastAPI's own part: one span a request, and nothing else; nothing at all without ``traces``."""
    return {
        "tracing": traces is not None,
        "tracer_provider": traces.provider if traces else None,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
    }


class Stages(dict[str, float]):
    """Seconds of each stage, as in ``Timings``.

    ``records`` has for each measurement the stage, how long it took (ns), and when it was recorded (ns since 1970).
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[str, int, int]] = []

    def __setitem__(self, stage: str, seconds: float) -> None:
        self.records.append((stage, round((seconds - self.get(stage, 0.0)) * 1e9), time.time_ns()))
        super().__setitem__(stage, seconds)


def connect(endpoint: str, version: str) -> Tracing:
    """Spans to a collector that speaks OTLP over HTTP; ValueError where the extra ``otel`` is not installed."""
    if not INSTALLED:
        raise ValueError(f"CAMEO_OTLP={endpoint} needs OpenTelemetry: pip install -e '.[otel]'")
    provider = Provider(resource=Resource.create({"service.name": "cameo", "service.version": version}))
    path = "" if endpoint.endswith("/v1/traces") else "/v1/traces"
    exporter = OTLPSpanExporter(endpoint.rstrip("/") + path, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)
