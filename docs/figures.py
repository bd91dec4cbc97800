"""What is measured, as the docs show it: tables in README and in ``quality.md``, ``rates.png`` and ``cameo.png``.

    python -m docs.figures --measure WORK --faces FOLDER --pairs CSV --groups CSV --fit DATA

measures the default version beside its rivals (an hour of a quiet core or more, in the folder WORK; stopped, the same
command goes on), writes ``figures.json``, and draws from it; without options it only draws. A test compares the default
version with the one that was measured, the tables and the pictures with what is written here.
"""

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cameo
from cameo.store import Registry, StoredVersion
from tests.faces import astronaut
from training.evaluation.charts import rates
from training.plots import png

DOCS = Path(__file__).parent
ROOT = DOCS.parent
FIGURES = DOCS / "figures.json"
STORE = ROOT / "model_store"
BUDGETS = (32, 48, 64, 96, 256)
ON_CARDS = (256, 512, 1024)
SHEET = (48, 96, 192, 320)  # bytes of the faces in cameo.png
JUDGES = ("sface", "dlib")
TITLES = {"webp": "WebP", "avif": "AVIF", "jpeg2000": "JPEG 2000", "jxl": "JPEG XL"}

Row = dict[str, Any]


def default_version() -> tuple[str, str]:
    """NAME/VERSION that serves by default, and the SHA-256 of its manifest."""
    registry: Registry[StoredVersion] = Registry(STORE, lambda stored: stored)
    registry.open()
    stored = registry.get().model
    name, version = stored.key
    return f"{name}/{version}", stored.digest


def measure(options: argparse.Namespace) -> None:
    """Run ``training recognition`` on the default version, and keep its result."""
    what, _ = default_version()
    subprocess.run(
        [
            sys.executable, "-m", "training", "recognition", f"{what}@{','.join(map(str, BUDGETS))}:good",
            "--faces", options.faces, "--pairs", options.pairs,
            *(["--groups", options.groups] if options.groups else []), "--judge", "sface,dlib",
            "--codecs", ",".join(TITLES), "--rates", ",".join(map(str, ON_CARDS)),
            "--templates", "16,32,64", "--fit", *options.fit, "--out", options.measure,
        ],
        cwd=ROOT, check=True,
    )  # fmt: skip
    keep(Path(options.measure) / "recognition.json")


def keep(recognition: Path) -> None:
    """Take what was measured on the default version for what the docs show."""
    what, manifest = default_version()
    measured = json.loads(recognition.read_text(encoding="utf-8"))
    text = json.dumps({"version": what, "manifest": manifest, "recognition": measured}, indent=1) + "\n"
    FIGURES.write_text(text, encoding="utf-8")


def table(figures: dict[str, Any]) -> str:
    """README's: the default version, the best codec at each budget by dlib, and two templates."""
    rows = figures["recognition"]["rows"]
    models = [row for row in rows if row["kind"] == "model" and row["budget"] in (48, 96, 256)]
    codecs = [
        min(rivals, key=lambda row: (row["recognisers"]["dlib"]["fnmr_01"]["mean"], -_similarity(row["recognisers"])))
        for budget in ON_CARDS
        if (rivals := [row for row in rows if row["kind"] == "codec" and row["budget"] == budget])
    ]
    templates = [row for row in rows if row["kind"] == "template" and row["budget"] in (16, 32)]
    chosen = [*(row for row in rows if row["kind"] == "uncompressed"), *models, *reversed(codecs), *templates]
    return _table(
        "| measured | bytes | similarity, SFace | missed, SFace | missed, dlib |",
        [[_title(row), _bytes(row), _short(_similarity(row["recognisers"])), *_missed(row["recognisers"])]
         for row in chosen],
    )  # fmt: skip


def every_row(figures: dict[str, Any]) -> str:
    """Of ``quality.md``: everything, at three FMRs."""
    return _table(
        "| everything measured | bytes | ids | SFace: 1% | 0.1% | 0.01% | dlib: 1% | 0.1% | 0.01% |",
        [
            [
                _title(row), _bytes(row), _short(_similarity(row["recognisers"])),
                *(_short(row["recognisers"][judge][fmr]["mean"]) if judge in row["recognisers"] else ""
                  for judge in JUDGES for fmr in ("fnmr_1", "fnmr_01", "fnmr_001")),
            ]
            for row in figures["recognition"]["rows"]
        ],
    )  # fmt: skip


def by_group(figures: dict[str, Any]) -> str:
    """Of ``quality.md``: the default version, and nothing, by group."""
    return _table(
        "| by group | bytes | group | ids | missed, SFace | missed, dlib |",
        [
            [_title(row), _bytes(row), group, _short(_similarity(found)), *_missed(found)]
            for row in figures["recognition"]["rows"] if row["kind"] in ("uncompressed", "model")
            for groups in row["groups"].values() for group, found in groups.items()
        ],
    )  # fmt: skip


TABLES = {"README.md": [table], "docs/quality.md": [every_row, by_group]}


def place(made: str) -> re.Pattern[str]:
    """Where a table stands in its page: from its first cell to the empty line after it."""
    return re.compile(rf"(?<=\n)\|{re.escape(made.split('|')[1])}\|.*?\n(?=\n)", re.DOTALL)


def _table(head: str, rows: list[list[str]]) -> str:
    return "\n".join(
        [head, "|---" + "|---:" * (head.count("|") - 2) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]
    )


def _title(row: Row) -> str:
    if row["kind"] == "codec":
        return f"{TITLES[row['name']]} at {row['side']} px"
    if row["kind"] == "template":
        return "SFace's template, no face"
    return f"**`{row['name']}`**" if row["kind"] == "model" else "uncompressed"


def _bytes(row: Row) -> str:
    return f"{row['bytes']['mean']:,.0f}"


def _similarity(found: dict[str, Any]) -> float:
    return float(found["sface"]["identity"]["mean"])


def _missed(found: dict[str, Any]) -> list[str]:
    """By each judge, FNMR at an FMR of 0.1% in percent, with its interval; empty where it has not judged."""
    figures = [found[judge]["fnmr_01"] if judge in found else None for judge in JUDGES]
    return [f"{f['mean']:.1%} ({100 * f['low']:.1f} to {100 * f['high']:.1f})" if f else "" for f in figures]


def _short(share: float) -> str:
    return {"1.000": "1", "0.000": "0"}.get(text := f"{share:.3f}", text[1:])


def draw(figures: dict[str, Any]) -> dict[str, bytes]:
    """By path, what the docs show."""
    drawn = {}
    for page, tables in TABLES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for make in tables:
            made = make(figures)
            text, count = place(made).subn(made.replace("\\", r"\\"), text)
            if count != 1:
                raise ValueError(f"{page} has {count} tables that begin as {made[:40]!r}: there must be one")
        drawn[page] = text.encode()
    return drawn | {
        "docs/rates.png": png(rates(figures["recognition"]["rows"])),
        "docs/cameo.png": sheet(figures["version"]),
    }


def sheet(what: str) -> bytes:
    """A photo in the public domain, compared as ``/compare`` does."""
    file = io.BytesIO()
    with cameo.open(STORE) as c:
        c.compare(astronaut(), models=[what], max_bytes=SHEET).sheet().save(file, "PNG")
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", metavar="WORK", help="measure first, in this folder")
    parser.add_argument("--faces", help="portraits of people not trained on, as for training recognition")
    parser.add_argument("--pairs", metavar="CSV", help="mated pairs of them")
    parser.add_argument("--groups", metavar="CSV", help="their groups")
    parser.add_argument("--fit", nargs="+", metavar="DATA", help="data sets of other people, for templates")
    options = parser.parse_args()
    if options.measure:
        if not (options.faces and options.pairs and options.fit):
            parser.error("--measure needs --faces, --pairs and --fit")
        measure(options)
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    drawn = draw(figures)
    for name, data in drawn.items():
        (ROOT / name).write_bytes(data)
    figures["drawn"] = {name: hashlib.sha256(data).hexdigest() for name, data in drawn.items() if name.endswith(".png")}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
