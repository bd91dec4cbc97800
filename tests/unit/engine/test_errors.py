"""Errors on their way from a worker to whoever waits for the job."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from app.engine.scheduler import Scheduler
from cameo.errors import NoFace
from cameo.jobs import Call, Job, Operation, Timings
from tests.unit.engine.scheduled import ANY, Gate, never, run, until


class Picture:
    """What a frame holds."""


@pytest.fixture
def _no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collections")
@pytest.mark.parametrize("error", [NoFace("nobody is in the picture"), ZeroDivisionError()])
@pytest.mark.parametrize("at", ["job", "network", "batch"])
def test_an_error_keeps_no_picture_in_memory(scheduler: Scheduler, error: Exception, at: str) -> None:
    pictures = list[weakref.ref[Picture]]()

    def fail(items: list[Any]) -> list[Any]:
        raise type(error)(*error.args)

    network = Operation(("net", "1", "encode"), fail, 8, seconds={n: 30.0 + 0.001 * n for n in range(1, 400)})

    def job() -> Job[None]:
        picture = Picture()
        pictures.append(weakref.ref(picture))
        if at == "job":
            yield from ()
            fail([picture])
        yield Call(network, picture)

    async def caught() -> bool:
        # As in the API: nothing on the way keeps the error.
        try:
            await scheduler.run(job(), ANY, network, 60.0, Timings(), never())
        except type(error):
            return True
        return False

    async def scenario() -> None:
        gate = Gate()
        first = run(scheduler, gate.job())
        await until(gate.begun.is_set)
        tasks = [asyncio.create_task(caught()) for _ in range(3 if at == "batch" else 1)]
        await until(lambda: len(scheduler._new) == len(tasks))
        gate.open.set()
        assert await first == "through"
        assert all(await asyncio.gather(*tasks))

    asyncio.run(scenario())
    scheduler.close()
    assert [ref() for ref in pictures] == [None] * (3 if at == "batch" else 1)
