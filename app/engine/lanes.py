"""What the scheduler keeps: a task for each job, and a lane for each operation that jobs wait for."""

import time
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.engine.fit import Fit
from cameo.jobs import Job, Operation, Timings

WORTH = 10  # a batch is large enough when its fixed cost b is a tenth of what its items cost


class Lane:
    """The tasks that wait for an operation. What a batch of n takes is a n + b, by ``fit``.

    A lane gets a turn for each call, in the order of the calls; the oldest job takes the first turn. So of several
    searches the oldest ends first. If all advanced together, all would end as late as the last.
    """

    def __init__(self, operation: Operation) -> None:
        self.labels = operation.labels
        self.limit = operation.limit
        self.recurring = operation.recurring
        self.fit = Fit(0.01, 0.0)
        for n, seconds in operation.seconds.items():
            self.fit.add(n, seconds)
        self.waiting: deque[Task] = deque()  # the oldest job first
        self.turns: deque[float] = deque()  # when each of those came, the first to come first
        self.coming = 0  # accepted jobs that are on their way here

    def add(self, task: "Task") -> None:
        self.turns.append(task.since)
        insort(self.waiting, task, key=lambda each: each.accepted)

    def pop(self) -> "Task":
        self.turns.popleft()
        return self.waiting.popleft()

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
    cost: float = 0.0  # seconds of CPU time expected
    busy: float = 0.0  # seconds of CPU time so far
    accepted: float = field(default_factory=time.perf_counter)
    since: float = field(default_factory=time.perf_counter)  # it has been waiting
    left: bool = False  # its client has
    lane: Lane | None = None  # the one that it is on the way to, until it is there
    value: Any = None  # what the job's next step gets
    item: Any = None  # what it brought to its operation
