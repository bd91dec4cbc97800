"""Admission, batching and the workers: what is accepted, and which piece of it is done next.

Each worker is a thread. It prefers jobs that a network has just served, then a batch, then the oldest new job; what
comes back for another round of a search waits behind the new jobs that were there before. A batch goes as soon as it
is as large as pays, or nobody else is on the way to it, or a worker has nothing else to do, or its first item has
waited for as long as a further one would save. So nothing waits while the engine is idle, and under load nothing waits
for a batch longer than that.
"""

import asyncio
import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from app.engine.fit import Fit
from app.engine.lanes import Lane, Task
from app.observe.metrics import Metrics
from cameo.errors import ClientLeft, DeadlineExceeded, Overloaded
from cameo.jobs import Job, Operation, Timings

T = TypeVar("T")

HOPE = 0.7  # share of the time left that accepted work may be expected to take: the rest is for what nobody expects
READ = 1.07  # by how much requests may exceed the limits once their bodies are read: refused now, they cost the most
NICE = 10  # workers' behind the event loop's, which refuses what is too much, and must not stand in line for that
LEAST_RETRY, MOST_RETRY = 1, 30  # seconds of Retry-After


class Kind(NamedTuple):
    """Jobs that take alike: as ``name`` says, and so many megapixels each."""

    name: str
    megapixels: float = 0.0


class Batch(NamedTuple):
    lane: Lane
    operation: Operation
    tasks: list[Task]


class Scheduler:
    """Runs jobs in ``workers`` threads; ``queue_seconds`` of work may wait, judged by what such work took lately."""

    def __init__(self, workers: int, queue_seconds: float, metrics: Metrics) -> None:
        self.workers, self._queue_seconds, self._metrics = workers, queue_seconds, metrics
        self._condition = threading.Condition()  # all that follows is changed with it held
        self._new: deque[Task] = deque()
        self._served: deque[Task] = deque()  # by their networks
        self._lane_of: WeakKeyDictionary[Operation, Lane] = WeakKeyDictionary()  # gone with its version
        self._lanes: list[Lane] = []  # in which somebody waits
        self._costs: dict[str, Fit] = {}
        self._backlog = 0.0  # seconds of accepted work that has not ended
        self._unfinished = 0
        self._closing = False
        self._threads = [threading.Thread(target=self._work, name=f"cameo-{i}", daemon=True) for i in range(workers)]
        metrics.follow(metrics.waiting, lambda: len(self._new) + sum(len(lane.waiting) for lane in tuple(self._lanes)))
        metrics.follow(metrics.backlog, lambda: self._backlog)
        for thread in self._threads:
            thread.start()

    def require_room(self, deadline: float, timings: Timings, slack: float = 1.0) -> None:
        """Overloaded or DeadlineExceeded where nothing more is accepted; worth asking before a body is read.

        ``deadline`` in seconds from the start of ``timings``; limits may be exceeded by the factor ``slack``.
        """
        wait, now = self._backlog / self.workers, time.perf_counter()
        if wait > slack * self._queue_seconds:
            # Until half of the queue has drained, and not the same for all who ask.
            until = (wait - self._queue_seconds / 2) * random.uniform(0.8, 1.4)  # noqa: S311 - no secret
            retry = round(min(MOST_RETRY, max(LEAST_RETRY, until)))
            self._metrics.refused.labels("queue").inc()
            raise Overloaded(
                f"{wait:.1f} s of work are waiting already; try again in {retry} s",
                waiting_seconds=round(wait, 3), limit_seconds=self._queue_seconds, retry_after=retry,
            )  # fmt: skip
        if wait > slack * HOPE * (timings.began + deadline - now):
            raise self.late(timings, now, deadline, f"{wait * 1e3:.0f} ms of work are waiting")

    async def run(
        self,
        job: Job[T],
        kind: Kind,
        operation: Operation | None,
        deadline: float,
        timings: Timings,
        left: Coroutine[Any, Any, None],
    ) -> T:
        """The job's result, or what it raises. ``operation`` is the first that it calls, if any.

        ``deadline`` in seconds from the start of ``timings``; ``left`` ends when the client has gone. Raises
        Overloaded, DeadlineExceeded where the job cannot be, or was not, done in time, and ClientLeft.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def done(value: Any, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(settle, value, error)

        watch, task = loop.create_task(left), None
        watch.add_done_callback(lambda _: settle(None, ClientLeft()))
        try:
            self.require_room(deadline, timings, READ)
            task = self._accept(
                Task(job, kind.name, kind.megapixels, operation, timings.began + deadline, timings, done)
            )
            return await future
        finally:
            future.cancel()
            watch.cancel()
            if task:
                task.left = True  # nobody waits any more, which is of no account where the job has ended

    def close(self) -> None:
        """Finish what was accepted."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _accept(self, task: Task) -> Task:
        with self._condition:
            task.cost = self._costs.setdefault(task.kind, Fit(0.01, 0.03))(task.megapixels)
            expected = self._backlog / self.workers + task.cost
            if expected > READ * HOPE * (task.deadline - task.since):
                raise self._task_late(task, f"it would take {expected * 1e3:.0f} ms from now")
            self._backlog += task.cost
            self._unfinished += 1
            if task.operation:
                task.lane = self._lane(task.operation)
                task.lane.coming += 1
            self._new.append(task)
            self._condition.notify()
        return task

    def _work(self) -> None:
        if sys.platform == "linux":  # where each thread has a niceness of its own
            with suppress(OSError):  # a sandbox may forbid it
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        while True:
            with self._condition:
                while (todo := self._next()) is None:
                    if self._closing and not self._unfinished:
                        return
                    self._condition.wait()
            if isinstance(todo, Batch):
                self._run_batch(todo)
            else:
                self._step(todo)

    def _next(self) -> Task | Batch | None:
        """What is best done now; None while there is nothing."""
        now = time.perf_counter()
        while self._served:
            if self._wanted(task := self._served.popleft(), now, 0.0):
                return task
        for lane in sorted(self._lanes, key=lambda lane: lane.waiting[0].since):
            if (reason := self._reason(lane, now)) and (batch := self._take(lane, reason, now)):
                return batch
        while self._new:
            if self._wanted(task := self._new.popleft(), now, task.cost):
                return task
        while self._lanes:
            if batch := self._take(self._lanes[0], "idle", now):
                return batch
        return None

    def _reason(self, lane: Lane, now: float) -> str | None:
        """Why a lane's batch should go, if it should go before new work."""
        if lane.recurring and self._new and self._new[0].since < lane.waiting[0].since:
            return None
        if len(lane.waiting) >= lane.most:
            return "full"
        if not lane.coming:
            return "alone"
        return "waited" if now - lane.waiting[0].since >= lane.fit.b else None

    def _take(self, lane: Lane, reason: str, now: float) -> Batch | None:
        tasks: list[Task] = []
        while lane.waiting and len(tasks) < lane.most:
            if self._wanted(task := lane.waiting.popleft(), now, lane.fit(1)):
                tasks.append(task)
        if not lane.waiting:
            self._lanes.remove(lane)
        if not tasks:
            return None
        self._metrics.batches.labels(*lane.labels, reason).inc()
        self._metrics.batch_size.labels(*lane.labels).observe(len(tasks))
        assert tasks[0].operation  # it waits for one
        return Batch(lane, tasks[0].operation, tasks)

    def _wanted(self, task: Task, now: float, needs: float) -> bool:
        """False for a task, ended by this, whose client has left or which cannot be done in time any more."""
        if task.left:
            self._metrics.cancelled.labels("running" if task.busy else "waiting").inc()
            self._end(task, None, ClientLeft())
            return False
        if now + needs > task.deadline:
            self._end(task, None, self._task_late(task, f"it would take {needs * 1e3:.0f} ms more"))
            return False
        return True

    def _task_late(self, task: Task, why: str) -> DeadlineExceeded:
        return self.late(task.timings, task.since, task.deadline - task.timings.began, why)

    def late(self, timings: Timings, since: float, deadline: float, why: str) -> DeadlineExceeded:
        """Counted. ``since`` it has been waiting; ``deadline`` in seconds from the start of ``timings``."""
        self._metrics.refused.labels("deadline").inc()
        now = time.perf_counter()
        spent = {name: round(1e3 * seconds, 1) for name, seconds in timings.seconds.items()}
        spent["queue"] = round(spent.get("queue", 0.0) + 1e3 * (now - since), 1)
        elapsed = 1e3 * (now - timings.began)
        return DeadlineExceeded(
            f"the answer was wanted within {1e3 * deadline:.0f} ms; after {elapsed:.0f} ms {why}",
            deadline_ms=round(1e3 * deadline), elapsed_ms=round(elapsed, 1), spent_ms=spent, retry_after=LEAST_RETRY,
        )  # fmt: skip

    def _step(self, task: Task) -> None:
        """Run a job up to its next network, or its end."""
        began = time.perf_counter()
        task.timings.add("queue", began - task.since)
        call, value, failure = None, None, None
        try:
            call = task.job.send(task.value)
        except StopIteration as stop:
            value = stop.value
        except BaseException as error:
            failure = error
        with self._condition:
            task.since = time.perf_counter()
            task.busy += task.since - began
            task.value = None
            if call is None:
                self._end(task, value, failure)
                return
            if task.lane:  # it was announced
                task.lane.coming -= 1
                task.lane = None
            task.operation, task.item = call
            lane = self._lane(task.operation)
            lane.waiting.append(task)
            if lane not in self._lanes:
                self._lanes.append(lane)  # nobody is woken: this worker looks for work next

    def _lane(self, operation: Operation) -> Lane:
        lane = self._lane_of.get(operation)
        if lane is None:
            lane = self._lane_of[operation] = Lane(operation)
        return lane

    def _run_batch(self, batch: Batch) -> None:
        began = time.perf_counter()
        lane, operation, tasks = batch
        failed = False
        try:
            results = operation([task.item for task in tasks])
        except Exception as error:
            # One that fails must not take others with it.
            failed, results = True, [error] if len(tasks) == 1 else [_alone(operation, task.item) for task in tasks]
        now = time.perf_counter()
        with self._condition:
            if not failed:
                lane.fit.add(len(tasks), now - began)
            for task, result in zip(tasks, results, strict=True):
                task.timings.add("queue", began - task.since)
                task.timings.add("infer", now - began)
                task.busy += (now - began) / len(tasks)
                task.since, task.operation, task.item, task.value = now, None, None, result
                if failed and isinstance(result, Exception):
                    self._end(task, None, result)
                else:
                    self._served.append(task)
            self._condition.notify(len(tasks) - 1)  # this worker takes one

    def _end(self, task: Task, value: Any, error: BaseException | None) -> None:
        task.job.close()
        self._unfinished -= 1
        self._backlog = self._backlog - task.cost if self._unfinished else 0.0  # no rounding piles up
        if task.lane:
            task.lane.coming -= 1
        if error is None:
            self._costs[task.kind].add(task.megapixels, task.busy)
        if self._closing:
            self._condition.notify_all()
        task.done(value, error)


def _alone(operation: Operation, item: Any) -> Any:
    """What an operation gives for an item by itself, or the exception that it raises."""
    try:
        return operation([item])[0]
    except Exception as error:
        return error
