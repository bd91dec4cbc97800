"""Every Prometheus name, label and bucket of the service."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.observe.exchange import Exchange

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder where several processes count together, as prometheus_client knows it."""

SUMMED = {f"process_{name}" for name in ("resident_memory_bytes", "virtual_memory_bytes", "cpu_seconds", "open_fds")}

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
PAYLOAD_BYTES = (32, 48, 64, 96, 128, 192, 256, 320, 512, 768, 1024, 2048)
BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
RATIOS = (8, 16, 32, 48, 64, 96, 128, 192, 256, 512, 1024)


class Metrics:
    """The instruments of one application, in a registry of their own, so that one process can hold several.

    With several processes (``FOLDER`` is set) each writes its values to a file there, and whichever is asked for
    ``/metrics`` merges the files. Counters and histograms are added. A gauge is added (``livesum``) where it counts
    things, else the largest value counts (``livemax``). With two processes:

    ======================  =========  =========  ==============================================
    gauge                   process 1  process 2  shown
    ======================  =========  =========  ==============================================
    cameo_queue_length      3          1          4: all requests that wait
    cameo_backlog_seconds   0.5        2.0        2.0: the longest wait that a client may meet
    cameo_ready             1          0          1: at least one of them serves
    ======================  =========  =========  ==============================================

    Process 2 has ended: its gauges no longer count, its counters do.
    """

    def __init__(self) -> None:
        self._several = FOLDER in os.environ
        self._tracked: dict[tuple[Gauge, tuple[str, ...]], Callable[[], float]] = {}
        self.registry = r = CollectorRegistry()
        if not self._several:
            ProcessCollector(registry=r)  # memory, CPU time and open files of the process
        self.requests = Counter("cameo_requests_total", "Requests answered.", ("method", "route", "status"), registry=r)
        self.request_seconds = Histogram(
            "cameo_request_seconds", "From the request's head to the answer's end.", ("route",),
            buckets=SECONDS, registry=r,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "cameo_stage_seconds", "Time in one stage: decode, frame, queue, infer or encode.", ("route", "stage"),
            buckets=SECONDS, registry=r,
        )  # fmt: skip
        self.bytes_in = Counter("cameo_received_bytes_total", "Bytes of request bodies.", ("route",), registry=r)
        self.bytes_out = Counter("cameo_sent_bytes_total", "Bytes of answers' bodies.", ("route",), registry=r)
        self.key_requests = Counter(
            "cameo_key_requests_total",
            "Requests by the name of their API key: accepted or rate-limited; unauthorized ones have no name.",
            ("key", "outcome"), registry=r,
        )  # fmt: skip
        self.keys_broken = Gauge(
            "cameo_keys_file_broken",
            "1 while the file of API keys cannot be read and older keys are valid.",
            multiprocess_mode="livemax",
            registry=r,
        )
        self.payload_bytes = Histogram(
            "cameo_payload_bytes", "Rate: bytes of one payload, header and checksum included.", ("model", "version"),
            buckets=PAYLOAD_BYTES, registry=r,
        )  # fmt: skip
        self.ratio = Histogram(
            "cameo_compression_ratio", "Bytes of the raw portrait over bytes of its payload.", ("model", "version"),
            buckets=RATIOS, registry=r,
        )  # fmt: skip
        self.waiting = Gauge(
            "cameo_queue_length", "Requests waiting for a worker or a batch.", multiprocess_mode="livesum", registry=r
        )
        self.backlog = Gauge(
            "cameo_backlog_seconds",
            "Expected seconds until the accepted work is done.",
            multiprocess_mode="livemax",
            registry=r,
        )
        self.refused = Counter(
            "cameo_refused_total",
            "Work not accepted: queue (it is full; items of batches try again) or deadline (too late).",
            ("reason",), registry=r,
        )  # fmt: skip
        self.rejected = Counter(
            "cameo_rejected_total",
            "Requests refused before the application: head (too large, or not HTTP) or connections (too many).",
            ("reason",), registry=r,
        )  # fmt: skip
        self.cancelled = Counter(
            "cameo_cancelled_total", "Requests whose client left: waiting or running.", ("stage",), registry=r
        )
        self.batches = Counter(
            "cameo_batches_total", "Batches by the reason why they were started: full, alone, waited or idle.",
            ("model", "version", "direction", "reason"), registry=r,
        )  # fmt: skip
        self.batch_size = Histogram(
            "cameo_batch_size", "Portraits in a batch.", ("model", "version", "direction"),
            buckets=BATCH_SIZES, registry=r,
        )  # fmt: skip
        self.batch_items = Counter(
            "cameo_batch_items_total", "Items of batch requests by outcome: done, or the type of the problem.",
            ("route", "outcome"), registry=r,
        )  # fmt: skip
        self.model_info = Gauge(
            "cameo_model_info",
            "A version that is served; always 1.",
            ("model", "version", "digest"),
            multiprocess_mode="livemax",
            registry=r,
        )
        self.refused_versions = Gauge(
            "cameo_refused_version_info", "A version in the store that failed verification; always 1.",
            ("model", "version"), multiprocess_mode="livemax", registry=r,
        )  # fmt: skip
        self.loaded_models = Gauge(
            "cameo_loaded_models", "Number of processes that have the model of this version in memory.",
            ("model", "version"), multiprocess_mode="livesum", registry=r,
        )  # fmt: skip
        self.store_changes = Counter(
            "cameo_store_changes_total",
            "Changes of the model store: taken (served from then on) or problem.",
            ("outcome",),
            registry=r,
        )
        self.store_problem = Gauge(
            "cameo_store_problem",
            "1 while the present state of the model store cannot be served.",
            multiprocess_mode="livemax",
            registry=r,
        )
        self.device_info = Gauge(
            "cameo_device_info",
            "Where models run, and why; always 1.",
            ("device", "reason", "workers"),
            multiprocess_mode="livemax",
            registry=r,
        )
        self.clock = Gauge(
            "cameo_clock_seconds",
            "Unix time of the process, by which cards expire; less timestamp() of itself, it is the clock's error.",
            multiprocess_mode="livemax",
            registry=r,
        )
        self.track(self.clock, time.time)
        self.ready = Gauge("cameo_ready", "1 once models are loaded and warm.", multiprocess_mode="livemax", registry=r)

    def count_request(self, exchange: Exchange) -> None:
        """A request that has ended."""
        route = exchange.route
        self.requests.labels(exchange.method, route, str(exchange.status)).inc()
        self.request_seconds.labels(route).observe(exchange.seconds)
        self.bytes_in.labels(route).inc(exchange.bytes_in)
        self.bytes_out.labels(route).inc(exchange.bytes_out)
        for stage, spent in exchange.timings.seconds.items():
            self.stage_seconds.labels(route, stage).observe(spent)

    def track(self, gauge: Gauge, function: Callable[[], float], *labels: str) -> None:
        """Let a gauge show what ``function`` returns: at each reading, or with several processes once a second."""
        if self._several:
            self._tracked[gauge, labels] = function
        else:
            (gauge.labels(*labels) if labels else gauge).set_function(function)

    def replace(self, gauge: Gauge, values: Mapping[Any, float | Callable[[], float]]) -> None:
        """Let a gauge have these tuples of labels and no others.

        With several processes a file cannot lose a value: labels that are gone show 0.
        """
        if self._several:
            for labels in [labels for tracked, labels in self._tracked if tracked is gauge]:
                self.track(gauge, lambda: 0.0, *labels)
        else:
            gauge.clear()
        for labels, value in values.items():
            self.track(gauge, value if callable(value) else partial(float, value), *labels)

    def sample(self) -> None:
        """Write the values of tracked gauges to the file that the other processes read."""
        for (gauge, labels), function in tuple(self._tracked.items()):
            (gauge.labels(*labels) if labels else gauge).set(function())

    def text(self) -> bytes:
        """All metrics, in Prometheus's text format."""
        if not self._several:
            return generate_latest(self.registry)
        self.sample()
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        together.register(_Processes())
        return generate_latest(together)


class _Processes(Collector):
    """Memory, CPU time and open files of all processes that count into the folder."""

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, Metric] = {}
        for file in Path(os.environ[FOLDER]).glob("counter_*.db"):
            pid = file.stem.rpartition("_")[2]
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                if metric.name in SUMMED:
                    total = merged.setdefault(metric.name, metric)
                    if total is not metric:
                        value = total.samples[0].value + metric.samples[0].value
                        total.samples = [total.samples[0]._replace(value=value)]
        return merged.values()
