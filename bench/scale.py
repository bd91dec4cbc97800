"""Plan a fleet from measured figures: ``python -m bench.scale`` writes the tables and plots of ``docs/scale.md``.

``docs/scale/costs.json`` is what ``python -m bench.costs`` measured. Simulated results go to ``docs/scale/fleet.json``;
``--redraw`` takes them from there. Seeds are fixed: the same costs give the same page.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.fleet import Fleet, Result, Scaling, simulate

PAGE, FOLDER = Path("docs/scale.md"), Path("docs/scale")
FACES_A_DAY = 1_000_000
CALL = "compress cameo-128 good"
# A country's desks, by the hour: relative numbers of requests. An assumption; put your own here.
PROFILE = (
    0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.9, 2.0, 2.8, 2.9, 2.4, 1.6, 2.1, 2.4, 2.0, 1.5, 0.8, 0.4, 0.2, 0.2, 0.2, 0.2, 0.1,
)  # fmt: skip
MORNING = 5 * 3600, 11 * 3600  # the steepest rise, and the peak
PRICE = 0.04  # of a core hour; an assumption, for scale
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


def morning(costs: dict[str, Any], scaling: Scaling, lost: bool = False, end: float = MORNING[1]) -> Result:
    begin = MORNING[0]
    fleet = Fleet(queue_seconds=4.0, scaling=scaling, lost_zone_at=5.5 * 3600 if lost else None)
    return simulate(fleet, lambda now: profile(begin + now), profile(10 * 3600), services(costs), end - begin)


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
    found: dict[str, Any] = {"steady": [], "scaling": [], "zone": []}
    times = services(costs)
    mean = sum(times) / len(times)
    for load in tqdm((0.5, 0.6, 0.7, 0.8, 0.9, 0.95), desc="steady"):
        rate = load * 2 / mean
        steady = simulate(Fleet(), lambda _, rate=rate: rate, rate, times, 30_000 / rate)  # type: ignore[misc]
        found["steady"].append({"load": load} | {f"p{k}": round(steady.percentile(k), 3) for k in (50, 90, 99)})
    peak = profile(10 * 3600) * mean / 2
    policies = {
        "both": Scaling(LEAST, delay=DELAY),
        "backlog of 1 s alone": Scaling(LEAST, busy=None, delay=DELAY),
        "busy cores, 60%, alone": Scaling(LEAST, backlog=None, delay=DELAY),
        "both, ready in 15 s": Scaling(LEAST, delay=15.0),
        "both, ready in 180 s": Scaling(LEAST, delay=180.0),
        "none, enough for the peak at 80%": Scaling(fixed := round(peak / 0.8 + 0.5), fixed),
    }
    for name, scaling in tqdm(policies.items(), desc="mornings"):
        found["scaling"].append({"policy": name} | summary(morning(costs, scaling)))
    zones = {
        "both": Scaling(LEAST, delay=DELAY),
        "both, ready in 180 s": Scaling(LEAST, delay=180.0),
        "none, enough for the peak at 80%": Scaling(fixed, fixed),
        "none, half as many again": Scaling(round(1.5 * fixed), round(1.5 * fixed)),
    }
    for name, scaling in tqdm(zones.items(), desc="zones"):
        result = morning(costs, scaling, lost=True)
        found["zone"].append({"policy": name} | summary(result))
        if name == "both":
            found["record"] = [[round(each, 3) for each in row] for row in result.record]
    return found


def tables(costs: dict[str, Any], found: dict[str, Any]) -> dict[str, str]:
    """Markdown by the names of the places on the page."""
    made = {
        "costs": _costs(costs),
        "bytes": _bytes(costs),
        "machine": _machine(costs),
        "saturation": _saturation(costs),
    }
    made["steady"] = _table(
        ["busy", "half of the requests within, s", "90%", "99%"],
        [[f"{row['load']:.0%}", *(f"{row[k]:.2f}" for k in ("p50", "p90", "p99"))] for row in found["steady"]],
    )
    head = [
        "autoscaler",
        "replicas at most",
        "refused at first",
        "given up",
        "99% within, s",
        "core hours paid",
        "of them used",
    ]
    for name in ("scaling", "zone"):
        rows = []
        for row in found[name]:
            first = [row["policy"], str(row["replicas"]), f"{row['refused'] / row['asked']:.2%}"]
            first += [f"{row['broken']}"] if name == "zone" else []
            rows.append([
                *first, f"{row['given_up'] / row['asked']:.3%}", f"{row['p99']:.1f}", f"{row['core_hours']:.0f}", f"{row['used']:.0%}",
            ])  # fmt: skip
        made[name] = _table(head[:3] + ["broken, sent again"] * (name == "zone") + head[3:], rows)
    return made


def _costs(costs: dict[str, Any]) -> str:
    rows = []
    for name, spread in costs["core_seconds"].items():
        seconds, (low, high) = spread["median"], spread["quartiles"]
        hours = seconds * 1e6 / 3600
        rows.append([
            name, f"{1e3 * seconds:.1f} ({1e3 * low:.1f} to {1e3 * high:.1f})", _short(hours), f"{hours * PRICE:.2f}",
            _short(hours * 1000), f"{_short(hours * 1000 / 1000 / 24)}", f"{hours * 1000 * PRICE:,.0f}",
        ])  # fmt: skip
    return _table(
        [
            "work",
            "core ms a face (quartiles)",
            "a million: core hours",
            "cost",
            "a billion: core hours",
            "days on 1,000 cores",
            "cost",
        ],
        rows,
    )


def _bytes(costs: dict[str, Any]) -> str:
    rows = []
    for model, sizes in costs["bytes"].items():
        if model == "rows":
            continue
        for what in ("payload", "digest and payload", "table"):
            each = sizes[what]
            rows.append([model, what, f"{each:.1f}", f"{each:.0f} MB", f"{each:.0f} GB"])
    return _table(["model", "what is stored", "bytes a face", "a million", "a billion"], rows)


def _machine(costs: dict[str, Any]) -> str:
    pod = costs["pod"]
    rows = [[name, f"{1e3 * each['median']:.1f}", f"{each['median'] / costs['core_seconds'][name]['median']:.2f}"]
            for name, each in pod["request_core_seconds"].items()]  # fmt: skip
    about = (
        f"Measured on {costs['machine'].partition(';')[0].partition(', load')[0]}, {costs['date']}. A replica with "
        f"{pod['workers']} workers has {pod['ready_mb']:,} MB when it is ready, {pod['usual_peak_mb']:,} MB at most under "
        f"usual requests, and {pod['worst_peak_mb']:,} MB with the largest pictures; its start takes "
        f"{pod['start_core_seconds']:.1f} core seconds."
    )
    return about + "\n\n" + _table(["request", "core ms of the service", "beside the work alone"], rows)


def _saturation(costs: dict[str, Any]) -> str:
    """What a rate of photos needs, all by arithmetic from measured figures."""
    rows = []
    photo, poll = 100e3, 2.0  # bytes of an upload, an assumption; seconds between looks at the store, its default
    for rate in (10, 100, 1000, 10_000):
        need = {name: rate * each["median"] for name, each in costs["pod"]["request_core_seconds"].items()}
        fast, good = (need[f"compress cameo-128 {effort}"] for effort in ("fast", "good"))
        replicas = [max(1, round(cores / costs["pod"]["workers"] / 0.6 + 0.5)) for cores in (fast, good)]
        rows.append([
            f"{rate:,}", f"{fast:,.1f} / {good:,.0f}", " / ".join(f"{each:,}" for each in replicas),
            f"{rate * photo * 8 / 1e9:.2g}", f"{rate * 86400 * 96 / 1e9:.2g}",
            " / ".join(f"{each / poll:,.0f}" for each in replicas),
        ])  # fmt: skip
    return _table(
        [
            "photos a second",
            "busy cores, fast / good",
            "replicas at 60%",
            "uploads of 100 kB, Gbit/s",
            "payloads a day, GB",
            "looks at the store a second",
        ],
        rows,
    )


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("| --- |", "|---|", 1)


def fill(page: str, made: dict[str, str]) -> str:
    """The page with each table in its place, between ``<!-- bench.scale: NAME -->`` and ``<!-- end -->``."""

    def put(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{made[match[2]]}\n\n<!-- end -->"

    return re.sub(r"(<!-- bench\.scale: (\w+) -->).*?<!-- end -->", put, page, flags=re.DOTALL)


def plot(found: dict[str, Any], path: Path) -> None:
    """The morning on which a zone is lost: arrivals, replicas, what was refused and broken."""
    import matplotlib as mpl  # noqa: PLC0415 - not needed for the tables

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    at, arrivals, replicas, backlog, refused, broken = zip(*found["record"], strict=True)
    hours = [(MORNING[0] + each) / 3600 for each in at]
    figure, (above, middle, below) = plt.subplots(3, 1, sharex=True, figsize=(8, 6), layout="constrained")
    above.plot(hours, arrivals, color="tab:blue")
    above.set_ylabel("requests a second")
    middle.step(hours, replicas, where="post", color="tab:green")
    middle.set_ylabel("replicas ready")
    below.plot(hours, backlog, color="tab:gray", label="mean backlog, s")
    below.plot(hours, [each / 30 for each in refused], color="tab:orange", label="refused a second")
    below.plot(hours, [each / 30 for each in broken], color="tab:red", label="broken a second")
    below.legend()
    below.set_xlabel("hour of the day; a zone is lost at 10:30")
    for axes in (above, middle, below):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--redraw", action="store_true", help="simulate nothing; take docs/scale/fleet.json")
    options = parser.parse_args()
    costs = json.loads((FOLDER / "costs.json").read_bytes())
    results = FOLDER / "fleet.json"
    found = json.loads(results.read_bytes()) if options.redraw else runs(costs)
    results.write_text(json.dumps(found) + "\n")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), tables(costs, found)), encoding="utf-8")
    plot(found, FOLDER / "morning.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
