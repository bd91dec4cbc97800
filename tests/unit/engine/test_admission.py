"""What is refused, and when; and clients that leave."""

import asyncio
import threading
import time

import pytest

from app.engine.admission import HOPE, Kind
from app.engine.fit import Fit
from app.engine.pace import Pace
from app.engine.scheduler import Scheduler
from app.observe.metrics import Metrics
from cameo.errors import CameoError, ClientLeft, DeadlineExceeded, Overloaded
from cameo.jobs import Call, Job, Timings
from tests.unit.engine.scheduled import Gate, Network, never, run, sample, until


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(scheduler: Scheduler, metrics: Metrics) -> None:
    for _ in range(400):
        scheduler.admission.costs.setdefault("slow", Fit(0.0, 1.5)).add(0.0, 1.5)

    async def scenario() -> None:
        gates = [Gate(), Gate()]
        jobs = [run(scheduler, gate.job(), kind=Kind("slow")) for gate in gates]
        await until(gates[0].begun.is_set)
        assert sample(metrics, "cameo_queue_length") == 1
        with pytest.raises(Overloaded) as caught:
            scheduler.admission.require_room(60.0, Timings())
        assert caught.value.facts["limit_seconds"] == 2.0
        assert caught.value.facts["waiting_seconds"] == pytest.approx(3.0, rel=0.05)
        assert 1 <= caught.value.facts["retry_after"] <= 3
        assert sample(metrics, "cameo_backlog_seconds") == pytest.approx(3.0, rel=0.05), "as clients are told"
        with pytest.raises(Overloaded):
            await run(scheduler, Gate().job())
        assert sample(metrics, "cameo_refused_total", reason="queue") == 2
        for gate in gates:
            gate.open.set()
        assert await asyncio.gather(*jobs) == ["through"] * 2
        scheduler.admission.require_room(60.0, Timings())
        assert sample(metrics, "cameo_backlog_seconds") == 0

    asyncio.run(scenario())


def test_a_deadline_that_the_queue_alone_exceeds_is_refused_before_a_body_is_read(
    scheduler: Scheduler, metrics: Metrics
) -> None:
    scheduler.admission.costs["slow"] = Fit(0.0, 1.5)

    async def scenario() -> None:
        gate = Gate()
        job = asyncio.ensure_future(run(scheduler, gate.job(), kind=Kind("slow")))
        await until(gate.begun.is_set)
        scheduler.admission.require_room(3.0, Timings())
        with pytest.raises(DeadlineExceeded, match="1500 ms of work are waiting") as caught:
            scheduler.admission.require_room(1.5, Timings())
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
    scheduler.admission.costs |= {"slow": Fit(0.0, queued), "quick": Fit(0.0, 0.001)}

    async def scenario() -> None:
        gate, quick = Gate(), Gate()
        quick.open.set()
        job = run(scheduler, gate.job(), kind=Kind("slow"))
        await until(gate.begun.is_set)
        with pytest.raises(error):
            scheduler.admission.require_room(deadline, Timings())
        read = run(scheduler, quick.job(), kind=Kind("quick"), deadline=deadline)
        await until(lambda: scheduler.admission.unfinished == 2)
        gate.open.set()
        assert await job == await read == "through"

    asyncio.run(scenario())


def test_a_deadline_as_long_as_the_queue_is_refused_for_the_queue(scheduler: Scheduler) -> None:
    scheduler.admission.costs |= {"slow": Fit(0.0, 1.9), "next": Fit(0.0, 0.5)}

    async def scenario() -> None:
        gate = Gate()
        job = run(scheduler, gate.job(), kind=Kind("slow"))
        await until(gate.begun.is_set)
        with pytest.raises(Overloaded):
            await run(scheduler, Gate().job(), kind=Kind("next"), deadline=2.0 / HOPE)
        with pytest.raises(DeadlineExceeded) as caught:
            await run(scheduler, Gate().job(), kind=Kind("next"), deadline=0.2)
        assert caught.value.facts["retry_after"] == 3, "then .7 of .2 s is enough"
        gate.open.set()
        await job

    asyncio.run(scenario())


def test_a_job_that_no_machine_can_do_in_time_is_refused_for_its_deadline(scheduler: Scheduler) -> None:
    scheduler.admission.costs["long"] = Fit(0.0, 5.0)

    async def scenario() -> None:
        with pytest.raises(DeadlineExceeded, match="it would take 5000 ms"):
            await run(scheduler, Gate().job(), kind=Kind("long"), deadline=5.0)

    asyncio.run(scenario())


def test_who_is_refused_is_kept_a_turn_behind_those_before(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "add", lambda *_: None)  # whatever else the machine does
    scheduler.admission.costs |= {"first": Fit(0.0, 1.8), "second": Fit(0.0, 1.2)}

    async def scenario() -> None:
        gates = [Gate(), Gate()]
        jobs = [
            run(scheduler, gate.job(), kind=Kind(name)) for gate, name in zip(gates, ("first", "second"), strict=True)
        ]
        await until(gates[0].begun.is_set)
        retries = []
        for _ in range(4):
            with pytest.raises(Overloaded) as caught:
                scheduler.admission.require_room(60.0, Timings())
            retries.append(caught.value.facts["retry_after"])
        assert retries == [1, 3, 4, 6], "1 s until there is room, and 1.5 s for each who was told before"
        gates[0].open.set()
        await until(gates[1].begun.is_set)
        with pytest.raises(Overloaded):  # there would be room, were it not for those four
            scheduler.admission.require_room(60.0, Timings())
        scheduler.admission.turns.add(time.perf_counter())
        timings = Timings()
        scheduler.admission.require_room(60.0, timings)
        with pytest.raises(Overloaded):
            scheduler.admission.require_room(60.0, Timings())
        # Meanwhile the queue has become longer than was expected.
        scheduler.admission.costs["slow"] = Fit(0.0, 3.0)
        gate = Gate()
        jobs.append(run(scheduler, gate.job(), kind=Kind("slow"), timings=timings))
        await until(lambda: scheduler.admission.unfinished == 2)
        gate.open.set()
        scheduler.admission.turns.add(time.perf_counter())
        scheduler.admission.require_room(60.0, Timings())
        gates[1].open.set()
        await asyncio.gather(*jobs)
        scheduler.admission.require_room(60.0, Timings())  # turns that are kept leave nobody idle

    asyncio.run(scenario())


def test_who_asks_all_the_time_takes_nobody_a_turn(scheduler: Scheduler) -> None:
    scheduler.admission.costs["slow"] = Fit(0.0, 3.0)

    async def scenario() -> None:
        gate = Gate()
        job = run(scheduler, gate.job(), kind=Kind("slow"))
        await until(gate.begun.is_set)
        for _ in range(5):
            with pytest.raises(Overloaded) as caught:
                await scheduler.run(Gate().job(), Kind("any"), None, 60.0, Timings(), never(), polls=True)
            assert caught.value.facts["retry_after"] == 1
        gate.open.set()
        await job

    asyncio.run(scenario())


def test_work_costs_its_cpu_time_however_long_it_takes(scheduler: Scheduler) -> None:
    async def scenario() -> None:
        for _ in range(3):
            gate = Gate()
            job = run(scheduler, gate.job(), kind=Kind("waits"))
            await until(gate.begun.is_set)
            await asyncio.sleep(0.2)  # as while others have the machine
            gate.open.set()
            await job

    asyncio.run(scenario())
    assert scheduler.admission.costs["waits"](0.0) < Kind("waits").seconds
    assert scheduler.admission.pace(time.perf_counter()) > 1.5


def test_waiting_takes_as_much_longer_as_work_did_lately(scheduler: Scheduler) -> None:
    scheduler.admission.costs["slow"] = Fit(0.0, 1.5)
    scheduler.admission.pace.add(9.5, 2.0, time.perf_counter())

    async def scenario() -> None:
        gate = Gate()
        job = run(scheduler, gate.job(), kind=Kind("slow"))
        await until(gate.begun.is_set)
        with pytest.raises(Overloaded) as caught:
            scheduler.admission.require_room(60.0, Timings())
        assert caught.value.facts["waiting_seconds"] == pytest.approx(4 * 1.5, rel=0.2)
        gate.open.set()
        await job

    asyncio.run(scenario())


def test_an_idle_service_takes_what_a_quiet_machine_can_do(scheduler: Scheduler) -> None:
    scheduler.admission.pace.add(10.0, 0.0, time.perf_counter())
    scheduler.admission.costs["quick"] = Fit(0.0, 0.5)

    async def scenario() -> None:
        gate = Gate()
        gate.open.set()
        assert await run(scheduler, gate.job(), kind=Kind("quick"), deadline=20.0) == "through"

    asyncio.run(scenario())


def test_work_counts_by_its_pixels(scheduler: Scheduler) -> None:
    fit = scheduler.admission.costs.setdefault("photo", Fit(0.0, 1.5))
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
        assert scheduler.admission.unfinished == 1
        assert not scheduler._new
        gate.open.set()
        assert await first == "through"
        await until(lambda: not scheduler.admission.unfinished)

    asyncio.run(scenario())
    assert not untouched.begun.is_set()
    assert sample(metrics, "cameo_cancelled_total", stage="waiting") == 1


def test_a_client_that_leaves_while_its_job_runs_gets_no_further_stage(scheduler: Scheduler, metrics: Metrics) -> None:
    network, begun, go_on = Network(), threading.Event(), threading.Event()

    def job() -> Job[None]:
        begun.set()
        assert go_on.wait(30)
        yield Call(network.operation, 1)

    async def scenario() -> None:
        task = run(scheduler, job(), first=network.operation)
        await until(begun.is_set)
        task.cancel()  # as at the end of the request's own task
        await asyncio.gather(task, return_exceptions=True)
        go_on.set()
        await until(lambda: not scheduler.admission.unfinished)

    asyncio.run(scenario())
    assert network.batches == []
    assert scheduler._lane(network.operation).coming == 0
    assert sample(metrics, "cameo_cancelled_total", stage="running") == 1


def test_the_answer_comes_at_the_deadline_though_a_worker_is_still_busy(scheduler: Scheduler, metrics: Metrics) -> None:
    gate = Gate()

    async def scenario() -> None:
        task = run(scheduler, gate.job(), deadline=0.2)
        with pytest.raises(DeadlineExceeded, match="wanted within 200 ms"):
            await task
        assert gate.begun.is_set()
        assert scheduler.admission.unfinished == 1
        assert sample(metrics, "cameo_backlog_seconds") == 0, "nobody else waits for what nobody wants"
        gate.open.set()
        await until(lambda: not scheduler.admission.unfinished)
        assert await run(scheduler, network.job(3)) == "3 squared is 9"

    network = Network()
    asyncio.run(scenario())
    assert sample(metrics, "cameo_backlog_seconds") == 0
    assert sample(metrics, "cameo_refused_total", reason="deadline") == 1
    assert not sample(metrics, "cameo_cancelled_total", stage="running")
