"""The tables and the plot of ``docs/scale.md``, from measured costs and simulated results; see :mod:`bench.scale`."""

import math
import re
from pathlib import Path
from typing import Any

from bench.fleet import STEP

PRICE = 0.04  # of a core hour: an assumption
PHOTO = 100e3  # bytes of an upload: an assumption
POLL = 2.0  # seconds between looks at the store: the default
BUSY = 0.6  # share of the cores that are busy, which leaves room for what comes at once


def tables(costs: dict[str, Any], found: dict[str, Any]) -> dict[str, str]:
    """Markdown by the names of the places on the page."""
    return {
        "costs": _costs(costs),
        "bytes": _bytes(costs),
        "replica": _replica(costs),
        "saturation": _saturation(costs),
        "steady": _table(
            ["busy workers", "half of the requests within, s", "90%", "99%"],
            [[f"{row['load']:.0%}", *(f"{row[k]:.2f}" for k in ("p50", "p90", "p99"))] for row in found["steady"]],
        ),
        "morning": _fleets(found["morning"]),
        "opening": _fleets(found["opening"]),
    }


def fill(page: str, made: dict[str, str]) -> str:
    """The page with each table in its place, between ``<!-- bench.scale: NAME -->`` and ``<!-- end -->``."""

    def put(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{made[match[2]]}\n\n<!-- end -->"

    return re.sub(r"(<!-- bench\.scale: (\w+) -->).*?<!-- end -->", put, page, flags=re.DOTALL)


def plot(found: dict[str, Any], begin: float, path: Path) -> None:
    """The morning on which a zone is lost, from ``begin``, in seconds: arrivals, replicas, refusals."""
    import matplotlib as mpl  # noqa: PLC0415 - not needed for the tables

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    at, arrivals, replicas, backlog, refused, broken = zip(*found["record"], strict=True)
    hours = [(begin + each) / 3600 for each in at]
    figure, (above, middle, below) = plt.subplots(3, 1, sharex=True, figsize=(8, 6), layout="constrained")
    above.plot(hours, arrivals, color="tab:blue")
    above.set_ylabel("requests a second")
    middle.step(hours, replicas, where="post", color="tab:green")
    middle.set_ylabel("replicas ready")
    below.plot(hours, backlog, color="tab:gray", label="mean backlog, s")
    below.plot(hours, [each / STEP for each in refused], color="tab:orange", label="refused a second")
    below.plot(hours, [each / STEP for each in broken], color="tab:red", label="broken a second")
    below.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.25))
    below.set_xlabel("hour of the day")
    for axes in (above, middle, below):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def _costs(costs: dict[str, Any]) -> str:
    rows = []
    for name, spread in costs["core_seconds"].items():
        seconds, (low, high) = spread["median"], spread["quartiles"]
        hours, days = seconds * 1e6 / 3600, seconds * 1e6 / 86400
        each_ms = f"{_short(1e3 * seconds)} ({_short(1e3 * low)} to {_short(1e3 * high)})"
        rows.append([
            name, each_ms, _short(hours), f"{hours * PRICE:.2f}",
            _short(1e3 * hours), _short(days), f"{1e3 * hours * PRICE:,.0f}",
        ])  # fmt: skip
    head = ["work", "core ms a face (quartiles)", "a million: core hours", "cost", "a billion: core hours"]
    return _table([*head, "days on 1,000 cores", "cost"], rows)


def _bytes(costs: dict[str, Any]) -> str:
    rows = []
    for model in (each for each in costs["bytes"] if each != "rows"):
        for stored in ("payload", "digest and payload", "table"):
            each = costs["bytes"][model][stored]
            rows.append([model, stored, f"{each:,.1f}", f"{each:,.0f} MB", f"{each:,.0f} GB"])
    return _table(["model", "what is stored", "bytes a face", "a million", "a billion"], rows)


def _replica(costs: dict[str, Any]) -> str:
    pod = costs["pod"]
    head = [f"a replica with {pod['workers']} workers and the whole store", ""]
    rows = [
        ["core seconds of its start", f"{pod['start_core_seconds']:.1f}"],
        ["memory when it is ready", f"{pod['ready_mb']:,} MB"],
        ["most memory under photos, searches and faces drawn", f"{pod['usual_peak_mb']:,} MB"],
        ["most memory with pictures of 50 megapixels and comparisons beside them", f"{pod['worst_peak_mb']:,} MB"],
    ]
    for name, each in pod["request_core_seconds"].items():
        alone = costs["core_seconds"][name]["median"]
        beside = f"{_short(1e3 * each['median'])} ms, {each['median'] / alone:.2f} times the work alone"
        rows.append([f"core time of a request: {name}", beside])
    return _table(head, rows)


def _saturation(costs: dict[str, Any]) -> str:
    """What a rate of photos needs, by arithmetic from measured figures."""
    rows = []
    for rate in (10, 100, 1000, 10_000):
        cores, replicas = [], []
        for effort in ("fast", "good"):
            cores.append(rate * costs["pod"]["request_core_seconds"][f"compress cameo-128 {effort}"]["median"])
            replicas.append(max(1, math.ceil(cores[-1] / costs["pod"]["workers"] / BUSY)))
        rows.append([
            f"{rate:,}", " / ".join(map(_short, cores)), " / ".join(f"{each:,}" for each in replicas),
            _short(rate * PHOTO * 8 / 1e9), " / ".join(_short(each / POLL) for each in replicas),
            _short(rate * 86400 * costs["bytes"]["cameo-128"]["table"] / 1e9),
        ])  # fmt: skip
    head = ["photos a second", "busy cores, fast / good", f"replicas at {BUSY:.0%}, fast / good"]
    return _table([*head, "uploads, Gbit/s", "looks at the store a second", "table a day, GB"], rows)


def _fleets(rows: list[dict[str, Any]]) -> str:
    head = ["autoscaler", "replicas at most", "refusals a request", "broken, sent again", "given up", "99% within, s"]
    return _table(
        [*head, "core hours paid", "of them used"],
        [
            [
                row["policy"], str(row["replicas"]), f"{row['refused'] / row['asked']:.2%}", str(row["broken"]),
                f"{row['given_up'] / row['asked']:.3%}", f"{row['p99']:.1f}", f"{row['core_hours']:.0f}",
                f"{row['used']:.0%}",
            ]
            for row in rows
        ],
    )  # fmt: skip


def _short(number: float) -> str:
    """Two digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2g}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(head) - 1), *lines[1:]])
