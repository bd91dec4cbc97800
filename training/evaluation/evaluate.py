"""``python -m training evaluate``: models and their rivals on the same portraits, through files on disk.

``evaluation.json`` has a row for each contender. A figure is ``{"mean", "sd", "low", "high"}``, the last two
bounding the 95% interval of the mean over people:

=================  ========================================================================================
``label``          its name for people; ``kind``, ``name``, ``version``... say what it is
``bytes``          of a payload or file, as counted; has ``max``, too
``jpeg85_bytes``   what some take for a rate, see :func:`training.evaluation.measure.jpeg85_bytes`
``psnr``           decibels, at 128 pixels, as all that follow
``ms_ssim``
``lpips``          lower is better; only with ``--lpips``
``identity``       SFace's cosine of original and reconstruction; ``identity_dlib`` is dlib's
``codebook``       perplexity and use of the codebooks, of a model that has any
``tokens``         in a payload of a progressive code
``budget``         of a rival: the bytes that it was given
``verification``   only with ``--pairs``: ``bytes``, and by recogniser ``identity``, ``accuracy``, ``true_accepts``,
                   and ``fnmr_1``, ``fnmr_01``, ``fnmr_001``: FNMR at an FMR of 1%, 0.1% and 0.01%
=================  ========================================================================================
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cameo.coder.device import choose
from cameo.pictures.quality import SIDE
from training.data.portraits import Portraits, open_portraits
from training.evaluation import eigenfaces
from training.evaluation.bootstrap import SAMPLES
from training.evaluation.charts import FACES, Strip, faces_sheet, rates
from training.evaluation.contenders import Contender, Uncompressed, classical
from training.evaluation.measure import (
    Embeddings,
    Faces,
    Judges,
    Measured,
    codebook_use,
    figures,
    identity,
    measure,
    of_data,
    of_folder,
    tokens_held,
)
from training.evaluation.tables import markdown
from training.evaluation.trained import CPU, Trained, find
from training.evaluation.verification import RECOGNISERS, Pair, installed, read_pairs, recognisers, verify
from training.perceptual import LPIPS
from training.plots import png
from training.remote import place

Row = dict[str, Any]

FORMAT = 1


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "evaluate",
        help="measure models and their rivals, through stored payloads",
        description="Turn portraits into payload files, read those back, and compare. Writes evaluation.json, "
        "table.md, rates.png, faces.png and the payloads. Intervals are 95%, by bootstrap over people.",
        epilog="Example: python -m training evaluate runs/vqvae-64 vqvae-64/2 --data data/faces --out evaluation "
        "--codecs webp,avif,webp:1:48 --eigenfaces data/faces --lpips weights/lpips_alex.npz "
        "--faces lfw --pairs pairs.csv --judge sface,dlib",
    )
    c.add_argument(
        "what", nargs="+",
        help="run folders, or versions in the store: NAME/VERSION, NAME for its highest; a progressive code is "
        "measured at its usual rates, or at those that follow: cameo-128@48,96, and with :good or :best after that "
        "as the service codes with that effort: cameo-128@48,96:good",
    )  # fmt: skip
    c.add_argument(
        "--data", type=place, nargs="+", required=True,
        help="prepared data sets, folders or s3://..., of people not trained on",
    )  # fmt: skip
    c.add_argument("--split", default="val", help="train, val or test of the data sets; default: val")
    c.add_argument("--portraits", type=int, metavar="N", help="evaluate on N portraits only, drawn evenly")
    c.add_argument("--out", type=Path, required=True, help="folder to write to")
    c.add_argument("--store", default="model_store", help="model store, a folder or s3://...; default: model_store")
    add_judging(c)
    c.add_argument(
        "--codecs", type=listed, default=[], metavar="LIST",
        help="rivals: webp, avif, jxl or jpeg at the bytes of each model, with and without container bytes; or at a "
        "fixed quality as CODEC:QUALITY or CODEC:QUALITY:SIDE, e.g. webp,avif,webp:1:48",
    )  # fmt: skip
    c.add_argument("--eigenfaces", type=Path, nargs="+", metavar="DATA", help="rival: PCA of these data sets")
    c.add_argument(
        "--rates", type=numbers, default=[], metavar="BYTES",
        help="more rates for the rivals, e.g. 48,96,192",
    )  # fmt: skip
    c.add_argument("--device", help="cpu, cuda or cuda:N; default: cuda where there is one")
    c.set_defaults(act=_evaluate)


def add_judging(c: argparse.ArgumentParser) -> None:
    """The options that ``publish`` has, too."""
    c.add_argument(
        "--judge", type=listed, default=installed(), metavar="NAMES",
        help=f"recognisers, of {', '.join(RECOGNISERS)}; dlib needs pip install -e '.[dlib]'; default: sface",
    )  # fmt: skip
    c.add_argument("--lpips", type=Path, metavar="FILE", help="lpips_alex.npz (python -m training weights makes it)")
    c.add_argument("--faces", type=Path, metavar="FOLDER", help=f"PERSON/FILE, portraits of {SIDE} pixels, for --pairs")
    c.add_argument(
        "--pairs", type=Path, metavar="CSV", help="face verification on pairs: columns image_a, image_b, same_person"
    )


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    if not all(part.isdecimal() and int(part) for part in listed(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: give whole numbers of at least 1, e.g. 48,96,192")
    return [int(part) for part in listed(text)]


def _evaluate(options: argparse.Namespace) -> int:
    device = choose(options.device or "auto").torch
    for codec in options.codecs:
        classical(codec, [])  # a slip of the pen is better found now than after an hour
    trained = [model for what in options.what for model in find(what, options.store, device)]
    if len({model.label for model in trained}) < len(trained):
        raise ValueError("a model is named twice")
    training = open_portraits(options.eigenfaces, "train") if options.eigenfaces else None
    setting = Setting.of(
        options.data, options.split, judge=options.judge, lpips=options.lpips, faces=options.faces,
        pairs=options.pairs, limit=options.portraits, device=device,
    )  # fmt: skip
    basis = eigenfaces.fit(training) if training else None
    evaluation = evaluate(trained, setting, options.out, options.codecs, basis, options.rates)
    print((options.out / "table.md").read_text())
    print(f"{len(evaluation['rows'])} rows in {options.out / 'evaluation.json'}")
    return 0


@dataclass(frozen=True)
class PairSet:
    """Pairs for face verification. ``references`` are the first pictures, ``clean`` embeds all pictures by file."""

    pairs: list[Pair]
    references: Faces
    originals: dict[str, Embeddings]
    clean: dict[str, dict[str, Any]]
    sha256: str

    @classmethod
    def read(cls, table: Path, folder: Path, judges: Judges) -> "PairSet":
        pairs = read_pairs(table, folder)
        files = sorted({picture for pair in pairs for picture in (pair.a, pair.b)})
        digest = hashlib.sha256(table.read_bytes())
        for file in files:
            digest.update((folder / file).read_bytes())
        embedded = judges.embed(of_folder(folder, files), "originals of pairs")
        clean = {name: dict(zip(files, vectors, strict=True)) for name, vectors in embedded.items()}
        names = sorted({pair.a for pair in pairs})
        originals = {name: np.stack([vectors[file] for file in names]) for name, vectors in clean.items()}
        return cls(pairs, of_folder(folder, names), originals, clean, digest.hexdigest())

    def facts(self) -> dict[str, Any]:
        same = sum(pair.same for pair in self.pairs)
        return {
            "same": same, "different": len(self.pairs) - same, "coded": len(self.references),
            "sha256": self.sha256,
        }  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What everything is measured on, and by whom."""

    portraits: Portraits
    split: str
    faces: Faces
    judges: Judges
    originals: dict[str, Embeddings]
    pairs: PairSet | None

    @classmethod
    def of(
        cls, data: Sequence[Path | str], split: str, *, judge: list[str], lpips: Path | None = None,
        faces: Path | None = None, pairs: Path | None = None, limit: int | None = None, device: torch.device = CPU,
    ) -> "Setting":  # fmt: skip
        """``data`` are prepared data sets, ``judge`` names recognisers; ``limit`` is of portraits.

        ValueError or OSError for what is not there or does not fit together.
        """
        if (faces is None) != (pairs is None):
            raise ValueError("--faces FOLDER and --pairs CSV belong together: give both or neither")
        judges = Judges(recognisers(judge), LPIPS(lpips).to(device) if lpips else None, device)
        portraits = open_portraits(data, split)
        chosen = of_data(portraits, limit)
        pair_set = PairSet.read(pairs, faces, judges) if pairs and faces else None
        return cls(portraits, split, chosen, judges, judges.embed(chosen, "originals"), pair_set)

    @property
    def protocol(self) -> str:
        people = int(self.faces.person_N.max()) + 1
        return (
            f"{len(self.faces)} portraits of {people} people (split {self.split}), through payload files, compared at "
            f"{SIDE} pixels; 95% intervals of the mean by {SAMPLES:,} bootstrap samples of people"
        )

    def measure(self, contender: Contender, folder: Path) -> tuple[Row, Measured]:
        """A row of figures; the files of the portraits are left in ``folder``, those of pairs below it."""
        measured = measure(contender, self.faces, folder, self.judges, self.originals)
        row: Row = {"label": contender.label, **contender.facts(), **figures(measured, self.faces)}
        if isinstance(contender, Trained) and (use := codebook_use(contender, measured)):
            row["codebook"] = use
        if isinstance(contender, Trained) and (held := tokens_held(contender, measured, self.faces)):
            row["tokens"] = held
        if self.pairs:
            row["verification"] = self.verification(contender, self.pairs, folder / "pairs")
        return row, measured

    def verification(self, contender: Contender, pairs: PairSet, folder: Path) -> Row:
        measured = measure(contender, pairs.references, folder, self.judges, pairs.originals, identity_only=True)
        table = figures(measured, pairs.references)
        row: Row = {"bytes": table["bytes"]}
        for name, vectors in measured.embeddings.items():
            coded = dict(zip(pairs.references.names, vectors, strict=True))
            row[name] = {"identity": table[identity(name)]} | verify(pairs.pairs, coded, pairs.clean[name])
        return row


def evaluate(
    trained: list[Trained], setting: Setting, out: Path, codecs: list[str], basis: eigenfaces.Basis | None,
    budgets: list[int],
) -> dict[str, Any]:  # fmt: skip
    """Measure models, then rivals at the bytes of each and at further ``budgets``; write all into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    shown = np.linspace(0, len(setting.faces) - 1, min(FACES, len(setting.faces))).round().astype(np.int64)
    strips = [Strip({"label": "original"}, setting.faces.read(shown))]

    def add(contender: Contender) -> Row:
        row, measured = setting.measure(contender, out / "payloads" / slug(contender.label))
        rows.append(row)
        strips.append(Strip(row, contender.show([measured.paths[i].read_bytes() for i in shown])))
        return row

    if setting.pairs:
        folder = out / "payloads" / Uncompressed.label
        found = setting.verification(Uncompressed(), setting.pairs, folder)
        rows.append({"label": Uncompressed.label, **Uncompressed().facts(), "verification": found})
    taken: set[int] = set()
    for model in [*trained, None]:
        wanted = [int(add(model)["bytes"]["mean"])] if model else budgets
        for budget in sorted(set(wanted) - taken):
            taken.add(budget)
            if basis:
                add(eigenfaces.Eigenfaces(basis, budget))
            for codec in codecs:
                for rival in classical(codec, [budget]) if ":" not in codec else []:
                    add(rival)
    for codec in codecs:
        for rival in classical(codec, []):
            add(rival)
    evaluation = {
        "format": FORMAT,
        "protocol": setting.protocol,
        "data": setting.portraits.sources,
        "split": setting.split,
        "portraits": len(setting.faces),
        "people": int(setting.faces.person_N.max()) + 1,
        "recognisers": list(setting.judges.recognisers),
        "pairs": setting.pairs.facts() if setting.pairs else None,
        "libraries": {name: version(name) for name in ("torch", "pillow", "opencv-python-headless")},
        "rows": rows,
    }
    (out / "table.md").write_text(markdown(evaluation))
    (out / "rates.png").write_bytes(png(rates(rows)))
    (out / "faces.png").write_bytes(faces_sheet(strips))
    partial = out / "evaluation.json.part"
    partial.write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n")
    partial.replace(out / "evaluation.json")
    return evaluation


def slug(label: str) -> str:
    """A label as a folder's name."""
    return "".join(c if c.isalnum() or c in "._" else "-" for c in label.replace(", ", "-")).strip(".-")
