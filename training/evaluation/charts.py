"""An evaluation as pictures: what bytes buy, and faces side by side."""

import io
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image, ImageDraw, ImageFont

from cameo.pictures.quality import SIDE, enlarge
from training.evaluation.contenders import Pixels
from training.plots import COLOURS, INK, SOFT, grid

Row = dict[str, Any]

FACES = 8  # in a strip
CAPTION, GAP = 220, 6
PAPER = (255, 255, 255)
RIVALS = {
    "uncompressed": SOFT, "eigenfaces": INK, "webp": "#56b4e9", "avif": "#e69f00", "jxl": "#8c564b", "jpeg": "#7f7f7f",
    "jpeg2000": "#cc79a7", "template": "#009e73",
}  # fmt: skip


class Strip(NamedTuple):
    """The row of a contender, and the same few faces as every other strip has."""

    row: Row
    pictures: list[Pixels]


def rates(rows: list[Row]) -> Figure:
    """Bytes on a log axis against identity, LPIPS and accuracy, as far as they were measured."""
    panels = [
        (title, points)
        for title, path in (
            ("identity, SFace cosine", ("identity",)),
            ("identity, dlib cosine", ("identity_dlib",)),
            ("LPIPS, lower is better", ("lpips",)),
            ("verification accuracy, SFace", ("verification", "sface", "accuracy")),
            ("verification accuracy, dlib", ("verification", "dlib", "accuracy")),
            ("similarity, SFace cosine", ("recognisers", "sface", "identity")),
            ("true pairs missed at FMR 0.1%, SFace", ("recognisers", "sface", "fnmr_01")),
            ("true pairs missed at FMR 0.1%, dlib", ("recognisers", "dlib", "fnmr_01")),
        )
        if (points := _points(rows, path))
    ]
    columns = 3 if len(panels) in (3, 5) else min(2, len(panels)) or 1
    figure, axes = grid(-(-len(panels) // columns) or 1, columns, width=4.6, height=3.6)
    styles = _styles(list(dict.fromkeys(_series(row) for row in rows)))
    for ax, (title, points) in zip(axes, panels, strict=False):
        _draw(ax, title, points, styles)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    names = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(names.values(), names.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _points(rows: list[Row], path: tuple[str, ...]) -> list[tuple[Row, float, dict[str, float]]]:
    """Row, bytes and figure of every row that has the figure at the end of the path."""
    found = []
    for row in rows:
        value: Any = row
        for key in path:
            value = value.get(key, {})
        if value:
            size = row["verification"]["bytes"]["mean"] if path[0] == "verification" else row["bytes"]["mean"]
            found.append((row, size, value))
    return found


def _series(row: Row) -> str:
    """What the points of a row are joined with: the codec, or the model alone."""
    if row["kind"] != "codec":
        return str(row.get("series", row["label"]) if row["kind"] == "model" else row["kind"])
    if row["budget"] is None:
        return f"{row['name']}, fixed quality"
    return str(row["name"]) if row.get("container", True) else f"{row['name']}, no container"


def _styles(series: list[str]) -> dict[str, dict[str, Any]]:
    """Rivals are lines in colours of their own, dashed without container; models big marks that differ in all."""
    marks = cycle(
        {"color": color, "marker": marker, "markersize": 6, "linestyle": "-", "zorder": 3}
        for marker in "Ds^vPX*"
        for color in COLOURS[:4]
    )
    styles: dict[str, dict[str, Any]] = {}
    for name in series:
        family, _, variant = name.partition(", ")
        if family not in RIVALS:
            styles[name] = next(marks)
        else:
            line = {"": "-", "no container": "--", "fixed quality": "none"}[variant]
            styles[name] = {"color": RIVALS[family], "marker": "o", "markersize": 3.5, "linestyle": line}
    return styles


def _draw(
    ax: Axes, title: str, points: list[tuple[Row, float, dict[str, float]]], styles: dict[str, dict[str, Any]]
) -> None:
    series: dict[str, list[tuple[float, float, float, float]]] = {}
    for row, size, figure in points:
        series.setdefault(_series(row), []).append((size, figure["mean"], figure["low"], figure["high"]))
    for name, members in series.items():
        if name == "uncompressed":
            ax.axhline(members[0][1], color=SOFT, linewidth=1, linestyle=":", label=name)
            continue
        size, mean, low, high = np.array(sorted(members)).T
        ax.errorbar(size, mean, np.abs([mean - low, high - mean]), label=name, lw=1.2, elinewidth=0.8, **styles[name])
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_title(title, loc="left", fontsize=10, color=INK)
    ax.set_xlabel("bytes", fontsize=8, color=SOFT)


def faces_sheet(strips: list[Strip]) -> bytes:
    """A PNG with a strip of faces for each contender, its name, bytes and identity beside it."""
    columns = max(len(strip.pictures) for strip in strips)
    page = Image.new("RGB", (CAPTION + columns * (SIDE + GAP), len(strips) * (SIDE + GAP)), PAPER)
    draw = ImageDraw.Draw(page)
    large, small = ImageFont.load_default(15), ImageFont.load_default(13)
    for line, strip in enumerate(strips):
        y = line * (SIDE + GAP)
        colour = COLOURS[0] if strip.row.get("kind") == "model" else INK
        draw.text((8, y + 36), strip.row["label"].replace(" without", "\nwithout"), colour, large)
        draw.text((8, y + 76), _figures(strip.row), SOFT, small)
        for column, picture in enumerate(strip.pictures):
            page.paste(Image.fromarray(enlarge(picture)), (CAPTION + column * (SIDE + GAP), y))
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _figures(row: Row) -> str:
    if "bytes" not in row:
        return ""
    like = f"   id {row['identity']['mean']:.2f}" if "identity" in row else ""
    return f"{row['bytes']['mean']:,.0f} bytes{like}"
