"""Admission control: which work is accepted, judged by what such work took lately.

Cost is counted in CPU time, which does not grow when other processes use the machine. The time that work will take is
its CPU time multiplied by the pace of the workers in the last seconds. A client that finds the queue full is told when
there will be room, after all clients that were told before it. That turn is kept: for clients without a turn the queue
has less room.
"""

import math
import time
from typing import NamedTuple
from weakref import WeakSet

from app.engine.fit import Fit
from app.engine.lanes import Task
from app.engine.pace import Pace
from app.engine.turns import Turns
from app.observe.metrics import Metrics
from cameo.errors import DeadlineExceeded, Overloaded
from cameo.jobs import Timings

HOPE = 0.7  # accepted work may be expected to take this share of the time left; the rest is a reserve
READ = 1.07  # limits are wider by this factor once a body is read: to refuse it then would waste the most
KEPT_SHARE = 0.5  # of the queue, at most, for clients that were told to come back; the rest keeps the workers busy
LEAST_RETRY, MOST_RETRY = 1, 60  # seconds of Retry-After


class Kind(NamedTuple):
    """Jobs of similar cost. ``megapixels`` are those of the job's picture.

    ``seconds``: the estimate of a job's CPU time without its pixels, before the first measurement.
    """

    name: str
    megapixels: float = 0.0
    seconds: float = 0.03


class AdmissionControl:
    """``queue_seconds`` of work may wait for each of ``workers``.

    Whoever calls :meth:`accept`, :meth:`release`, :meth:`forgo` or :meth:`expected` holds the scheduler's lock; the
    event loop alone calls the rest.
    """

    def __init__(self, workers: int, queue_seconds: float, metrics: Metrics) -> None:
        self.workers, self._queue_seconds, self._metrics = workers, queue_seconds, metrics
        self.costs: dict[str, Fit] = {}  # seconds of CPU time
        self.pace = Pace()
        self.turns = Turns()
        self._in_turn: WeakSet[Timings] = WeakSet()  # requests that came when they were told to
        self.backlog = 0.0  # seconds of CPU time of accepted work that has not ended
        self.unfinished = 0
        metrics.track(metrics.backlog, lambda: self.wait(time.perf_counter()))

    def require_room(self, deadline: float, timings: Timings) -> None:
        """Overloaded or DeadlineExceeded where nothing more is accepted; worth asking before a body is read.

        ``deadline`` in seconds from the start of ``timings``. Who is refused as Overloaded is kept a turn, in which
        nothing but the deadline counts: the queue may be longer than was expected.
        """
        now = time.perf_counter()
        in_turn = self.wait(now) <= READ * HOPE * deadline and self.turns.take(now)
        if in_turn:
            self._in_turn.add(timings)
        self._admit(0.0, deadline, timings, READ if in_turn else 1.0, self.turns.kept(now))

    def admit_read(self, cost: float, deadline: float, timings: Timings, *, polls: bool) -> None:
        """Once the body is read: whoever is here has passed :meth:`require_room`, or ``polls``, again and again."""
        if polls:
            self._admit(cost, deadline, timings, 1.0, self.turns.kept(time.perf_counter()), polls=True)
        else:
            self._admit(cost, deadline, timings, READ)

    def wait(self, now: float) -> float:
        """Seconds until what is accepted by now will be done."""
        return self.backlog * self.pace(now) / self.workers

    def _admit(
        self, cost: float, deadline: float, timings: Timings, slack: float, kept: int = 0, polls: bool = False
    ) -> None:
        """Overloaded or DeadlineExceeded, unless there is room and time for work of so many seconds of CPU time.

        Limits may be exceeded by the factor ``slack``. For ``kept`` others there has to be room, too. Who ``polls``
        needs no turn.
        """
        now, limit = time.perf_counter(), self._queue_seconds
        wait = self.wait(now)
        time_left = slack * HOPE * (timings.began + deadline - now)
        needs = cost * self.pace(now) if wait else cost  # who has the machine alone may have what it takes
        late = wait + needs > time_left
        # Whose deadline allows as much waiting as the queue does is refused for the queue's length.
        if late and (cost > time_left or HOPE * deadline < limit):
            waiting = "it would take {:.0f} ms from now" if cost else "{:.0f} ms of work are waiting"
            why = waiting.format(1e3 * (wait + cost))
            raise self.late(timings, now, deadline, why, wait + cost - HOPE * deadline)
        each = wait / max(1, self.unfinished)
        wait_all = wait + min(kept * each, KEPT_SHARE * limit)
        if not late and (timings in self._in_turn or wait_all <= slack * limit):
            return
        until = wait + self.turns.kept(now) * each - limit
        retry = _retry(until)
        if not polls and until <= MOST_RETRY:
            self.turns.add(now + retry)
        self._metrics.refused.labels("queue").inc()
        raise Overloaded(
            f"{wait_all:.1f} s of work are waiting already; try again in {retry} s",
            waiting_seconds=round(wait_all, 3), limit_seconds=round(limit, 3), retry_after=retry,
        )  # fmt: skip

    def expected(self, kind: Kind) -> float:
        """Seconds of CPU time."""
        return self.costs.setdefault(kind.name, Fit(0.01, kind.seconds))(kind.megapixels)

    def accept(self, task: Task) -> None:
        self.backlog += task.cost
        self.unfinished += 1

    def forgo(self, task: Task) -> None:
        """Its deadline has passed while a worker was, and is, busy with it: nobody else's wait is judged by it."""
        self.backlog, task.cost = self.backlog - task.cost, 0.0

    def release(self, task: Task, *, done: bool) -> None:
        """It has ended; what it took is learnt from where it was ``done``."""
        self.unfinished -= 1
        self.backlog = self.backlog - task.cost if self.unfinished else 0.0  # no rounding piles up
        if done:
            self.costs[task.kind].add(task.megapixels, task.busy)

    def late(
        self, timings: Timings, since: float, deadline: float, why: str, until: float = LEAST_RETRY
    ) -> DeadlineExceeded:
        """Counted. ``since`` it has been waiting; ``deadline`` in seconds from the start of ``timings``.

        ``until`` there is time enough for such a deadline, seconds.
        """
        self._metrics.refused.labels("deadline").inc()
        now = time.perf_counter()
        spent = {name: round(1e3 * seconds, 1) for name, seconds in timings.seconds.items()}
        spent["queue"] = round(spent.get("queue", 0.0) + 1e3 * (now - since), 1)
        elapsed = 1e3 * (now - timings.began)
        return DeadlineExceeded(
            f"the answer was wanted within {1e3 * deadline:.0f} ms; after {elapsed:.0f} ms {why}",
            deadline_ms=round(1e3 * deadline), elapsed_ms=round(elapsed, 1), spent_ms=spent, retry_after=_retry(until),
        )  # fmt: skip


def _retry(until: float) -> int:
    """Retry-After, in whole seconds, for what will be possible then."""
    return min(MOST_RETRY, max(LEAST_RETRY, math.ceil(until)))
