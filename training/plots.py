"""Plots that a reader takes in at a glance: small multiples, direct labels, colours that the colour-blind can tell.

Figures are objects of their own; pyplot and its global state stay out, so a plot can be drawn in any thread.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

Table = dict[str, NDArray[np.float64]]
Line = tuple[NDArray[np.float64], NDArray[np.float64]]  # steps and values

INK, SOFT, FAINT = "#18181b", "#71717a", "#e4e4e7"
# Okabe and Ito 2008, without the yellow that nobody sees on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
DPI = 120
# Columns of a log that are no term of the loss: the title of a panel of their own.
PANELS = {
    "perplexity": "perplexity of the codebook",
    "usage": "share of codes in use",
    "commitment_cost": "commitment cost",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
}
LABELS = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM", "lpips": "LPIPS", "identity": "identity, SFace cosine"}


def read_table(path: Path) -> Table:
    """The columns of a ``log.csv`` or ``validation.csv``; empty where there is none. A line cut short is left out."""
    if not path.exists():
        return {}
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    names, *rows = csv.reader(whole) if whole else [[]]
    return {name: np.array([float(row[k]) for row in rows]) for k, name in enumerate(names)}


def curves(log: Table, validation: Table) -> Figure:
    """What happened in a run: the terms of the loss on a log axis, then a panel for everything else that was logged."""
    terms = [name for name in log if name not in PANELS and name != "step"]
    panels = [("loss, training", log, terms)] if terms else []
    figures = [name for name in validation if name != "step"]
    panels += [(f"validation: {LABELS.get(name, name)}", validation, [name]) for name in figures]
    panels += [(title, log, [name]) for name, title in PANELS.items() if name in log]
    columns = min(3, len(panels)) or 1
    figure, axes = grid(-(-len(panels) // columns) or 1, columns)
    for ax, (title, table, names) in zip(axes, panels, strict=False):
        # Shares, rates and speeds mislead on an axis that does not start at zero.
        top = 1.05 * float(table[names[0]].max()) or None if names[0] in PANELS else None
        draw(ax, {name: (table["step"], table[name]) for name in names}, title, log=names is terms, top=top)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    return figure


def grid(rows: int, columns: int, *, width: float = 4.0, height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """Empty panels, ``width`` by ``height`` inches each, from left to right and from top to bottom."""
    figure = Figure((width * columns, height * rows), dpi=DPI, layout="constrained", facecolor="white")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(SOFT)
        ax.tick_params(which="both", color=SOFT, labelcolor=SOFT, labelsize=8)
        ax.grid(color=FAINT, linewidth=0.7)
        ax.set_axisbelow(True)
    return figure, axes


def draw(ax: Axes, lines: Mapping[str, Line], title: str, *, log: bool = False, top: float | None = None) -> None:
    """Lines over steps, each faintly as it is and boldly as its running mean; where there are several, with names.

    ``top`` makes the axis go from zero to there.
    """
    ax.set_title(title, loc="left", fontsize=10, color=INK)
    ax.set_xlabel("step", loc="right", fontsize=8, color=SOFT, labelpad=0)
    ax.margins(x=0.02)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 5, 10)))
    ax.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}k" if step >= 1000 else f"{step:g}")
    ends = {}
    for (name, (steps, values)), colour in zip(lines.items(), _colours(lines), strict=True):
        if log and not (values > 0).any():
            continue  # a term whose weight is zero has no place on a log axis
        smooth = running_mean(values, len(values) // 40)
        if len(values) > 40:
            ax.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
        ax.plot(steps, smooth, color=colour, linewidth=1.6, marker="o" if len(values) < 30 else "", ms=2.5)
        ends[name] = float(smooth[-1]), colour
    if log and ends:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.minorticks_off()
    if top is not None:
        ax.set_ylim(0, top)
    if len(lines) > 1:
        name_lines(ax, ends)


def name_lines(ax: Axes, ends: Mapping[str, tuple[float, str]]) -> None:
    """Names to the right of the panel, at the heights where the lines end, but no two on top of each other."""
    ax.autoscale_view()  # the axes' limits are settled late otherwise
    to_panel = ax.transData + ax.transAxes.inverted()
    height = -1.0
    for name, (value, colour) in sorted(ends.items(), key=lambda item: item[1][0]):
        height = max(float(to_panel.transform((0, value))[1]), height + 0.08)
        ax.annotate(
            name.replace("_", " "), (1.01, height), xycoords="axes fraction", color=colour, fontsize=8, va="center"
        )


def running_mean(values: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """The mean of up to ``half`` values on both sides of each. A steep start stays in place: it has fewer."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    reach = np.minimum(at, half)
    stop = np.minimum(at + reach + 1, len(values))
    return np.asarray((sums[stop] - sums[at - reach]) / (stop - at + reach))


def png(figure: Figure) -> bytes:
    """The same bytes for the same figure: without the date and the version of the library."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _colours(lines: Mapping[str, object]) -> list[str]:
    """The total is ink; everything else takes the next colour."""
    rest = iter(COLOURS * (len(lines) // len(COLOURS) + 1))
    return [INK if name == "total" else next(rest) for name in lines]
