"""The simulation of :mod:`bench.fleet` beside the real service: ``python -m bench.fleet_check``.

One service with one worker gets photos at random moments, at shares of what it answers at most. A simulated replica
gets as many, with the service times that one client sees, one request after another, before and after. All times are
those of the clock: what else the machine does meets both, if it does the same all the time.
"""

import argparse
import contextlib
import statistics
import sys
import time
from pathlib import Path

from bench.fleet import Fleet, simulate
from bench.plan import Plan, run_apart
from bench.server import BenchError, Server, post
from bench.stores import default_version, store_of_one
from bench.workloads import Workload, workloads
from cameo.pictures.encode import encode
from tests.faces import astronaut

LOADS = 0.3, 0.5, 0.7


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet_check", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--store", type=Path, default=Path("model_store"), help="model store; default: model_store")
    parser.add_argument("--seconds", type=float, default=30, help="of each load; default: 30")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    options = parser.parse_args()
    photo = encode(astronaut(), "image/jpeg")
    rows: dict[float, list[tuple[float, ...]]] = {load: [] for load in LOADS}
    try:
        with store_of_one(default_version(options.store)) as store:
            work = next(each for each in workloads(store, photo) if each.name == "photo")
            with Server(store, settings={"CAMEO_WORKERS": "1"}) as server:
                for seed in range(options.rounds):
                    for load in LOADS:
                        rows[load].append(compare(server, work, load, options.seconds, seed))
    except (BenchError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("| busy | mean service, ms | p50, ms: service / simulated | p99, ms: service / simulated |")
    print("|---|---:|---:|---:|")
    for load, pairs in rows.items():
        service, *p = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {load:.0%} | {service:.1f} | {p[0]:.0f} / {p[1]:.0f} | {p[2]:.0f} / {p[3]:.0f} |")
    return 0


def compare(server: Server, work: Workload, load: float, seconds: float, seed: int) -> tuple[float, ...]:
    """Mean service time; median of service and simulation; 99th percentile of both; in milliseconds."""
    times = alone(server, work)
    rate = load / statistics.mean(times)
    plan = Plan(server.port, {"photo": work.request(deadline_ms=None)}, seconds, rate, patience=30.0, seed=seed)
    real = run_apart(plan)
    if real.p50_ms is None or real.p99_ms is None or real.errors:
        raise BenchError(f"the service did not answer all: {real.statuses} {real.failures}")
    times += alone(server, work)
    mean = statistics.mean(times)
    simulated = simulate(Fleet(workers=1), lambda _: rate, rate, times, 100 * seconds, seed)
    return 1e3 * mean, real.p50_ms, 1e3 * simulated.percentile(50), real.p99_ms, 1e3 * simulated.percentile(99)


def alone(server: Server, work: Workload, seconds: float = 8.0) -> list[float]:
    """Seconds that each request takes, one after another."""
    times, until = [], time.perf_counter() + seconds
    with contextlib.closing(server.connect()) as connection:
        while time.perf_counter() < until:
            began = time.perf_counter()
            post(connection, work.path, work.media_type, work.body, work.accept)
            times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    sys.exit(main())
