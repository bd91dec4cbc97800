"""What the scheduler keeps: a task for each job, and a lane for each operation that jobs wait for."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.engine.fit import Fit
from cameo.jobs import Job, Operation, Timings

WORTH = 10  # a batch is large enough when what it costs by itself is a tenth of what its items cost


class Lane:
    """The tasks that wait for an operation. What a batch of n takes is a n + b, by ``fit``."""

    def __init__(self, operation: Operation) -> None:
        self.labels = operation.labels
        self.limit = operation.limit
        self.recurring = operation.recurring
        self.fit = Fit(0.01, 0.0)
        for n, seconds in operation.seconds.items():
            self.fit.add(n, seconds)
        self.waiting: deque[Task] = deque()
        self.coming = 0  # accepted jobs that will be here

    @property
    def most(self) -> int:
        """Items of a batch beyond which nothing is gained."""
        worth = WORTH * self.fit.b / self.fit.a if self.fit.a else self.limit
        return max(1, min(self.limit, round(worth)))


@dataclass(eq=False)
class Task:
    """A job on its way through the engine. ``deadline`` and ``since`` are times of ``perf_counter``."""

    job: Job[Any]
    kind: str
    megapixels: float
    operation: Operation | None  # the first that it will call; later the one that it waits for
    deadline: float
    timings: Timings
    done: Callable[[Any, BaseException | None], None]
    cost: float = 0.0  # seconds of work expected
    busy: float = 0.0  # seconds of work so far
    since: float = field(default_factory=time.perf_counter)  # it has been waiting
    left: bool = False  # its client has
    lane: Lane | None = None  # the one that it is on the way to, until it is there
    value: Any = None  # what the job's next step gets
    item: Any = None  # what it brought to its operation
