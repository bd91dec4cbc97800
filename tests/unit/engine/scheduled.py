"""Jobs and a network that say what happens to them, and how to run them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from app.engine.admission import Kind
from app.engine.scheduler import Scheduler
from app.observe.metrics import Metrics
from cameo.jobs import Call, Job, Operation, Timings

ANY = Kind("any")


class Gate:
    """A job that says when it has begun and ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def job(self) -> Job[str]:
        yield from ()
        self.begun.set()
        assert self.open.wait(30)
        return "through"


class Network:
    """An operation whose batches are remembered: it squares."""

    def __init__(self, limit: int = 8, batch_seconds: float = 30.0) -> None:
        self.batches: list[list[int]] = []
        # As if a batch cost as much as many items, so that waiting for others pays.
        seconds = {n: batch_seconds + 0.001 * n for n in range(1, 400)}
        self.operation = Operation(("net", "1", "encode"), self._run, limit, seconds=seconds)

    def _run(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        if any(item < 0 for item in items):
            raise ValueError("no negative numbers")
        return [item**2 for item in items]

    def job(self, item: int) -> Job[str]:
        result = yield Call(self.operation, item)
        return f"{item} squared is {result}"


async def never() -> None:
    await asyncio.Event().wait()


def run(
    scheduler: Scheduler, job: Job[Any], *, first: Operation | None = None, deadline: float = 60.0, kind: Kind = ANY,
    left: Callable[[], Coroutine[Any, Any, None]] = never, timings: Timings | None = None,
) -> "asyncio.Task[Any]":  # fmt: skip
    return asyncio.create_task(scheduler.run(job, kind, first, deadline, timings or Timings(), left()))


async def until(settled: Callable[[], object]) -> None:
    for _ in range(3000):
        if settled():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)
