"""A job is a generator that yields wherever a network must run.

    def job() -> Job[bytes]:
        portrait = frame(photo)                           # in the driver's thread
        tokens = yield Call(coder.encoding, portrait)     # alone, or in a batch with other jobs' portraits
        return pack(tokens)                               # in a thread again

:func:`run` drives one job to its end. A service's engine drives many, and runs what they yield in batches. Both
give the same bytes.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self, TypeVar

T = TypeVar("T")

Labels = tuple[str, str, str]
"""Model, version, and what is done: encode, decode or search."""


class Timings:
    """Seconds spent in each stage of one request, in order."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)


class Operation:
    """One network of one version, applied to several items at once; nothing changes after construction.

    ``run`` takes up to ``limit`` items and gives as many results; none depends on the other items. A job calls a
    ``recurring`` operation many times, as a search does in each of its rounds. ``seconds`` maps sizes of batches to the
    time that they took.
    """

    def __init__(
        self, labels: Labels, run: Callable[[list[Any]], list[Any]], limit: int, *,
        recurring: bool = False, seconds: dict[int, float] | None = None,
    ) -> None:  # fmt: skip
        self.labels = labels
        self.limit = limit
        self.recurring = recurring
        self.seconds = seconds or {}
        self._run = run

    @classmethod
    def measured(cls, labels: Labels, run: Callable[[list[Any]], list[Any]], limit: int, item: Any) -> Self:
        """Warmed up with, and measured on, batches of one ``item`` and of ``limit``."""
        seconds = {}
        for n in {1, limit}:
            run([item] * n)
            began = time.perf_counter()
            run([item] * n)
            seconds[n] = time.perf_counter() - began
        return cls(labels, run, limit, seconds=seconds)

    def __call__(self, items: list[Any]) -> list[Any]:
        return self._run(items)


class Call(NamedTuple):
    """What a job yields: an item for an operation. It gets back the result for it."""

    operation: Operation
    item: Any


Job = Generator[Call, Any, T]


def run(job: Job[T]) -> T:
    """A job from its beginning to its end, in this thread, each of its calls alone; what it raises."""
    result = None
    try:
        while True:
            operation, item = job.send(result)
            [result] = operation([item])
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        job.close()
