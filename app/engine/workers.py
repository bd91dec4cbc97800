"""Admission and workers: a bounded queue before a few threads."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from app.errors import Overloaded
from app.metrics import Metrics

T = TypeVar("T")


class Timings:
    """Seconds spent in each stage of one request, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


class Workers:
    """Runs blocking work in ``count`` threads; at most ``queue`` jobs wait, one more is refused at once."""

    def __init__(self, count: int, queue: int, metrics: Metrics) -> None:
        self.count = count
        self._limit = count + queue
        self._admitted = 0
        self._mean_seconds = 0.05  # of one job; follows what is measured
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="cameo")

    async def run(self, work: Callable[[], T], timings: Timings) -> T:
        """The result of ``work()``, and its wait as the stage ``queue``; Overloaded when the queue is full."""
        if self._admitted >= self._limit:
            self._metrics.refused.inc()
            retry = max(1, round(self._admitted * self._mean_seconds / self.count))
            raise Overloaded(
                f"{self._admitted} requests are in hand already; try again in {retry} s",
                limit=self._limit, retry_after=retry,
            )  # fmt: skip
        loop = asyncio.get_running_loop()
        admitted_at = time.perf_counter()

        def job() -> T:
            started = time.perf_counter()
            timings.seconds["queue"] = started - admitted_at
            try:
                return work()
            finally:
                self._mean_seconds += 0.1 * (time.perf_counter() - started - self._mean_seconds)

        future = self._pool.submit(job)
        self._admit(1)
        # Not when the caller goes: a job that runs keeps its place until it has ended.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._admit, -1))
        return await asyncio.wrap_future(future)

    def _admit(self, change: int) -> None:
        self._admitted += change
        self._metrics.waiting.set(max(0, self._admitted - self.count))

    def close(self) -> None:
        """Finish what was accepted."""
        self._pool.shutdown(wait=True)
