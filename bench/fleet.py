"""A fleet of replicas in simulation: arrivals, queues, refusals, retries, an autoscaler, and zones that are lost.

A replica serves as the service does: ``workers`` at once, first come first served, and whoever would wait longer than
``queue_seconds`` is refused and told when to come back. Service times are drawn from measured ones. The balancer takes
a ready replica at random, as kube-proxy does. The autoscaler is Kubernetes's: every ``period`` it wants as many
replicas as bring each metric to its target, grows by at most the double every 30 s, and shrinks by a fifth a minute, to
the most that it wanted in the last ``calm`` seconds. ``tests/unit/bench/test_fleet.py`` compares with queueing theory.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import simpy

ZONES = 3
STEP = 30.0  # seconds between two entries of the record

Services = Sequence[float] | Callable[[random.Random], float]
"""Measured seconds, of which each is as likely, or a law."""
Steps = Generator[simpy.Event, None, None]


@dataclass(frozen=True)
class Scaling:
    """Targets are means over replicas; ``delay`` is from the wish for a replica until it is ready, seconds."""

    least: int
    most: int = 1000
    backlog: float | None = 1.0
    busy: float | None = 0.6
    delay: float = 60.0
    period: float = 15.0
    calm: float = 300.0


@dataclass(frozen=True)
class Fleet:
    """What does not change in a run; times in seconds. ``lost_zone_at`` ends a third of the replicas at once."""

    workers: int = 2
    queue_seconds: float = math.inf
    tries: int = 4
    scaling: Scaling = field(default_factory=lambda: Scaling(1, 1))
    lost_zone_at: float | None = None


class Replica:
    """A queue before ``workers``: as nobody overtakes, it is known on arrival when a request will be done."""

    def __init__(self, fleet: Fleet, zone: int, mean: float) -> None:
        self.zone, self.alive = zone, True
        self._free = [0.0] * fleet.workers  # a heap: when each worker will be free
        self._limit, self._mean, self.unfinished, self._accepted = fleet.queue_seconds, mean, 0, 0.0

    @property
    def backlog(self) -> float:
        """Expected seconds until accepted work is done, as the service estimates it."""
        return self.unfinished * self._mean / len(self._free)

    def accept(self, now: float, service: float) -> float | None:
        """When it will be done, or None where the queue is full."""
        if self.backlog > self._limit:
            return None
        done = max(now, self._free[0]) + service
        heapq.heapreplace(self._free, done)
        self.unfinished += 1
        self._accepted += service
        return done

    def worked(self, now: float) -> float:
        """Seconds that its workers were busy until now."""
        return self._accepted - sum(max(0.0, free - now) for free in self._free)


@dataclass
class Result:
    """Times in seconds. ``record`` has a row each ``STEP``: time, arrivals, replicas, backlog, refusals, lost."""

    asked: int = 0
    answered: int = 0
    refused: int = 0
    """Refusals; who comes back and gets in is answered, too."""
    given_up: int = 0
    broken: int = 0
    """Requests whose replica ended; they are sent again."""
    waits: list[float] = field(default_factory=list)
    """From the first arrival to the begin of the service that led to an answer."""
    latencies: list[float] = field(default_factory=list)
    work: float = 0.0
    """Seconds of service."""
    paid: float = 0.0
    """Seconds of workers of all replicas, from the wish for a replica to its end."""
    record: list[tuple[float, float, int, float, int, int]] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def simulate(
    fleet: Fleet, rate: Callable[[float], float], highest: float, services: Services, seconds: float, seed: int = 0
) -> Result:
    """``rate`` gives arrivals a second at a time, never above ``highest``."""
    run = _Run(fleet, services, seed)
    run.env.process(run.arrive(rate, highest, seconds))
    run.env.process(run.write(seconds))
    if fleet.scaling.least < fleet.scaling.most:
        run.env.process(run.scale(seconds))
    if fleet.lost_zone_at is not None:
        run.env.process(run.lose_zone(fleet.lost_zone_at))
    run.env.run()
    run.result.paid = run.paid_until(seconds)
    return run.result


class _Run:
    def __init__(self, fleet: Fleet, services: Services, seed: int) -> None:
        self.fleet, self.env, self.result = fleet, simpy.Environment(), Result()
        self._draw = random.Random(seed)  # noqa: S311
        if callable(services):
            self._service = services
            self._mean = sum(services(random.Random(k)) for k in range(1000)) / 1000  # noqa: S311
        else:
            self._service = lambda draw: draw.choice(services)
            self._mean = sum(services) / len(services)
        self._zones = 0
        self._lives: dict[Replica, tuple[float, float | None]] = {}
        self.ready = [self._new() for _ in range(fleet.scaling.least)]
        self.starting = 0

    def _new(self) -> Replica:
        self._zones += 1
        made = Replica(self.fleet, self._zones % ZONES, self._mean)
        self._lives[made] = self.env.now, None
        return made

    def paid_until(self, end: float) -> float:
        lives = ((born, end if died is None else min(died, end)) for born, died in self._lives.values())
        return self.fleet.workers * sum(max(0.0, died - born) for born, died in lives)

    def arrive(self, rate: Callable[[float], float], highest: float, seconds: float) -> Steps:
        """A Poisson process of a rate that changes: of one with the highest rate, each is kept by its share."""
        while True:
            yield self.env.timeout(self._draw.expovariate(highest))
            if self.env.now > seconds:
                return
            if self._draw.random() * highest < rate(self.env.now):
                self.env.process(self.request())

    def request(self) -> Steps:
        began, result = self.env.now, self.result
        result.asked += 1
        for turn in range(1, self.fleet.tries + 1):
            service = self._service(self._draw)
            replica = self._draw.choice(self.ready) if self.ready else None
            done = replica.accept(self.env.now, service) if replica else None
            if replica is None or done is None:
                result.refused += 1
                if turn == self.fleet.tries:
                    break
                # Retry-After is in whole seconds, and grows with those who were told one before; clients add chance.
                yield self.env.timeout(2.0 ** (turn - 1) * self._draw.uniform(1.0, 2.0))
                continue
            yield self.env.timeout(done - self.env.now)
            if replica.alive:
                replica.unfinished -= 1
                result.answered += 1
                result.work += service
                result.waits.append(done - service - began)
                result.latencies.append(done - began)
                return
            result.broken += 1
        result.given_up += 1

    def write(self, seconds: float) -> Steps:
        asked = refused = broken = 0
        while self.env.now < seconds:
            yield self.env.timeout(STEP)
            r, backlog = self.result, [replica.backlog for replica in self.ready]
            r.record.append(
                (self.env.now, (r.asked - asked) / STEP, len(self.ready), sum(backlog) / max(1, len(backlog)),
                 r.refused - refused, r.broken - broken)
            )  # fmt: skip
            asked, refused, broken = r.asked, r.refused, r.broken

    def scale(self, seconds: float) -> Steps:
        s, wishes, worked, shrunk = self.fleet.scaling, deque[tuple[float, int]](), 0.0, -math.inf
        busy = deque[float](maxlen=4)  # a minute's mean, as of PromQL's rate(...[1m])
        grown = deque[tuple[float, int]]()
        while self.env.now < seconds:
            yield self.env.timeout(s.period)
            now, here = self.env.now, len(self.ready) + self.starting
            total = sum(replica.worked(now) for replica in self._lives)
            busy.append((total - worked) / s.period)
            worked = total
            wanted = [s.least]
            if s.backlog is not None:
                wanted.append(math.ceil(sum(replica.backlog for replica in self.ready) / s.backlog))
            if s.busy is not None:
                wanted.append(math.ceil(sum(busy) / len(busy) / (s.busy * self.fleet.workers)))
            wish = min(s.most, max(wanted))
            wishes.append((now, wish))
            while wishes[0][0] < now - s.calm:
                wishes.popleft()
            while grown and grown[0][0] <= now - 30:
                grown.popleft()
            if wish > here:
                before = here - sum(count for _, count in grown)
                count = min(wish, max(2 * before, before + 4)) - here
                for _ in range(max(0, count)):
                    self.env.process(self.start())
                grown.append((now, max(0, count)))
            elif (calm := max(each for _, each in wishes)) < here and now - shrunk >= 60:
                shrunk = now
                for _ in range(min(here - calm, max(1, here // 5), len(self.ready) - 1)):
                    self._end(self.ready[-1])

    def start(self) -> Steps:
        self.starting += 1
        replica = self._new()
        yield self.env.timeout(self.fleet.scaling.delay)
        self.starting -= 1
        self.ready.append(replica)

    def _end(self, replica: Replica) -> None:
        """In good order: it takes nothing new, and finishes what it has."""
        self.ready.remove(replica)
        self._lives[replica] = self._lives[replica][0], self.env.now

    def lose_zone(self, at: float) -> Steps:
        yield self.env.timeout(at)
        # Clients notice when the answer should have come.
        for replica in [each for each in self.ready if each.zone == 0]:
            self._end(replica)
            replica.alive = False
