"""The load generator against servers that a test makes: what it counts, and from when."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import pytest

from bench.openloop import Generator, new_loop
from bench.plan import Outcome, Plan, percentile_ms

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def outcome(handler: Handler, **plan: float) -> Outcome:
    """Of a plan carried out on a server that treats each connection so."""

    async def run() -> Outcome:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        whole = Plan(port, {"x": REQUEST}, **{"seconds": 0.4, "patience": 0.6, **plan})  # type: ignore[arg-type]
        try:
            return await Generator(whole).run()
        finally:
            server.close()
            await asyncio.sleep(0.05)  # for the handlers to see that their clients have gone

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run())


def answering(answer: bytes, *, stall: float = 0.0) -> Handler:
    """Each request gets this answer; the first stalls the whole server."""
    free = 0.0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal free
        loop = asyncio.get_running_loop()
        while True:
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                writer.close()
                return
            free = free or loop.time() + stall
            await asyncio.sleep(max(0.0, free - loop.time()))
            writer.write(answer)

    return handle


def test_the_same_plan_has_the_same_moments() -> None:
    plan = Plan(1, {"a": b"", "b": b""}, seconds=10, rate=50, seed=3)
    moments = plan.moments()
    assert moments == Plan.from_json(plan.to_json()).moments()
    assert len(moments) == 500
    assert all(0 <= at < 10 for at, _ in moments)
    assert {name for _, name in moments} == {"a", "b"}


def test_every_request_is_counted_and_connections_are_kept() -> None:
    found = outcome(answering(OK), rate=100, even=True)
    assert (found.sent, found.statuses, found.errors, found.unanswered) == (40, {"200": 40}, 0, 0)
    assert found.goodput == pytest.approx(100)
    assert found.connections < 20
    assert found.answers["x"].keys() == {f"{zlib.crc32(b'ok'):08x}"}


def test_whoever_would_have_asked_during_a_stall_counts_it() -> None:
    found = outcome(answering(OK, stall=0.3), rate=100, even=True)
    assert found.sent == 40
    assert found.p50_ms is not None
    assert found.p50_ms > 50, "about three quarters of the requests were planned within the stall"


def test_a_deadline_parts_good_answers_from_late_ones() -> None:
    found = outcome(answering(OK, stall=0.3), rate=100, even=True, deadline=0.1)
    assert found.late_answers > 10
    assert found.goodput * 0.4 == pytest.approx(40 - found.late_answers)


def test_refusals_errors_and_silence_differ() -> None:
    busy = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
    broken = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
    assert outcome(answering(busy), rate=50).refused == 20
    assert outcome(answering(broken), rate=50).errors == 20
    silent = outcome(answering(b""), rate=50)
    assert (silent.unanswered, silent.errors) == (20, 0)
    assert silent.p99_ms == 600


def test_a_connection_that_closes_without_an_answer_is_an_error() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    assert outcome(close, rate=50).errors == 20


def test_a_closed_loop_has_no_more_under_way_than_clients() -> None:
    found = outcome(answering(OK), clients=3)
    assert found.connections == 3
    assert found.answered_rate > 100


@pytest.mark.parametrize(("percent", "value"), [(50, 2000.0), (99, 4000.0), (25, 1000.0), (26, 2000.0)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile_ms([3, 1, 4, 2], percent) == value
    assert percentile_ms([], percent) is None
