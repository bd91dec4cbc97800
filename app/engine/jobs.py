"""What the engine runs: a job is a generator, which gives itself up wherever a network has its turn.

def job() -> Job[bytes]:
    portrait = frame(photo)                 # in a worker's thread
    tokens = yield Call(lane, portrait)     # in a batch with other jobs' portraits
    return pack(tokens)                     # in a worker's thread again
"""

import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from app.engine.fit import Fit

T = TypeVar("T")

WORTH = 10  # a batch is large enough when what it costs by itself is a tenth of what its items cost


class Timings:
    """Seconds spent in each stage of one request, in order."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.turn = False  # it was told to come now, and its place in the queue was kept

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)


class Lane:
    """One direction of one version: the calls that may be one batch.

    ``run`` takes up to ``limit`` items and gives as many results, each the same whatever it is together with. What a
    batch of n takes is a n + b: the first items of ``fit`` are measured by :meth:`warm`. To a ``patient`` lane jobs
    come again and again, and stand in line with new ones each time. Whose turn it is there is the oldest job's: were
    all to advance together, all would be late where the last of them is.
    """

    def __init__(
        self, labels: tuple[str, str, str], run: Callable[[list[Any]], list[Any]], limit: int, patient: bool = False
    ) -> None:
        self.labels = labels
        self.limit = limit
        self.patient = patient
        self.fit = Fit(0.01, 0.0)
        self.waiting: deque[Task] = deque()  # the oldest job first
        self.turns: deque[float] = deque()  # when each of those came, the first to come first
        self.coming = 0  # accepted jobs that will be here
        self._run = run

    def __call__(self, items: list[Any]) -> list[Any]:
        return self._run(items)

    def add(self, task: "Task") -> None:
        self.turns.append(task.since)
        insort(self.waiting, task, key=lambda each: each.accepted)

    def pop(self) -> "Task":
        self.turns.popleft()
        return self.waiting.popleft()

    def warm(self, item: Any) -> None:
        """Measure a batch of one and the largest one, so that the line is known before the first request."""
        for n in (1, self.limit):
            self([item] * n)
            began = time.perf_counter()
            self([item] * n)
            self.fit.add(n, time.perf_counter() - began)

    @property
    def most(self) -> int:
        """Items of a batch beyond which nothing is gained."""
        worth = WORTH * self.fit.b / self.fit.a if self.fit.a else self.limit
        return max(1, min(self.limit, round(worth)))


class Call(NamedTuple):
    """What a job yields: an item for a lane. It gets back the lane's result for it."""

    lane: Lane
    item: Any


Job = Generator[Call, Any, T]


@dataclass(eq=False)
class Task:
    """A job on its way through the engine. ``deadline`` and ``since`` are times of ``perf_counter``."""

    job: Job[Any]
    kind: str
    megapixels: float
    lane: Lane | None  # the one that it is on the way to, until it is there
    deadline: float
    timings: Timings
    done: Callable[[Any, BaseException | None], None]
    cost: float = 0.0  # seconds of CPU time expected
    busy: float = 0.0  # seconds of CPU time so far
    accepted: float = field(default_factory=time.perf_counter)
    since: float = field(default_factory=time.perf_counter)  # it has been waiting
    left: bool = False  # its client has
    value: Any = None  # what the job's next step gets
    item: Any = None  # what it brought to its lane
