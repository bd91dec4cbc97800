"""What is measured, as the docs show it: README's table, ``rates.png`` and ``cameo.png``.

    python -m docs.figures --measure WORK --faces FOLDER --pairs CSV --groups CSV --fit DATA

measures the default version beside its rivals (hours, in the folder WORK; stopped, the same command goes on), writes
``figures.json``, and draws from it; without options it only draws. A test compares: the default version with the one
that was measured, README's table and the pictures with what is written here.
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
TABLE = re.compile(r"(?<=\n)\| measured \|.*?\n(?=\n)", re.DOTALL)
BUDGETS = (32, 48, 64, 96, 256)
ON_CARDS = (256, 512, 1024)
SHEET = (48, 96, 192, 320)  # bytes of the faces in cameo.png
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
    what, manifest = default_version()
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
    recognition = json.loads((Path(options.measure) / "recognition.json").read_text())
    FIGURES.write_text(json.dumps({"version": what, "manifest": manifest, "recognition": recognition}, indent=1) + "\n")


def table(figures: dict[str, Any]) -> str:
    """README's: the default version, the best codec at each budget by dlib, and the least and largest template."""
    rows = figures["recognition"]["rows"]
    models = [row for row in rows if row["kind"] == "model" and row["budget"] in (48, 96, 256)]
    codecs = [
        min(rivals, key=lambda row: (_strict(row, "dlib")["mean"], -_similarity(row)))
        for budget in ON_CARDS
        if (rivals := [row for row in rows if row["kind"] == "codec" and row["budget"] == budget])
    ]
    templates = [row for row in rows if row["kind"] == "template" and row["budget"] in (16, 64)]
    chosen = [*(row for row in rows if row["kind"] == "uncompressed"), *models, *reversed(codecs), *templates]
    lines = [
        "| measured | bytes | similarity, SFace | missed, SFace | missed, dlib |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in chosen:
        strict = " | ".join(_missed(_strict(row, judge)) for judge in ("sface", "dlib"))
        lines.append(f"| {_title(row)} | {row['bytes']['mean']:,.0f} | {_short(_similarity(row))} | {strict} |")
    return "\n".join(lines) + "\n"


def _title(row: Row) -> str:
    if row["kind"] == "codec":
        return f"{TITLES[row['name']]} at {row['side']} px, the best codec"
    if row["kind"] == "template":
        return "template of the same recogniser, shows no face"
    return f"**`{row['name']}`**" if row["kind"] == "model" else "uncompressed"


def _similarity(row: Row) -> float:
    return float(row["recognisers"]["sface"]["identity"]["mean"])


def _strict(row: Row, judge: str) -> dict[str, float]:
    found: dict[str, float] = row["recognisers"][judge]["fnmr_01"]
    return found


def _missed(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.1%} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def _short(share: float) -> str:
    return "1" if share > 0.9995 else f"{share:.3f}"[1:]


def draw(figures: dict[str, Any]) -> dict[str, bytes]:
    """By name, what the docs show."""
    readme = ROOT / "README.md"
    page, count = TABLE.subn(lambda _: table(figures), readme.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{readme} has {count} tables that begin with '| measured |': there must be one")
    return {
        "README.md": page.encode(),
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
