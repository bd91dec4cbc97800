"""``docs/benchmarks.md`` and its plots, from the figures that :mod:`bench.load` measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from training.plots import COLOURS, INK, SOFT, grid, name_lines, png

Figures = dict[str, Any]
Row = dict[str, Any]

COLUMNS = (
    "server", "load", "offered/s", "goodput/s", "÷ limit", "p50 ms", "p99 ms", "refused", "errors", "unanswered", "MB",
    "CPU ms",
)  # fmt: skip
WORKS = {
    "photo": "photo: find the face, compress, `effort=fast`",
    "portrait": "portrait: compress, `effort=fast`",
    "reconstruct": "reconstruct",
    "search": "search: a photo at the default effort",
}
INTRO = """# Under load

Made by `CAMEO_PROCESSES={processes} python -m bench.load --docs`; `--help` says how each figure is measured.

{machine}.
Model `{model}`; uvicorn runs on {loop} for every server here; {seconds:g} s each load.

A load of 1 is what Cameo answers at most to 16 clients that each ask again at once. *Goodput*: answers 200 within 1 s
of the planned moment, per second. *Limit*: the same work without a server, a process a core, measured before and after
each server. Latency counts from the planned moment, of accepted requests; one without an answer after 5 s counts with
5 s. Memory is resident, of all processes of a server, pages that they share counted in each. The load generator took
{generator:.2f} ms of CPU a request from the same cores{late}.
"""


def write_report(figures: Figures, page: Path, folder: Path) -> None:
    """The page, and its plots into ``folder``, which lies beside or around it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "goodput.png").write_bytes(png_of(figures, goodput_panel))
    (folder / "latency.png").write_bytes(png_of(figures, latency_panel))
    page.write_text(markdown(figures, "" if folder == page.parent else f"{folder.name}/"))


def rows_of(figures: Figures, work: str, server: str) -> list[Row]:
    """Of one server and one work, by load."""
    found = [r for r in figures["loads"] if (r["work"], r["server"]) == (work, server)]
    return sorted(found, key=lambda row: row["load"])


def limit(figures: Figures, work: str, server: str | None = None) -> float:
    """Images per second of the bare processes: the mean of the two measurements around a server, or of all."""
    bare = figures["bare"][work]
    if server is not None:
        at = list(figures["servers"]).index(server)
        bare = bare[at : at + 2]
    return float(np.mean(bare))


def at_load(figures: Figures, work: str, server: str, load: float) -> Row | None:
    return next((row for row in rows_of(figures, work, server) if row["load"] == load), None)


def markdown(figures: Figures, pictures: str) -> str:
    late = [row for row in figures["loads"] if not row["kept_to_plan"]]
    intro = INTRO.format(
        machine=figures["machine"],
        model=figures["model"],
        processes=figures["processes"],
        loop="uvloop" if figures["uvloop"] else "asyncio's own loop",
        seconds=figures["setting"]["seconds"],
        generator=figures["generator_cpu_ms"],
        late=f"; in {len(late)} of {len(figures['loads'])} loads it fell behind its plan, marked *" if late else "",
    )
    parts = [
        intro, *aims(figures),
        f"\n![Goodput over offered load]({pictures}goodput.png)\n\n![Latency over offered load]({pictures}latency.png)",
    ]  # fmt: skip
    parts += [table(figures, work) for work in figures["bare"]]
    return "\n".join([*parts, "", *servers(figures), *swap(figures), ""])


def aims(figures: Figures) -> list[str]:
    """What Cameo is to reach, and what it reached, by work."""
    works, peers = list(figures["bare"]), [name for name in figures["servers"] if name != "Cameo"]
    lines = ["| Cameo | aim | " + " | ".join(works) + " |", "|---|---|" + "---:|" * len(works)]

    def line(title: str, aim: str, value: Callable[[str], float | None], form: str) -> None:
        cells = [value(work) for work in works]
        if any(cell is not None for cell in cells):
            shown = " | ".join("" if cell is None else format(cell, form) for cell in cells)
            lines.append(f"| {title} | {aim} | {shown} |")

    def good(work: str, server: str, load: float) -> float | None:
        row = at_load(figures, work, server, load)
        return None if row is None else row["goodput"] / limit(figures, work, server)

    def beside_limit(work: str) -> float | None:
        return good(work, "Cameo", 1)

    def beside_best(work: str) -> float | None:
        best = max((good(work, peer, 1) or 0.0 for peer in peers), default=0.0)
        mine = good(work, "Cameo", 1)
        return mine / best if mine and best else None

    def beside_best_peak(work: str) -> float | None:
        rates = figures["saturated"][work]
        peak = {name: rate / limit(figures, work, name) for name, rate in rates.items()}
        best = max((peak[peer] for peer in peers), default=0.0)
        return peak["Cameo"] / best if best else None

    def held(work: str) -> float | None:
        row, peak = at_load(figures, work, "Cameo", 2), max(r["goodput"] for r in rows_of(figures, work, "Cameo"))
        return row["goodput"] / peak if row and peak else None

    def worst(work: str) -> float | None:
        row = at_load(figures, work, "Cameo", 2)
        return row["p99_ms"] if row else None

    line("goodput at load 1 ÷ limit", "0.90", beside_limit, ".2f")
    line("goodput at load 1 ÷ best rival's at the same load", "1.3", beside_best, ".2f")
    line("saturated ÷ best rival's, saturated", "", beside_best_peak, ".2f")
    line("goodput at load 2 ÷ own highest", "0.95", held, ".2f")
    line("p99 at load 2, ms", "below 1000", worst, ".0f")
    line("added latency at one client, ms", "below 3", lambda work: figures["added"][work]["added_ms"], ".1f")
    return lines


def table(figures: Figures, work: str) -> str:
    bare = figures["bare"][work]
    lines = [
        f"\n## {WORKS.get(work, work)}",
        "",
        f"Limit: {limit(figures, work):.1f} a second ({min(bare):.1f} to {max(bare):.1f} over the run).",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for server, full in figures["saturated"][work].items():
        lines.append(
            f"| {server} | saturated | | {full:.1f} | {full / limit(figures, work, server):.2f} | | | | | | | |"
        )
        for row in rows_of(figures, work, server):
            ratio = row["goodput"] / limit(figures, work, server)
            late = "" if row["kept_to_plan"] else "*"
            lines.append(
                f"| {server} | {row['load']:g}{late} | {row['offered_rate']:.1f} | {row['goodput']:.1f} | {ratio:.2f} "
                f"| {_number(row['p50_ms'])} | {_number(row['p99_ms'])} | {_share(row, 'refused')} "
                f"| {_share(row, 'errors')} | {_share(row, 'unanswered')} | {row['peak_mb']:.0f} "
                f"| {_number(row['cpu_ms'], 1)} |"
            )
    return "\n".join(lines)


def servers(figures: Figures) -> list[str]:
    lines = [
        "## The servers",
        "",
        "*Differing*: answers in the saturated run that are not, byte for byte, those of the same request alone.",
        "",
        f"| server | start, s | MB when ready | cores busy when idle | differing: {', '.join(figures['bare'])} |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, facts in figures["servers"].items():
        differing = ", ".join(f"{share:.0%}" for share in facts["differing"].values())
        cells = [
            name,
            f"{facts['start_seconds']:.1f}",
            f"{facts['ready_mb']:.0f}",
            f"{facts['idle_cores']:.2f}",
            differing,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def swap(figures: Figures) -> list[str]:
    s = figures["swap"]
    new = s["first_new_at"]
    seen = "no answer came from it" if new is None else f"its first answer came {new - s['published_at']:.1f} s later"
    text = (
        f"{s['sent']} requests at half the capacity, photos and portraits. {s['published_at']:.1f} s after the start a "
        f"new version was in the store, and {seen}. Errors: {s['errors']}, refused: {s['refused']}, unanswered: "
        f"{s['unanswered']}, wrong answers: {s['wrong']}; p99 {_number(s['p99_ms'])} ms."
    )
    return ["", "## A version published under load", "", text]


def png_of(figures: Figures, panel: Callable[[Figures, str, Axes], None]) -> bytes:
    works = list(figures["bare"])
    figure, axes = grid(1, len(works), width=4.4, height=3.2)
    for ax, work in zip(axes, works, strict=True):
        ax.set_title(WORKS.get(work, work), loc="left", fontsize=10, color=INK)
        ax.set_xlabel("offered load, multiples of Cameo's capacity", loc="right", fontsize=8, color=SOFT)
        panel(figures, work, ax)
    return png(figure)


def goodput_panel(figures: Figures, work: str, ax: Axes) -> None:
    """Goodput over offered load, both as multiples of the capacity; what a perfect server would do, dotted."""
    ax.set_ylabel("goodput, the same unit", fontsize=8, color=SOFT)
    capacity = figures["saturated"][work]["Cameo"]
    most = limit(figures, work) / capacity
    offered = np.linspace(0, max(row["load"] for row in figures["loads"]), 100)
    ax.plot(offered, np.minimum(offered, most), color=SOFT, linewidth=1, linestyle=":")
    ends = {"limit": (most, SOFT)}
    for server, colour in zip(figures["servers"], COLOURS, strict=False):
        rows = rows_of(figures, work, server)
        if not rows:
            continue
        values = [row["goodput"] / capacity for row in rows]
        ax.plot([row["load"] for row in rows], values, color=colour, linewidth=1.8, marker="o", ms=4)
        ends[server] = values[-1], colour
    ax.set_ylim(0, 1.25 * ax.dataLim.y1)  # with room for names that have to make way upwards
    name_lines(ax, ends)


def latency_panel(figures: Figures, work: str, ax: Axes) -> None:
    """p99 of accepted requests, and thinly p50, on a log axis; the deadline dotted."""
    ax.set_ylabel("latency of accepted, ms: p99, thin p50", fontsize=8, color=SOFT)
    ax.set_yscale("log")
    ax.axhline(1000, color=SOFT, linewidth=1, linestyle=":")
    ends = {"deadline": (1000.0, SOFT)}
    for server, colour in zip(figures["servers"], COLOURS, strict=False):
        rows = [row for row in rows_of(figures, work, server) if row["p99_ms"] is not None]
        loads = [row["load"] for row in rows]
        ax.plot(loads, [row["p99_ms"] for row in rows], color=colour, linewidth=1.8, marker="o", ms=4)
        ax.plot(loads, [row["p50_ms"] for row in rows], color=colour, linewidth=0.8)
        if rows:
            ends[server] = rows[-1]["p99_ms"], colour
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.minorticks_off()
    ax.set_ylim(top=4 * ax.dataLim.y1)
    name_lines(ax, ends)


def _number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(row: Row, key: str) -> str:
    return f"{row[key] / max(1, row['sent']):.0%}" if row[key] else "0"
