import asyncio
import os
import sys
import threading

import pytest

from app.engine.scheduler import Scheduler
from app.observe.metrics import Metrics
from cameo.jobs import Call, Job, Operation, Timings
from tests.unit.engine.scheduled import Gate, Network, run, sample, until


def test_a_job_goes_through_its_network_and_its_stages_are_timed(scheduler: Scheduler, metrics: Metrics) -> None:
    network, timings = Network(), Timings()

    async def scenario() -> None:
        assert await run(scheduler, network.job(3), first=network.operation, timings=timings) == "3 squared is 9"

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

    rounds = Operation(("net", "1", "search"), note, 1, recurring=True)
    once = Operation(("net", "1", "encode"), note, 1)

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


def test_the_oldest_search_ends_first(scheduler: Scheduler) -> None:
    order: list[str] = []
    gate = Gate()

    def note(items: list[str]) -> list[str]:
        order.extend(items)
        return items

    rounds = Operation(("net", "1", "search"), note, 1, recurring=True)

    def search(name: str) -> Job[None]:
        for number in range(3):
            yield Call(rounds, f"{name}{number}")

    async def scenario() -> None:
        first = run(scheduler, gate.job())
        await until(gate.begun.is_set)
        jobs = [run(scheduler, search(name)) for name in "abc"]
        await until(lambda: len(scheduler._new) == 3)
        gate.open.set()
        await asyncio.gather(first, *jobs)

    asyncio.run(scenario())
    assert order == ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"]


def test_jobs_that_wait_go_as_one_batch_and_each_gets_its_own_result(scheduler: Scheduler, metrics: Metrics) -> None:
    network, gate = Network(limit=4), Gate()

    async def scenario() -> None:
        first = run(scheduler, gate.job())
        await until(gate.begun.is_set)
        jobs = [run(scheduler, network.job(item), first=network.operation) for item in range(10)]
        await until(lambda: len(scheduler._new) == 10)
        gate.open.set()
        assert await asyncio.gather(*jobs) == [f"{item} squared is {item**2}" for item in range(10)]
        assert await first == "through"

    asyncio.run(scenario())
    assert network.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert scheduler._lane(network.operation).coming == 0
    labels = {"model": "net", "version": "1", "direction": "encode"}
    assert sample(metrics, "cameo_batches_total", **labels, reason="full") == 2
    assert sample(metrics, "cameo_batches_total", **labels, reason="alone") == 1


def test_nothing_waits_for_a_batch_that_would_save_nothing(scheduler: Scheduler) -> None:
    network, gate = Network(batch_seconds=0.0), Gate()

    async def scenario() -> None:
        run(scheduler, gate.job())
        await until(gate.begun.is_set)
        jobs = [run(scheduler, network.job(item), first=network.operation) for item in range(5)]
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
        jobs = [run(scheduler, network.job(item), first=network.operation) for item in (1, -2, 3)]
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


def test_close_finishes_what_was_accepted(metrics: Metrics) -> None:
    scheduler, network, gate = Scheduler(2, 60.0, metrics), Network(limit=3), Gate()

    async def scenario() -> list[str]:
        jobs = [
            run(scheduler, gate.job()),
            *(run(scheduler, network.job(i), first=network.operation) for i in range(20)),
        ]
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
        jobs = [run(scheduler, networks[i % 2].job(i), first=networks[i % 2].operation) for i in range(3000)]
        assert await asyncio.gather(*jobs) == [f"{i} squared is {i**2}" for i in range(3000)]

    asyncio.run(scenario())
    scheduler.close()
    assert max(map(len, networks[0].batches)) == 5
    assert sum(map(len, networks[0].batches + networks[1].batches)) == 3000
    assert sample(metrics, "cameo_backlog_seconds") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="a policy of Linux")
def test_workers_give_way_to_the_event_loop_and_keep_their_share_of_the_machine(scheduler: Scheduler) -> None:
    def job() -> Job[tuple[int, int]]:
        yield from ()
        thread = threading.get_native_id()
        return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)

    async def ask() -> tuple[int, int]:
        policy: tuple[int, int] = await run(scheduler, job())
        return policy

    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    assert asyncio.run(ask()) == (os.SCHED_BATCH, niceness)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "the event loop's"
