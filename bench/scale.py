"""Plan a fleet from measured figures: ``python -m bench.scale`` writes the tables and plots of ``docs/scale.md``.

``docs/scale/costs.json`` is what ``python -m bench.costs`` measured. Simulated results go to ``docs/scale/fleet.json``;
``--redraw`` takes them from there. Seeds are fixed: the same costs give the same page.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.fleet import Fleet, Result, Scaling, simulate
from bench.scale_report import fill, plot, tables

PAGE, FOLDER = Path("docs/scale.md"), Path("docs/scale")
FACES_A_DAY = 1_000_000
CALL = "compress cameo-128 good"
# A country's desks, by the hour: relative numbers of requests. An assumption; put your own here.
PROFILE = (
    0.1, 0.1, 0.1, 0.1, 0.1, 0.1,
    0.3, 0.9, 2.0, 2.8, 2.9, 2.4, 1.6, 2.1, 2.4, 2.0, 1.5, 0.8, 0.4, 0.2, 0.2, 0.2, 0.2, 0.1,
)  # fmt: skip
MORNING = 5 * 3600, 11 * 3600  # the steepest rise, and the peak
LEAST, DELAY = 3, 60.0  # as deploy/kubernetes; seconds until a new replica serves, an assumption but for its start


def profile(now: float, faces: float = FACES_A_DAY) -> float:
    """Arrivals a second at a time of day."""
    hour, part = divmod(now % 86400 / 3600, 1)
    here, after = PROFILE[int(hour)], PROFILE[(int(hour) + 1) % 24]
    return faces / 3600 * (here + part * (after - here)) / sum(PROFILE)


def services(costs: dict[str, Any]) -> list[float]:
    """Seconds of a worker for a request: the measured spread of the work, about the measured median of a request."""
    work = costs["core_seconds"][CALL]
    factor = costs["pod"]["request_core_seconds"][CALL]["median"] / work["median"]
    return [factor * each for each in work["all"]]


def morning(costs: dict[str, Any], scaling: Scaling, lost: bool = False) -> Result:
    begin, end = MORNING
    fleet = Fleet(queue_seconds=4.0, scaling=scaling, lost_zone_at=5.5 * 3600 if lost else None)
    return simulate(fleet, lambda now: profile(begin + now), profile(10 * 3600), services(costs), end - begin)


def opening(costs: dict[str, Any], scaling: Scaling) -> Result:
    """Ten quiet minutes, then at once half of the rate at the peak, for twenty minutes."""
    fleet = Fleet(queue_seconds=4.0, scaling=scaling)
    high = profile(10 * 3600) / 2
    return simulate(fleet, lambda now: high if now > 600 else high / 8, high, services(costs), 1800)


def summary(result: Result) -> dict[str, float]:
    return {
        "asked": result.asked,
        "refused": result.refused,
        "broken": result.broken,
        "given_up": result.given_up,
        "p50": round(result.percentile(50), 3),
        "p99": round(result.percentile(99), 3),
        "replicas": max(row[2] for row in result.record),
        "used": round(result.work / result.paid, 3),
        "core_hours": round(result.paid / 3600, 1),
    }


def runs(costs: dict[str, Any]) -> dict[str, Any]:
    """Every simulation of the page."""
    found: dict[str, Any] = {"steady": [], "morning": [], "opening": []}
    times = services(costs)
    mean = sum(times) / len(times)
    for load in tqdm((0.5, 0.6, 0.7, 0.8, 0.9, 0.95), desc="steady"):
        rate = load * 2 / mean
        steady = simulate(Fleet(), lambda _, rate=rate: rate, rate, times, 30_000 / rate)  # type: ignore[misc]
        found["steady"].append({"load": load} | {f"p{k}": round(steady.percentile(k), 3) for k in (50, 90, 99)})
    peak = profile(10 * 3600) * mean / 2
    enough = math.ceil(peak / 0.8)
    both, fixed = Scaling(LEAST, delay=DELAY), Scaling(enough, enough)
    larger = Scaling(round(1.5 * enough), round(1.5 * enough))
    mornings = {
        "both": (both, False),
        "backlog of 1 s alone": (Scaling(LEAST, busy=None, delay=DELAY), False),
        "busy cores, 60%, alone": (Scaling(LEAST, backlog=None, delay=DELAY), False),
        "none, enough for the peak at 80%": (fixed, False),
        "a zone is lost: both": (both, True),
        "a zone is lost: none, enough for the peak at 80%": (fixed, True),
        "a zone is lost: none, half as many again": (larger, True),
    }
    for name, (scaling, lost) in tqdm(mornings.items(), desc="mornings"):
        result = morning(costs, scaling, lost)
        found["morning"].append({"policy": name} | summary(result))
        if lost and scaling is both:
            found["record"] = [[round(each, 3) for each in row] for row in result.record]
    openings = {f"both, ready in {delay:g} s": Scaling(LEAST, delay=delay) for delay in (15.0, DELAY, 180.0)} | {
        "backlog of 1 s alone, ready in 60 s": Scaling(LEAST, busy=None, delay=DELAY),
        "busy cores, 60%, alone, ready in 60 s": Scaling(LEAST, backlog=None, delay=DELAY),
        "both, ready in 60 s, at least 9 replicas": Scaling(3 * LEAST, delay=DELAY),
    }
    for name, scaling in tqdm(openings.items(), desc="openings"):
        found["opening"].append({"policy": name} | summary(opening(costs, scaling)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--redraw", action="store_true", help="simulate nothing; take docs/scale/fleet.json")
    options = parser.parse_args()
    costs = json.loads((FOLDER / "costs.json").read_bytes())
    results = FOLDER / "fleet.json"
    found = json.loads(results.read_bytes()) if options.redraw else runs(costs)
    results.write_text(json.dumps(found) + "\n")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), tables(costs, found)), encoding="utf-8")
    plot(found, MORNING[0], FOLDER / "morning.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
