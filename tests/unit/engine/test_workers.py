import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.engine.workers import Timings, Workers
from app.errors import Overloaded
from app.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def workers(metrics: Metrics) -> Iterator[Workers]:
    """One works, two may wait."""
    workers = Workers(1, 2, metrics)
    yield workers
    workers.close()


class Gate:
    """Work that says when it has begun and ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(30)
        return "through"


async def until(settled: Any) -> None:
    for _ in range(3000):
        if settled():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def waiting(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("cameo_queue_length")


def test_the_result_and_the_wait(workers: Workers) -> None:
    timings = Timings()
    assert asyncio.run(workers.run(lambda: 6 * 7, timings)) == 42
    assert timings.seconds.keys() == {"queue"}
    assert timings.seconds["queue"] >= 0


def test_a_full_queue_refuses_at_once(workers: Workers, metrics: Metrics) -> None:
    async def scenario() -> None:
        gate = Gate()
        tasks = [asyncio.create_task(workers.run(gate, Timings())) for _ in range(3)]
        await until(gate.begun.is_set)
        assert waiting(metrics) == 2
        with pytest.raises(Overloaded) as caught:
            await workers.run(lambda: None, Timings())
        assert caught.value.facts == {"limit": 3, "retry_after": 1}
        assert metrics.registry.get_sample_value("cameo_overload_total") == 1
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["through"] * 3
        await until(lambda: workers._admitted == 0)
        assert waiting(metrics) == 0
        assert await workers.run(lambda: "room again", Timings()) == "room again"

    asyncio.run(scenario())


def test_the_advice_to_wait_follows_what_jobs_take(workers: Workers) -> None:
    workers._mean_seconds = 4.0

    async def scenario() -> None:
        gate = Gate()
        tasks = [asyncio.create_task(workers.run(gate, Timings())) for _ in range(3)]
        await until(gate.begun.is_set)
        with pytest.raises(Overloaded, match="try again in 12 s") as caught:
            await workers.run(lambda: None, Timings())
        assert caught.value.facts["retry_after"] == 12
        gate.open.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert workers._mean_seconds < 4


def test_jobs_run_in_the_order_they_came(workers: Workers) -> None:
    async def scenario() -> list[int]:
        done: list[int] = []
        await asyncio.gather(*(workers.run(lambda i=i: done.append(i), Timings()) for i in range(3)))  # type: ignore[misc]
        return done

    assert asyncio.run(scenario()) == [0, 1, 2]


def test_a_failing_job_fails_its_caller_alone_and_frees_its_place(workers: Workers) -> None:
    async def scenario() -> None:
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await workers.run(lambda: 1 // 0, Timings())
        await until(lambda: workers._admitted == 0)
        assert await workers.run(lambda: "fine", Timings()) == "fine"

    asyncio.run(scenario())


def test_a_job_whose_caller_left_keeps_its_place_until_it_ends(workers: Workers, metrics: Metrics) -> None:
    async def scenario() -> None:
        gate = Gate()
        running = asyncio.create_task(workers.run(gate, Timings()))
        await until(gate.begun.is_set)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.sleep(0.05)
        assert workers._admitted == 1, "its thread is busy still"
        gate.open.set()
        await until(lambda: workers._admitted == 0)

    asyncio.run(scenario())


def test_a_job_whose_caller_left_before_it_began_never_runs(workers: Workers, metrics: Metrics) -> None:
    async def scenario() -> None:
        gate, ran = Gate(), threading.Event()
        running = asyncio.create_task(workers.run(gate, Timings()))
        await until(gate.begun.is_set)
        queued = asyncio.create_task(workers.run(ran.set, Timings()))
        await until(lambda: workers._admitted == 2)
        queued.cancel()
        await until(lambda: workers._admitted == 1)
        assert waiting(metrics) == 0
        gate.open.set()
        assert await running == "through"
        await until(lambda: workers._admitted == 0)
        assert not ran.is_set()

    asyncio.run(scenario())


def test_closing_finishes_what_was_accepted(metrics: Metrics) -> None:
    workers = Workers(1, 3, metrics)

    async def scenario() -> list[None]:
        jobs = [asyncio.create_task(workers.run(lambda: time.sleep(0.02), Timings())) for _ in range(3)]
        await asyncio.sleep(0)
        workers.close()
        with pytest.raises(RuntimeError):
            await workers.run(lambda: None, Timings())
        assert workers._admitted == 3, "what was not taken has no place"
        return await asyncio.gather(*jobs)

    assert asyncio.run(scenario()) == [None] * 3


def test_stages_add_up_in_order() -> None:
    timings = Timings()
    for name in ("decode", "infer", "decode"):
        with timings.stage(name):
            time.sleep(0.001)
    with pytest.raises(ZeroDivisionError), timings.stage("encode"):
        1 // 0  # noqa: B018
    assert list(timings.seconds) == ["decode", "infer", "encode"]
    assert timings.seconds["decode"] >= 0.002
