from itertools import pairwise

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.observe import tracing
from app.observe.tracing import Stages, Tracing


def test_stages_become_spans_one_after_the_other() -> None:
    seconds, exporter = Stages(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Tracing(provider)
    with provider.get_tracer("test").start_as_current_span("POST /compress") as span:
        seconds["decode"] = 0.25
        seconds["queue"] = 0.5  # both told when a batch is done
        seconds["infer"] = 1.0
        seconds["queue"] = 0.75  # it waited twice
        traces.add_stages(span, seconds)
    assert seconds == {"decode": 0.25, "queue": 0.75, "infer": 1.0}
    *stages, request = sorted(exporter.get_finished_spans(), key=lambda done: done.start_time or 0)
    assert request.name == "POST /compress"
    assert [stage.name for stage in stages] == ["decode", "queue", "infer", "queue"]
    times = [(stage.start_time or 0, stage.end_time or 0) for stage in stages]
    assert [end - start for start, end in times] == [250_000_000, 500_000_000, 1_000_000_000, 250_000_000]
    assert all(end <= start for (_, end), (start, _) in pairwise(times))
    assert {stage.parent.span_id for stage in stages if stage.parent} == {span.get_span_context().span_id}


def test_without_the_extra_the_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "INSTALLED", False)
    with pytest.raises(ValueError, match=r"^CAMEO_OTLP=http://localhost:4318 needs OpenTelemetry: pip install"):
        tracing.connect("http://localhost:4318", "1")
