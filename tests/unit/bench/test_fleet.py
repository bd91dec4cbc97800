"""The simulation of a fleet beside queueing theory, and what scaling and a lost zone must do."""

import math
from random import Random

import pytest

from bench.fleet import Fleet, Scaling, simulate


def erlang_c_wait(rate: float, service: float, servers: int) -> float:
    """Mean wait of M/M/c, seconds (Erlang C)."""
    offered = rate * service
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    waits = blocked / (1 - offered / servers * (1 - blocked))
    return waits * service / (servers - offered)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 0.7), (8, 0.8)])
def test_it_agrees_with_the_theory_of_exponential_services(servers: int, load: float) -> None:
    def service(draw: Random) -> float:
        return draw.expovariate(1.0)

    rate = load * servers
    means = []
    for seed in range(5):
        result = simulate(Fleet(workers=servers), lambda _: rate, rate, service, 8_000 / rate, seed)
        assert result.answered == result.asked
        means.append(sum(result.waits) / len(result.waits))
    assert sum(means) / len(means) == pytest.approx(erlang_c_wait(rate, 1.0, servers), rel=0.1)


def test_it_agrees_with_the_theory_of_constant_services() -> None:
    load = 0.7
    results = [simulate(Fleet(workers=1), lambda _: load, load, [1.0], 8_000 / load, seed) for seed in range(5)]
    means = [sum(result.waits) / len(result.waits) for result in results]
    assert sum(means) / len(means) == pytest.approx(load / (2 * (1 - load)), rel=0.1)  # M/D/1


def test_a_balancer_that_takes_replicas_at_random_makes_queues_of_their_own() -> None:
    load, replicas = 0.7, 4
    fleet, rate = Fleet(workers=1, scaling=Scaling(replicas, replicas)), 0.7 * 4
    result = simulate(fleet, lambda _: rate, rate, lambda draw: draw.expovariate(1.0), 30_000 / rate)
    assert sum(result.waits) / len(result.waits) == pytest.approx(erlang_c_wait(load, 1.0, 1), rel=0.1)


def test_a_full_queue_refuses_and_bounds_the_wait() -> None:
    fleet = Fleet(workers=2, queue_seconds=4.0, tries=1)
    result = simulate(fleet, lambda _: 10.0, 10.0, [0.5], 600)
    assert result.asked == result.answered + result.given_up
    assert result.given_up == result.refused > 0.5 * result.asked, "twice and a half what it can do"
    assert max(result.waits) <= 4.5
    assert result.work / result.paid == pytest.approx(1.0, abs=0.03), "its workers are never idle"


def test_the_autoscaler_meets_a_rise_and_goes_back() -> None:
    def rate(now: float) -> float:
        return 40.0 if 600 < now < 1800 else 4.0

    fleet = Fleet(queue_seconds=4.0, scaling=Scaling(3, 100, delay=60))
    result = simulate(fleet, rate, 40.0, [0.3], 4800)
    replicas = [row[2] for row in result.record]
    assert max(replicas) >= math.ceil(40 * 0.3 / 2 / 0.6)
    assert replicas[0] == replicas[-1] == 3
    assert result.given_up < 0.02 * result.asked
    late = [row for row in result.record if 1200 < row[0] < 1800]
    assert sum(row[4] for row in late) == 0, "once it has grown, nobody is refused"


def test_a_lost_zone_breaks_what_it_had_and_nothing_is_lost() -> None:
    fleet = Fleet(queue_seconds=4.0, scaling=Scaling(6, 6), lost_zone_at=300.0)
    result = simulate(fleet, lambda _: 16.0, 16.0, [0.3], 900)
    assert 0 < result.broken < 30
    assert [row[2] for row in result.record][-1] == 4
    assert result.asked == result.answered + result.given_up
    assert result.given_up == 0


def test_the_same_seed_gives_the_same_run() -> None:
    fleet = Fleet(queue_seconds=1.0, scaling=Scaling(1, 10))
    first, second, other = (simulate(fleet, lambda _: 9.0, 9.0, [0.2, 0.4], 300, seed) for seed in (1, 1, 2))
    assert first == second != other
