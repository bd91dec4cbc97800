import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from app.engine.fit import Fit
from app.engine.jobs import Call, Job, Lane, Timings
from app.engine.scheduler import HOPE, NICE, Kind, Scheduler
from app.errors import CameoError, ClientLeft, DeadlineExceeded, Overloaded
from app.metrics import Metrics

ANY = Kind("any")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def scheduler(metrics: Metrics) -> Iterator[Scheduler]:
    """One works at a time."""
    scheduler = Scheduler(1, 2.0, metrics)
    yield scheduler
    scheduler.close()


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
    """A lane whose batches are remembered: it squares."""

    def __init__(self, limit: int = 8, batch_seconds: float = 30.0) -> None:
        self.batches: list[list[int]] = []
        self.lane = Lane(("net", "1", "encode"), self._run, limit)
        # As if a batch cost as much as many items, so that waiting for others pays.
        for n in (1, 2, 3) * 200:
            self.lane.fit.add(n, batch_seconds + 0.001 * n)

    def _run(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        if any(item < 0 for item in items):
            raise ValueError("no negative numbers")
        return [item**2 for item in items]

    def job(self, item: int) -> Job[str]:
        result = yield Call(self.lane, item)
        return f"{item} squared is {result}"


async def never() -> None:
    await asyncio.Event().wait()


def run(
    scheduler: Scheduler, job: Job[Any], *, lane: Lane | None = None, deadline: float = 60.0, kind: Kind = ANY,
    left: Callable[[], Coroutine[Any, Any, None]] = never, timings: Timings | None = None,
) -> "asyncio.Task[Any]":  # fmt: skip
    return asyncio.create_task(scheduler.run(job, kind, lane, deadline, timings or Timings(), left()))


async def until(settled: Callable[[], object]) -> None:
    for _ in range(3000):
        if settled():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_job_goes_through_its_network_and_its_stages_are_timed(scheduler: Scheduler, metrics: Metrics) -> None:
    network, timings = Network(), Timings()

    async def scenario() -> None:
        assert await run(scheduler, network.job(3), lane=network.lane, timings=timings) == "3 squared is 9"

    asyncio.run(scenario())
    assert list(timings.seconds) == ["queue", "infer"]
    assert network.batches == [[3]]
    labels = {"model": "net", "version": "1", "direction": "encode"}
    assert sample(metrics, "cameo_batches_total", **labels, reason="alone") == 1
    assert sample(metrics, "cameo_batch_size_sum", **labels) == 1


def test_a_search_takes_turns_with_new_jobs(scheduler: Scheduler) -> None:
    order: list[str] = []
    gate = Gate()

    def note(items: list[str]) -> list[str]:
        order.extend(items)
        return items

    rounds, once = Lane(("net", "1", "search"), note, 1, patient=True), Lane(("net", "1", "encode"), note, 1)

    def search() -> Job[None]:
        for number in range(3):
            yield Call(rounds, f"round {number}")

    def job(name: str) -> Job[None]:
        yield Call(once, name)

    async def scenario() -> None:
        first = run(scheduler, gate.job())
        await until(gate.begun.is_set)
        jobs = [run(scheduler, search()), run(scheduler, job("a")), run(scheduler, job("b"))]
        await until(lambda: len(scheduler._new) == 3)
        gate.open.set()
        await asyncio.gather(first, *jobs)

    asyncio.run(scenario())
    assert order == ["a", "round 0", "b", "round 1", "round 2"]


def test_jobs_that_wait_go_as_one_batch_and_each_gets_its_own_result(scheduler: Scheduler, metrics: Metrics) -> None:
    network, gate = Network(limit=4), Gate()

    async def scenario() -> None:
        first = run(scheduler, gate.job())
        await until(gate.begun.is_set)
        jobs = [run(scheduler, network.job(item), lane=network.lane) for item in range(10)]
        await until(lambda: len(scheduler._new) == 10)
        gate.open.set()
        assert await asyncio.gather(*jobs) == [f"{item} squared is {item**2}" for item in range(10)]
        assert await first == "through"

    asyncio.run(scenario())
    assert network.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert network.lane.coming == 0
    labels = {"model": "net", "version": "1", "direction": "encode"}
    assert sample(metrics, "cameo_batches_total", **labels, reason="full") == 2
    assert sample(metrics, "cameo_batches_total", **labels, reason="alone") == 1


def test_nothing_waits_for_a_batch_that_would_save_nothing(scheduler: Scheduler) -> None:
    network, gate = Network(batch_seconds=0.0), Gate()

    async def scenario() -> None:
        run(scheduler, gate.job())
        await until(gate.begun.is_set)
        jobs = [run(scheduler, network.job(item), lane=network.lane) for item in range(5)]
        await until(lambda: len(scheduler._new) == 5)
        gate.open.set()
        await asyncio.gather(*jobs)

    asyncio.run(scenario())
    assert network.batches == [[0], [1], [2], [3], [4]]


def test_one_bad_item_does_not_take_its_batch_with_it(scheduler: Scheduler) -> None:
    network, gate = Network(), Gate()

    async def scenario() -> None:
        run(scheduler, gate.job())
        await until(gate.begun.is_set)
        jobs = [run(scheduler, network.job(item), lane=network.lane) for item in (1, -2, 3)]
        await until(lambda: len(scheduler._new) == 3)
        gate.open.set()
        one, two, three = await asyncio.gather(*jobs, return_exceptions=True)
        assert (one, three) == ("1 squared is 1", "3 squared is 9")
        assert isinstance(two, ValueError)

    asyncio.run(scenario())
    assert network.batches == [[1, -2, 3], [1], [-2], [3]]


def test_what_a_job_raises_reaches_its_caller(scheduler: Scheduler) -> None:
    def job() -> Job[None]:
        yield from ()
        raise KeyError("mine")

    async def scenario() -> None:
        with pytest.raises(KeyError, match="mine"):
            await run(scheduler, job())
        assert await run(scheduler, Network().job(2)) == "2 squared is 4", "the worker lives"

    asyncio.run(scenario())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(scheduler: Scheduler, metrics: Metrics) -> None:
    for _ in range(400):
        scheduler._costs.setdefault("slow", Fit(0.0, 1.5)).add(0.0, 1.5)

    async def scenario() -> None:
        gates = [Gate(), Gate()]
        jobs = [run(scheduler, gate.job(), kind=Kind("slow")) for gate in gates]
        await until(gates[0].begun.is_set)
        assert sample(metrics, "cameo_queue_length") == 1
        with pytest.raises(Overloaded) as caught:
            scheduler.require_room(60.0, Timings())
        assert caught.value.facts["limit_seconds"] == 2.0
        assert caught.value.facts["waiting_seconds"] == pytest.approx(3.0, rel=0.05)
        assert 1 <= caught.value.facts["retry_after"] <= 3
        with pytest.raises(Overloaded):
            await run(scheduler, Gate().job())
        assert sample(metrics, "cameo_refused_total", reason="queue") == 2
        for gate in gates:
            gate.open.set()
        assert await asyncio.gather(*jobs) == ["through"] * 2
        scheduler.require_room(60.0, Timings())
        assert sample(metrics, "cameo_backlog_seconds") == 0

    asyncio.run(scenario())


def test_a_deadline_that_the_queue_alone_exceeds_is_refused_before_a_body_is_read(
    scheduler: Scheduler, metrics: Metrics
) -> None:
    scheduler._costs["slow"] = Fit(0.0, 1.5)

    async def scenario() -> None:
        gate = Gate()
        job = asyncio.ensure_future(run(scheduler, gate.job(), kind=Kind("slow")))
        await until(gate.begun.is_set)
        scheduler.require_room(3.0, Timings())
        with pytest.raises(DeadlineExceeded, match="1500 ms of work are waiting") as caught:
            scheduler.require_room(1.5, Timings())
        assert caught.value.facts["deadline_ms"] == 1500
        assert sample(metrics, "cameo_refused_total", reason="deadline") == 1
        gate.open.set()
        assert await job == "through"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("queued", "deadline", "error"), [(2.1, 60.0, Overloaded), (1.5, 1.5 / (1.03 * HOPE), DeadlineExceeded)]
)
def test_what_has_been_read_may_exceed_the_limits_a_little(
    scheduler: Scheduler, queued: float, deadline: float, error: type[CameoError]
) -> None:
    scheduler._costs |= {"slow": Fit(0.0, queued), "quick": Fit(0.0, 0.001)}

    async def scenario() -> None:
        gate, quick = Gate(), Gate()
        quick.open.set()
        job = run(scheduler, gate.job(), kind=Kind("slow"))
        await until(gate.begun.is_set)
        with pytest.raises(error):
            scheduler.require_room(deadline, Timings())
        read = run(scheduler, quick.job(), kind=Kind("quick"), deadline=deadline)
        await until(lambda: scheduler._unfinished == 2)
        gate.open.set()
        assert await job == await read == "through"

    asyncio.run(scenario())


def test_work_counts_by_its_pixels(scheduler: Scheduler) -> None:
    fit = scheduler._costs.setdefault("photo", Fit(0.0, 1.5))
    for n in (1.0, 4.0) * 300:
        fit.add(n, 0.1 + 0.2 * n)
    assert fit(10.0) == pytest.approx(2.1, rel=0.02)


def test_what_cannot_be_done_in_time_is_refused_before_it_costs_anything(
    scheduler: Scheduler, metrics: Metrics
) -> None:
    gate, untouched = Gate(), Gate()

    async def scenario() -> None:
        first = run(scheduler, gate.job())
        await until(gate.begun.is_set)
        with pytest.raises(DeadlineExceeded) as caught:
            await run(scheduler, untouched.job(), deadline=0.001)
        assert caught.value.facts["deadline_ms"] == 1
        # One that was accepted in good hope, and then waited for too long:
        late = run(scheduler, untouched.job(), deadline=0.3)
        await asyncio.sleep(0.5)
        gate.open.set()
        with pytest.raises(DeadlineExceeded) as caught:
            await late
        assert caught.value.facts["spent_ms"]["queue"] >= 200
        assert await first == "through"

    asyncio.run(scenario())
    assert not untouched.begun.is_set()
    assert sample(metrics, "cameo_refused_total", reason="deadline") == 2


def test_a_client_that_leaves_frees_its_place_and_is_not_computed(scheduler: Scheduler, metrics: Metrics) -> None:
    gate, untouched = Gate(), Gate()

    async def scenario() -> None:
        first = run(scheduler, gate.job())
        await until(gate.begun.is_set)
        gone = asyncio.Event()

        async def left() -> None:
            await gone.wait()

        waiting = run(scheduler, untouched.job(), left=left)
        await until(lambda: len(scheduler._new) == 1)
        gone.set()
        with pytest.raises(ClientLeft):
            await waiting
        gate.open.set()
        assert await first == "through"
        await until(lambda: not scheduler._unfinished)

    asyncio.run(scenario())
    assert not untouched.begun.is_set()
    assert sample(metrics, "cameo_cancelled_total", stage="waiting") == 1


def test_a_client_that_leaves_while_its_job_runs_gets_no_further_stage(scheduler: Scheduler, metrics: Metrics) -> None:
    network, begun, go_on = Network(), threading.Event(), threading.Event()

    def job() -> Job[None]:
        begun.set()
        assert go_on.wait(30)
        yield Call(network.lane, 1)

    async def scenario() -> None:
        task = run(scheduler, job(), lane=network.lane)
        await until(begun.is_set)
        task.cancel()  # as at the end of the request's own task
        await asyncio.gather(task, return_exceptions=True)
        go_on.set()
        await until(lambda: not scheduler._unfinished)

    asyncio.run(scenario())
    assert network.batches == []
    assert network.lane.coming == 0
    assert sample(metrics, "cameo_cancelled_total", stage="running") == 1


def test_close_finishes_what_was_accepted(metrics: Metrics) -> None:
    scheduler, network, gate = Scheduler(2, 60.0, metrics), Network(limit=3), Gate()

    async def scenario() -> list[str]:
        jobs = [run(scheduler, gate.job()), *(run(scheduler, network.job(i), lane=network.lane) for i in range(20))]
        await until(gate.begun.is_set)
        closing = asyncio.create_task(asyncio.to_thread(scheduler.close))
        gate.open.set()
        results: list[str] = await asyncio.gather(*jobs)
        await closing
        return results

    assert asyncio.run(scenario())[1:] == [f"{i} squared is {i**2}" for i in range(20)]
    assert not any(thread.is_alive() for thread in scheduler._threads)


def test_thousands_at_once_each_get_their_own(metrics: Metrics) -> None:
    scheduler, networks = Scheduler(4, 600.0, metrics), [Network(limit=5), Network(limit=16, batch_seconds=0.0)]

    async def scenario() -> None:
        jobs = [run(scheduler, networks[i % 2].job(i), lane=networks[i % 2].lane) for i in range(3000)]
        assert await asyncio.gather(*jobs) == [f"{i} squared is {i**2}" for i in range(3000)]

    asyncio.run(scenario())
    scheduler.close()
    assert max(map(len, networks[0].batches)) == 5
    assert sum(map(len, networks[0].batches + networks[1].batches)) == 3000
    assert sample(metrics, "cameo_backlog_seconds") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a niceness is of the whole process")
def test_workers_give_way_to_the_event_loop(scheduler: Scheduler) -> None:
    def job() -> Job[int]:
        yield from ()
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def ask() -> int:
        niceness: int = await run(scheduler, job())
        return niceness

    assert asyncio.run(ask()) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
