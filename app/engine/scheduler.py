"""Batching and the workers: which piece of accepted work is done next.

Each worker is a thread. It takes, in this order: a job whose network has answered; a batch; the oldest new job. A round
of a search (a ``recurring`` operation) lets the new jobs that came before it go first.

A batch goes for one of four reasons, the label ``reason`` of ``cameo_batches_total``. Say that a batch of n portraits
takes 10 n + 4 ms, as the lane's fit has measured. Then at most four go together: four batches of one take 56 ms, one of
four takes 44 ms, and larger ones save little more. Two portraits wait:

- ``full``: two more come, which makes four.
- ``alone``: no other accepted job is on its way to this network, so there is nothing to wait for.
- ``waited``: a third is still being decoded, but the first of the two has waited for 4 ms, which is what the third
  would save in the same batch.
- ``idle``: a third is still being decoded, and the first has waited for 1 ms only, but this worker has no new job to
  begin.

So nothing waits while the engine is idle, and under load nothing waits for a batch longer than that.
"""

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from app.engine.admission import AdmissionControl, Kind
from app.engine.answer import Answer
from app.engine.lanes import Lane, Task
from app.observe.metrics import Metrics
from cameo.errors import ClientLeft
from cameo.jobs import Job, Operation, Timings

T = TypeVar("T")


class Batch(NamedTuple):
    lane: Lane
    operation: Operation
    tasks: list[Task]


class Scheduler:
    """Runs jobs in ``workers`` threads, as far as ``admission`` accepts them."""

    def __init__(self, workers: int, queue_seconds: float, metrics: Metrics) -> None:
        self.workers, self._metrics = workers, metrics
        self.admission = AdmissionControl(workers, queue_seconds, metrics)
        self._condition = threading.Condition()  # all that follows is changed with it held
        self._new: deque[Task] = deque()
        self._served: deque[Task] = deque()  # by their networks
        self._lane_of: WeakKeyDictionary[Operation, Lane] = WeakKeyDictionary()  # gone with its version
        self._lanes: list[Lane] = []  # in which somebody waits
        self._closing = False
        self._threads = [threading.Thread(target=self._work, name=f"cameo-{i}", daemon=True) for i in range(workers)]
        metrics.track(metrics.waiting, lambda: len(self._new) + sum(len(lane.waiting) for lane in tuple(self._lanes)))
        for thread in self._threads:
            thread.start()

    async def run(
        self,
        job: Job[T],
        kind: Kind,
        operation: Operation | None,
        deadline: float,
        timings: Timings,
        left: Coroutine[Any, Any, None],
        polls: bool = False,
    ) -> T:
        """The job's result, or what it raises. ``operation`` is the first that it calls, if any.

        ``deadline`` in seconds from the start of ``timings``; ``left`` ends when the client has gone. Raises
        Overloaded, DeadlineExceeded where the job cannot be, or was not, done in time, and ClientLeft. Whoever is here
        has passed :meth:`require_room` and may exceed its limits a little, or ``polls``: asks again, all the time.
        """
        answer = Answer[T]()
        watch, task = asyncio.create_task(left), None
        watch.add_done_callback(lambda _: answer.settle(None, ClientLeft()))
        seconds = timings.began + deadline - time.perf_counter()
        timer = asyncio.get_running_loop().call_later(seconds, answer.settle, None, TimeoutError())
        try:
            with self._condition:
                cost = self.admission.expected(kind)
            self.admission.admit_read(cost, deadline, timings, polls=polls)
            task = Task(
                job, kind.name, kind.megapixels, operation, timings.began + deadline, timings,
                answer.settle_from_thread, cost,
            )  # fmt: skip
            self._accept(task)
            return await answer.take()
        except TimeoutError:
            assert task
            with self._condition:
                self.admission.forgo(task)
            raise self.admission.late(timings, task.since, deadline, "it was not done") from None
        finally:
            timer.cancel()
            watch.cancel()
            if task:
                self._leave(task)

    def close(self) -> None:
        """Finish what was accepted."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _accept(self, task: Task) -> None:
        with self._condition:
            self.admission.accept(task)
            if task.operation:
                task.lane = self._lane(task.operation)
                task.lane.coming += 1
            self._new.append(task)
            self._condition.notify()

    def _leave(self, task: Task) -> None:
        """Its client no longer waits. This changes nothing where the task has ended."""
        task.left = True
        if not task.busy:  # it has not begun: drop it at once, so that it delays nobody
            with self._condition, suppress(ValueError):
                self._new.remove(task)
                self._wanted(task, 0.0, 0.0)

    def _work(self) -> None:
        if sys.platform == "linux":
            # Behind the event loop, which refuses what is too much and must not stand in line for that: a worker that
            # wakes up takes the CPU from nobody. Its share beside other processes stays what it is.
            with suppress(OSError):  # a sandbox may forbid it
                os.sched_setscheduler(threading.get_native_id(), os.SCHED_BATCH, os.sched_param(0))
        while True:
            with self._condition:
                while (todo := self._next()) is None:
                    if self._closing and not self.admission.unfinished:
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
        for lane in sorted(self._lanes, key=lambda lane: lane.turns[0]):
            if (reason := self._reason(lane, now)) and (batch := self._take(lane, reason, now)):
                return batch
        while self._new:
            if self._wanted(task := self._new.popleft(), now, task.cost * self.admission.pace(now)):
                return task
        while self._lanes:
            if batch := self._take(self._lanes[0], "idle", now):
                return batch
        return None

    def _reason(self, lane: Lane, now: float) -> str | None:
        """Why a lane's batch should go, if it should go before new work."""
        if lane.recurring and self._new and self._new[0].since < lane.turns[0]:
            return None
        if len(lane.waiting) >= lane.most:
            return "full"
        if not lane.coming:
            return "alone"
        return "waited" if now - lane.turns[0] >= lane.fit.b else None

    def _take(self, lane: Lane, reason: str, now: float) -> Batch | None:
        tasks: list[Task] = []
        while lane.waiting and len(tasks) < lane.most:
            if self._wanted(task := lane.pop(), now, lane.fit(1)):
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
        """Whether to go on with a task. It is ended, and False, if its client has left or it cannot be done in time."""
        if task.left:
            if now <= task.deadline:  # else its client has been told that it is late
                self._metrics.cancelled.labels("running" if task.busy else "waiting").inc()
            self._end(task, None, ClientLeft())
            return False
        if now + needs > task.deadline:
            why = f"it would take {needs * 1e3:.0f} ms more"
            self._end(
                task, None, self.admission.late(task.timings, task.since, task.deadline - task.timings.began, why)
            )
            return False
        return True

    def _step(self, task: Task) -> None:
        """Run a job up to its next network, or its end."""
        began, cpu = time.perf_counter(), time.thread_time()
        task.timings.add("queue", began - task.since)
        call, value, failure = None, None, None
        try:
            call = task.job.send(task.value)
        except StopIteration as stop:
            value = stop.value
        except BaseException as error:
            failure = error
        with self._condition:
            task.since, cpu = time.perf_counter(), time.thread_time() - cpu
            self.admission.pace.add(task.since - began, cpu, task.since)
            task.busy += cpu
            task.value = None
            if call is None:
                self._end(task, value, failure)
                del failure  # its traceback holds this frame: both, and the picture, would stay in memory
                return
            if task.lane:  # it was announced
                task.lane.coming -= 1
                task.lane = None
            task.operation, task.item = call
            lane = self._lane(task.operation)
            lane.add(task)
            if lane not in self._lanes:
                self._lanes.append(lane)  # nobody is woken: this worker looks for work next

    def _lane(self, operation: Operation) -> Lane:
        lane = self._lane_of.get(operation)
        if lane is None:
            lane = self._lane_of[operation] = Lane(operation)
        return lane

    def _run_batch(self, batch: Batch) -> None:
        began, cpu = time.perf_counter(), time.thread_time()
        lane, operation, tasks = batch
        failed = False
        try:
            results = operation([task.item for task in tasks])
        except Exception as error:
            # One that fails must not take others with it.
            failed, results = True, [error] if len(tasks) == 1 else [_alone(operation, task.item) for task in tasks]
        now, cpu = time.perf_counter(), time.thread_time() - cpu
        with self._condition:
            self.admission.pace.add(now - began, cpu, now)
            if not failed:
                lane.fit.add(len(tasks), now - began)
            for task, result in zip(tasks, results, strict=True):
                task.timings.add("queue", began - task.since)
                task.timings.add("infer", now - began)
                task.busy += cpu / len(tasks)
                task.since, task.operation, task.item = now, None, None
                if failed and isinstance(result, Exception):
                    self._end(task, None, result)
                else:
                    task.value = result
                    self._served.append(task)
            self._condition.notify(len(tasks) - 1)  # this worker takes one
        del results, result  # as in _step: they may be errors

    def _end(self, task: Task, value: Any, error: BaseException | None) -> None:
        task.job.close()
        self.admission.release(task, done=error is None)
        if task.lane:
            task.lane.coming -= 1
        if self._closing:
            self._condition.notify_all()
        task.done(value, error)


def _alone(operation: Operation, item: Any) -> Any:
    """What an operation gives for an item by itself, or the exception that it raises."""
    try:
        return operation([item])[0]
    except Exception as error:
        return error
