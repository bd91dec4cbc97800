"""An open-loop load generator, in a process of its own: ``python -m bench.openloop < plan.json > outcome.json``.

When each request is sent is planned beforehand, at random as independent people send (Poisson) or evenly, and no
request waits for an answer to another. Latency counts from the planned moment, so a server that stalls pays for those
who would have asked meanwhile (the error of not doing that is called coordinated omission). A client has ``patience``
seconds: an answer after them, or none, is ``unanswered``, and counts among the accepted with all of its patience.
Goodput counts answers 200 within ``deadline`` seconds, over the planned length of the run.

With ``clients`` in place of ``rate`` the loop is closed: so many clients, each asking again once it has its answer.
That finds what a server can do at most.

It shares the machine with the server, so it does little: prepared bytes go out over kept connections, of which there
are as many as requests are under way; of an answer it reads the status, the length and a checksum. What that costs is
in the outcome, and so is whether it kept to its own plan.
"""

import asyncio
import collections
import contextlib
import gc
import json
import os
import re
import resource
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from bench.plan import REFUSALS, Outcome, Plan, percentile_ms

MOST_CONNECTIONS = 3000
LATE = 0.005  # seconds behind the plan that count as late
TICK = 0.001  # seconds; what happens within them is seen to at once, which costs the servers less
# The servers' time is what it costs: uvloop's loop costs two thirds.
new_loop = import_module("uvloop").new_event_loop if find_spec("uvloop") else asyncio.new_event_loop
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass
class Shot:
    """One request; times count from the start of the run."""

    name: str
    planned: float
    outcome: str = ""
    """The status, "unanswered" or a sentence on what broke; empty while it is under way."""
    latency: float = 0.0
    checksum: int = 0
    retried: bool = False


class Connection(asyncio.Protocol):
    """A kept HTTP/1.1 connection with at most one request under way."""

    def __init__(self, owner: "Generator") -> None:
        self._owner = owner
        self._shot: Shot | None = None
        self._buffer = bytearray()
        self._end = 0  # of the answer in the buffer; 0 before its head is whole
        self._used = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, shot: Shot) -> None:
        self._shot, self._end = shot, 0
        self._buffer.clear()
        self.transport.write(self._owner.plan.requests[shot.name])

    def give_up(self, shot: Shot) -> None:
        """Close, where ``shot`` is still what this connection waits for."""
        if self._shot is shot:
            self._shot = None
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._end:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._buffer, 0, head)
            if not length or self._shot is None:
                self._fail("an answer without a length")
                return
            self._end = head + 4 + int(length[1])
        if len(self._buffer) < self._end:
            return
        shot, self._shot, self._used = self._shot, None, True
        if shot is None:
            return
        head = self._buffer.find(b"\r\n\r\n")
        shot.checksum = zlib.crc32(memoryview(self._buffer)[head + 4 : self._end])
        shot.outcome = self._buffer[9:12].decode("latin-1")
        if _CLOSE.search(self._buffer, 0, head):
            self.transport.close()
        else:
            self._owner.idle.append(self)
        self._owner.done(shot)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.open -= 1
        with contextlib.suppress(ValueError):
            self._owner.idle.remove(self)
        if self._shot is not None:
            # A server may close a kept connection at any time; clients then ask again, on a new one.
            if self._used and not self._buffer and not self._shot.retried:
                self._shot.retried = True
                self._owner.fire_anew(self._shot)
            else:
                self._fail(f"connection lost: {type(exc).__name__ if exc else 'closed'}")

    def _fail(self, reason: str) -> None:
        shot, self._shot = self._shot, None
        self.transport.abort()
        if shot is not None:
            shot.outcome = reason
            self._owner.done(shot)


class Generator:
    """Runs one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.idle: list[Connection] = []
        self.open = 0
        self._shots: list[Shot] = []
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: list[float] = []
        self._most_open = 0

    async def run(self) -> Outcome:
        self._loop, self._all_done = asyncio.get_running_loop(), asyncio.Event()
        self._began, self._clock, cpu = time.monotonic(), time.time(), time.process_time()
        if self.plan.rate is None:
            for k in range(self.plan.clients):
                self._fire(self._next_closed(k))
            await asyncio.sleep(self.plan.seconds)
        else:
            await self._open_loop()
        # Every shot ends by its patience; what ends first wakes us.
        self._all_done.clear()
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_done.wait(), self.plan.patience + 0.5)
        cpu = time.process_time() - cpu
        for connection in self.idle:
            connection.transport.close()
        await asyncio.sleep(0)  # they close at the loop's next turn
        return self._outcome(cpu)

    async def _open_loop(self) -> None:
        self._loop.call_soon(self._tick)
        for planned, name in self.plan.moments():
            while (wait := planned - self._now()) > 0:  # noqa: ASYNC110 - uvloop may wake half a millisecond early
                await asyncio.sleep(wait)
            self._late.append(self._now() - planned)
            self._fire(Shot(name, planned))

    def _tick(self) -> None:
        time.sleep(TICK)
        self._loop.call_soon(self._tick)

    def done(self, shot: Shot) -> None:
        shot.latency = self._now() - shot.planned
        self._under_way -= 1
        if not self._under_way:
            self._all_done.set()
        if self.plan.rate is None and self._now() < self.plan.seconds:
            # A server that refuses or closes at once must not make a closed loop spin.
            if shot.outcome == "200":
                self._fire_again()
            else:
                self._loop.call_later(0.05, self._fire_again)

    def _fire_again(self) -> None:
        if self._now() < self.plan.seconds:
            self._fire(self._next_closed(len(self._shots)))

    def fire_anew(self, shot: Shot) -> None:
        self._connect(shot)

    def _fire(self, shot: Shot) -> None:
        if self.plan.rate is None:
            shot.planned = self._now()
        self._shots.append(shot)
        self._under_way += 1
        if self.idle:
            self._send(self.idle.pop(), shot)
        elif self.open >= MOST_CONNECTIONS:
            shot.outcome = f"not sent: {MOST_CONNECTIONS} connections are open"
            self.done(shot)
        else:
            self._connect(shot)

    def _connect(self, shot: Shot) -> None:
        self.open += 1
        self._most_open = max(self._most_open, self.open)
        task = self._loop.create_task(self._send_anew(shot))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_anew(self, shot: Shot) -> None:
        try:
            _, connection = await self._loop.create_connection(lambda: Connection(self), "127.0.0.1", self.plan.port)
        except OSError as error:
            self.open -= 1
            shot.outcome = f"no connection: {type(error).__name__}"
            self.done(shot)
            return
        self._send(connection, shot)

    def _send(self, connection: Connection, shot: Shot) -> None:
        connection.send(shot)
        left = shot.planned + self.plan.patience - self._now()
        self._loop.call_later(max(0.0, left), self._give_up, connection, shot)

    def _give_up(self, connection: Connection, shot: Shot) -> None:
        if not shot.outcome:
            shot.outcome = "unanswered"
            connection.give_up(shot)
            self.done(shot)

    def _next_closed(self, k: int) -> Shot:
        names = list(self.plan.requests)
        return Shot(names[k % len(names)], 0.0)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _outcome(self, cpu: float) -> Outcome:
        plan, shots = self.plan, self._shots
        good = [s for s in shots if s.outcome == "200"]
        # What a closed loop has under way at its end came in too late to count.
        counted = good if plan.rate else [s for s in good if s.planned + s.latency <= plan.seconds]
        accepted = [s.latency for s in good] + [plan.patience for s in shots if s.outcome == "unanswered"]
        statuses = collections.Counter(s.outcome for s in shots if s.outcome.isdigit())
        failures = collections.Counter(s.outcome for s in shots if not s.outcome.isdigit() and s.outcome)
        unanswered = failures.pop("unanswered", 0)
        refused = sum(statuses.get(str(status), 0) for status in REFUSALS)
        refusals = [s.latency for s in shots if s.outcome in map(str, REFUSALS)]
        in_time = sum(s.latency <= plan.deadline for s in counted)
        answers: dict[str, dict[str, tuple[int, float]]] = {}
        for shot in good:
            seen = answers.setdefault(shot.name, {})
            count, first = seen.get(f"{shot.checksum:08x}", (0, float("inf")))
            seen[f"{shot.checksum:08x}"] = count + 1, min(first, round(shot.planned + shot.latency, 3))
        return Outcome(
            began=self._clock,
            sent=len(shots),
            offered_rate=len(shots) / plan.seconds,
            goodput=in_time / plan.seconds,
            answered_rate=len(counted) / plan.seconds,
            refused=refused,
            errors=sum(statuses.values()) - statuses.get("200", 0) - refused + sum(failures.values()),
            unanswered=unanswered,
            late_answers=len(counted) - in_time,
            statuses=dict(statuses),
            failures=dict(failures),
            p50_ms=percentile_ms(accepted, 50),
            p99_ms=percentile_ms(accepted, 99),
            mean_refusal_ms=1e3 * sum(refusals) / len(refusals) if refusals else None,
            answers=answers,
            retried=sum(s.retried for s in shots),
            connections=self._most_open,
            late_sends=sum(late > LATE for late in self._late),
            worst_late_ms=1e3 * max(self._late, default=0.0),
            cpu_ms_per_request=1e3 * cpu / max(1, len(shots)),
        )


def main() -> int:
    plan = Plan.from_json(sys.stdin.read())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
    # Other clients have a machine of their own. Niceness is not enough: Linux counts it within a session only.
    with contextlib.suppress(PermissionError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    gc.disable()  # a run is short, and a pause of the collector would count as the server's
    with asyncio.Runner(loop_factory=new_loop) as runner:
        json.dump(asdict(runner.run(Generator(plan).run())), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
