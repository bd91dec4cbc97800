"""What is in a data set, for people: its ``report.md`` and ``contact.png``."""

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from training.data.portraits import MARGIN, PORTRAIT, SPLITS, STORED

FRAMING: Final = {
    "found": "a face found in a photo",
    "whole": f"{STORED} x {STORED} pixels: taken for a portrait with its margin",
    "padded": f"{PORTRAIT} x {PORTRAIT} pixels: taken for a portrait; edge pixels repeat in the margin",
}
NEWLINE: Final = "\n"


def report(described: dict[str, Any], rows: list[dict[str, str]]) -> str:
    """What is in a data set, for people."""
    alone = sum(row["person"] == unicodedata.normalize("NFC", row["source"]) for row in rows)
    each = Counter(Counter(row["person"] for row in rows).values())
    bins = {"1": (1, 1), "2 to 4": (2, 4), "5 to 19": (5, 19), "20 or more": (20, len(rows))}
    faces = {label: sum(n for faces, n in each.items() if low <= faces <= high) for label, (low, high) in bins.items()}
    splits = [f"| {s} | {described['pictures'][s]:,} | {described['people'][s]:,} |" for s in SPLITS]
    refused = [f"| {reason} | {count:,} |" for reason, count in described["refused"].items()] or ["| none | 0 |"]
    doubt = (
        f"\n{alone:,} pictures stand for themselves: nobody vouches that they show different people, or that the "
        "splits do.\n"
    )
    return f"""# {described["name"]}

Licence: {described["licence"]}

{len(rows):,} portraits of {described["made"]["found"]:,} pictures. No person is in two splits.

| split | pictures | people |
|---|---:|---:|
{NEWLINE.join(splits)}
{doubt if alone else ""}
| pictures of a person | people |
|---|---:|
{NEWLINE.join(f"| {label} | {count:,} |" for label, count in faces.items())}

| refused, see refused.csv | pictures |
|---|---:|
{NEWLINE.join(refused)}

| framing | pictures |
|---|---:|
{NEWLINE.join(f"| {FRAMING[kind]} | {count:,} |" for kind, count in described["framing"].items())}

## How it was made

{NEWLINE.join(f"- {key}: {value}" for key, value in described["made"].items() if key not in ("name", "licence"))}
"""


def contact_sheet(records: Path, count: int) -> Image.Image:
    """Up to a hundred portraits, evenly chosen."""
    chosen = np.linspace(0, count - 1, min(count, 100)).round().astype(int)
    columns = int(np.ceil(np.sqrt(len(chosen))))
    pixels_NHWC = np.memmap(records, np.uint8, "r", shape=(count, STORED, STORED, 3))
    sheet = Image.new("RGB", (columns * PORTRAIT, -(-len(chosen) // columns) * PORTRAIT), "white")
    for place, row in enumerate(chosen):
        portrait = Image.fromarray(pixels_NHWC[row, MARGIN:-MARGIN, MARGIN:-MARGIN])
        sheet.paste(portrait, (place % columns * PORTRAIT, place // columns * PORTRAIT))
    return sheet
