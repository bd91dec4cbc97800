"""``python -m training recognition``: error rates at low false match rates, beside the practice of ID cards, by group.

The first picture of each mated pair is coded; a recogniser compares it with the second, and with every picture of
somebody else as it was. ``recognition.json`` has a row for each contender: ``label``, ``kind``, ``bytes``, and in
``recognisers`` for each ``identity`` (the mean cosine of original and reconstruction) and ``fnmr_1``, ``fnmr_01``,
``fnmr_001``: FNMR at an FMR of 1%, 0.1% and 0.01%. ``groups`` has the same by attribute and group, at the thresholds
for all. ``rises`` says how much more FNMR at 0.1% rises in one group than in another. Figures are ``{"mean", "low",
"high"}`` with 95% intervals by bootstrap over people.

What is in the folder already is not made again, so a command that was stopped goes on.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cameo.coder.device import choose
from cameo.pictures.quality import SIDE, enlarge
from training import files
from training.data.portraits import open_portraits
from training.evaluation.bootstrap import Figure, interval, numbered, rounded, summary
from training.evaluation.contenders import Contender, Uncompressed
from training.evaluation.evaluate import listed, numbers, slug
from training.evaluation.impostors import Comparisons, Floats
from training.evaluation.measure import Faces, of_data, of_folder
from training.evaluation.rivals import CARD_CODECS, CARD_SIDES, OnCard, Template
from training.evaluation.trained import find
from training.evaluation.verification import FALSE_MATCHES, RECOGNISERS, Judge, installed, recognisers

Row = dict[str, Any]

FITTED = 1000  # portraits, for templates
TRIED = 12  # references on which the best side of a codec is found
STRICT = list(FALSE_MATCHES).index("fnmr_01")  # at which groups are compared
EVERYBODY = "everybody"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "recognition",
        help="error rates at low FMRs of models, of what ID cards use, and of groups of people",
        description="Code the first picture of each mated pair, compare it with the second and with every picture of "
        "somebody else, and give FNMR at an FMR of 1%, 0.1% and 0.01%. Stopped at any moment, the same command goes "
        "on. Writes recognition.json and table.md.",
        epilog="Example: python -m training recognition cameo-128/5@48,96:good --faces lfw --pairs pairs.csv --judge "
        "sface,dlib --codecs webp,avif,jpeg2000,jxl --rates 256,512,1024 --templates 16,64 --fit data/lfw --groups "
        "groups.csv --out recognition",
    )
    c.add_argument("what", nargs="+", help="models, as for evaluate: NAME/VERSION@BYTES,BYTES:EFFORT")
    c.add_argument("--faces", type=Path, required=True, help=f"folder of PERSON/FILE, portraits of {SIDE} px")
    c.add_argument(
        "--pairs", type=Path, required=True, metavar="CSV",
        help="columns image_a, image_b, same_person; pairs of two people are not needed. Where people have one "
        "picture, a pair may be that picture twice: its reconstruction beside itself",
    )  # fmt: skip
    c.add_argument("--groups", type=Path, metavar="CSV", help="column person, and others such as sex: groups of people")
    c.add_argument(
        "--judge", type=listed, default=installed(), metavar="NAMES",
        help=f"recognisers, of {', '.join(RECOGNISERS)}; default: sface",
    )  # fmt: skip
    c.add_argument(
        "--codecs", type=listed, default=[], metavar="LIST",
        help=f"rivals, of {', '.join(CARD_CODECS)}: at each of --rates, at the best of the sides "
        f"{', '.join(map(str, CARD_SIDES))}",
    )  # fmt: skip
    c.add_argument("--rates", type=numbers, default=[256, 512, 1024], metavar="BYTES", help="default: 256,512,1024")
    c.add_argument("--templates", type=numbers, default=[], metavar="BYTES", help="rivals: embeddings in so many bytes")
    c.add_argument("--fit", type=Path, nargs="+", metavar="DATA", help="data sets that templates are fitted to")
    c.add_argument("--out", type=Path, required=True, help="folder to write to")
    c.add_argument("--store", type=Path, default=Path("model_store"), help="model store; default: model_store")
    c.add_argument("--device", help="cpu, cuda or cuda:N; default: cuda where there is one")
    c.set_defaults(act=_recognition)


def _recognition(options: argparse.Namespace) -> int:
    if unknown := sorted(set(options.codecs) - set(CARD_CODECS)):
        raise ValueError(f"there is no codec {unknown[0]!r}; known: {', '.join(CARD_CODECS)}")
    if options.templates and not options.fit:
        raise ValueError("--templates needs --fit DATA: portraits of people who are not among --faces")
    device = choose(options.device or "auto").torch
    models = [model for what in options.what for model in find(what, options.store, device)]
    setting = Setting.of(options.faces, options.pairs, options.groups, recognisers(options.judge), options.out)
    contenders: list[Contender] = [Uncompressed(), *models]
    for codec in options.codecs:
        contenders += [best for budget in options.rates if (best := setting.best_side(codec, budget))]
    found = [setting.measure(contender) for contender in contenders]
    if options.templates:
        fit = of_data(open_portraits(options.fit, "train"), FITTED)
        found += [setting.templates(size, fit) for size in options.templates]
    result = {**setting.facts(), "rows": [one.row for one in found], "rises": setting.rises(found)}
    files.replace(options.out / "recognition.json", (json.dumps(result, indent=1) + "\n").encode())
    files.replace(options.out / "table.md", markdown(result).encode())
    print(markdown(result))
    return 0


@dataclass(frozen=True)
class Measured:
    """A row, and by recogniser the FNMR at 0.1% of each group, miss_SG, in bootstrap samples."""

    row: Row
    samples: dict[str, Floats]


@dataclass(frozen=True)
class Setting:
    """What is compared with what. ``pair_M2``: rows of references and probes; ``groups``: attribute, name, people."""

    references: Faces
    probes: Faces
    pair_M2: NDArray[np.int64]
    row_R: NDArray[np.int64]
    groups: list[tuple[str, str, NDArray[np.bool_]]]
    judges: dict[str, Judge]
    out: Path
    sha256: str

    @classmethod
    def of(cls, folder: Path, table: Path, groups: Path | None, judges: dict[str, Judge], out: Path) -> "Setting":
        """ValueError for a table that does not fit the folder."""
        with table.open(newline="") as file:
            mated = [(row["image_a"], row["image_b"]) for row in csv.DictReader(file) if row["same_person"] == "1"]
        names = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.*"))
        number = {name: i for i, name in enumerate(names)}
        if unknown := sorted({name for pair in mated for name in pair} - set(names)):
            raise ValueError(f"{table} names {unknown[0]}, which is not below {folder}")
        references = sorted({a for a, _ in mated})
        reference = {name: i for i, name in enumerate(references)}
        probes = of_folder(folder, names)
        digest = hashlib.sha256(table.read_bytes() + "\n".join(names).encode())
        return cls(
            of_folder(folder, references), probes,
            np.array([(reference[a], number[b]) for a, b in mated]).reshape(-1, 2),
            np.array([number[name] for name in references]),
            list(_groups(groups, names, probes.person_N)), judges, out, digest.hexdigest(),
        )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        comparisons = self._comparisons(np.zeros((len(self.references), len(self.probes))))
        people = self.probes.person_N[self.row_R[self.pair_M2[:, 0]]]
        return {
            "format": 1, "sha256": self.sha256, "references": len(self.references), "pictures": len(self.probes),
            "people": int(self.probes.person_N.max()) + 1, "mated": len(self.pair_M2),
            "mated_people": len(np.unique(people)), "impostors": int(comparisons.impostors.sum()),
            "recognisers": list(self.judges),
            "groups": [
                {"attribute": attribute, "group": group, "mated": int(among_P[people].sum()),
                 "people": len(np.unique(people[among_P[people]]))}
                for attribute, group, among_P in self.groups
            ],
        }  # fmt: skip

    def best_side(self, codec: str, budget: int) -> OnCard | None:
        """The side at which the first recogniser finds faces most similar, of those at which every file fits.

        Chosen on references that are measured, too, so rivals are a little better here than in life.
        """
        name, judge = next(iter(self.judges.items()))
        tried = np.linspace(0, len(self.references) - 1, TRIED).round().astype(np.int64)
        clean = self._clean(name, judge)[self.row_R[tried]]
        path = self.out / "sides" / f"{slug(f'{codec}-{budget}')}.json"
        if not path.exists():
            found: dict[int, float] = {}
            for rival in (OnCard(codec, budget, side) for side in CARD_SIDES):
                coded = rival.code(self.references.read(tried))
                if max(one.size for one in coded) <= budget:
                    faces = rival.show([one.data for one in coded])
                    cosines = [judge.embed(enlarge(face)) @ e for face, e in zip(faces, clean, strict=True)]
                    found[rival.side] = float(np.mean(cosines))
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(path, json.dumps(found).encode())
        cosine = {int(side): value for side, value in json.loads(path.read_text()).items()}
        return OnCard(codec, budget, max(cosine, key=lambda side: cosine[side])) if cosine else None

    def measure(self, contender: Contender) -> Measured:
        size_R, vectors = [], {}
        for name, judge in self.judges.items():
            path = self.out / "embeddings" / slug(contender.label) / f"{name}.npy"
            if isinstance(contender, Uncompressed):
                vectors[name] = self._clean(name, judge)[self.row_R]
            elif path.exists():
                vectors[name] = np.load(path)
            else:
                paths = list(self._files(contender))
                faces = (contender.show([path.read_bytes()])[0] for path in paths)
                vectors[name] = _keep(path, np.stack([judge.embed(enlarge(face)) for face in faces]))
        if isinstance(contender, Uncompressed):
            size_R = [SIDE * SIDE * 3] * len(self.references)
        else:
            size_R = [path.stat().st_size for path in self._files(contender)]
        row = {"label": contender.label, "budget": getattr(contender, "budget", None), **contender.facts()}
        return self._measured(row, np.array(size_R, np.float64), vectors)

    def templates(self, size: int, fit: Faces) -> Measured:
        """Templates of so many bytes by the first recogniser, which are nothing to the others."""
        name, judge = next(iter(self.judges.items()))
        path = self.out / "embeddings" / "fit" / f"{name}.npy"
        if not path.exists():
            _keep(path, np.stack([judge.embed(one) for part in fit.parts(f"{name}: fit") for one in fit.read(part)]))
        template = Template.fit(np.load(path), size)
        stored = [template.code(vector) for vector in self._clean(name, judge)[self.row_R]]
        row = {"label": f"template by {name}, {size} bytes", "kind": "template", "budget": size}
        size_R = np.array([len(data) for data in stored], np.float64)
        return self._measured(row, size_R, {name: np.stack([template.show(data) for data in stored])})

    def rises(self, found: list[Measured]) -> list[Row]:
        """How much FNMR at FMR 0.1% rises in two groups of an attribute, the larger rise first.

        ``ratio`` of the two, None where one does not rise; ``difference`` with its interval.
        """
        clean, *coded = found
        rows = []
        for one in coded:
            for name, miss_SG in one.samples.items():
                rise_SG = miss_SG - clean.samples[name]
                rise_G = [self._strict(one, name, g) - self._strict(clean, name, g) for g in range(len(self.groups))]
                for pair in _pairs(self.groups):
                    first, second = sorted(pair, key=lambda g: -rise_G[g])
                    low, high = interval((rise_SG[:, first] - rise_SG[:, second]).tolist())
                    rows.append({
                        "label": one.row["label"], "recogniser": name, "attribute": self.groups[first][0],
                        "groups": [self.groups[first][1], self.groups[second][1]],
                        "rise": [round(rise_G[first], 4), round(rise_G[second], 4)],
                        "ratio": round(rise_G[first] / rise_G[second], 2) if rise_G[second] > 0 else None,
                        "difference": rounded({"mean": rise_G[first] - rise_G[second], "low": low, "high": high}),
                    })  # fmt: skip
        return rows

    def _strict(self, one: Measured, recogniser: str, group: int) -> float:
        attribute, name, _ = self.groups[group]
        return float(one.row["groups"][attribute][name][recogniser]["fnmr_01"]["mean"])

    def _measured(self, row: Row, size_R: Floats, vectors: dict[str, Floats]) -> Measured:
        person_R = self.probes.person_N[self.row_R]
        everybody_P = np.ones(int(self.probes.person_N.max()) + 1, bool)
        among = [("", EVERYBODY, everybody_P), *self.groups]
        row |= {"bytes": rounded({"mean": size_R.mean(), "max": size_R.max()}), "recognisers": {}, "groups": {}}
        samples = {}
        for name, vector_RD in vectors.items():
            clean = self._clean(name, self.judges[name])
            comparisons = self._comparisons(vector_RD @ clean.T)
            among_GP = np.stack([among_P for _, _, among_P in among])
            miss_GF, miss_SGF = comparisons.missed(list(FALSE_MATCHES.values()), self.pair_M2, among_GP)
            samples[name] = miss_SGF[:, 1:, STRICT]
            cosine_R = (vector_RD * clean[self.row_R]).sum(1).astype(np.float64)
            for g, (attribute, group, among_P) in enumerate(among):
                held_R = among_P[person_R]
                figures = {"identity": summary(cosine_R[held_R], numbered(person_R[held_R].astype(str).tolist()))}
                for f, figure in enumerate(FALSE_MATCHES):
                    low, high = interval(miss_SGF[:, g, f].tolist())
                    figures[figure] = rounded({"mean": miss_GF[g, f], "low": low, "high": high})
                place = row["groups"].setdefault(attribute, {}).setdefault(group, {}) if g else row["recognisers"]
                place[name] = figures
        return Measured(row, samples)

    def _comparisons(self, score_RN: Floats) -> Comparisons:
        return Comparisons(score_RN, self.row_R, self.probes.person_N)

    def _clean(self, name: str, judge: Judge) -> Floats:
        """What a recogniser says of all pictures as they are."""
        path = self.out / "embeddings" / "uncompressed" / f"{name}.npy"
        if path.exists():
            return np.asarray(np.load(path))
        parts = self.probes.parts(f"{name}: as they are")
        return _keep(path, np.stack([judge.embed(one) for part in parts for one in self.probes.read(part)]))

    def _files(self, contender: Contender) -> Iterator[Path]:
        """A file for each reference; those that are there are not made again."""
        for part in self.references.parts(contender.label):
            for i in part:
                path = self.out / "payloads" / slug(contender.label) / f"{self.references.names[i]}{contender.suffix}"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    files.replace(path, contender.code(self.references.read(np.array([i])))[0].data)
                yield path


def _keep(path: Path, vectors: Floats) -> Floats:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npy")
    np.save(partial, vectors)
    partial.replace(path)
    return vectors


def _groups(
    table: Path | None, names: list[str], person_N: NDArray[np.int64]
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """ValueError for a table without the column person, or for people in it who have no picture."""
    if table is None:
        return
    with table.open(newline="") as file:
        reader = csv.DictReader(file)
        attributes = [name for name in reader.fieldnames or () if name != "person"]
        rows = list(reader)
    if "person" not in (reader.fieldnames or ()):
        raise ValueError(f"{table} has no column person")
    number = {Path(name).parts[0]: person for name, person in zip(names, person_N.tolist(), strict=True)}
    if unknown := [row["person"] for row in rows if row["person"] not in number]:
        raise ValueError(f"{table} names {unknown[0]}, who has no picture")
    for attribute in attributes:
        for group in sorted({row[attribute] for row in rows} - {""}):
            among_P = np.zeros(int(person_N.max()) + 1, bool)
            among_P[[number[row["person"]] for row in rows if row[attribute] == group]] = True
            yield attribute, group, among_P


def _pairs(groups: list[tuple[str, str, NDArray[np.bool_]]]) -> Iterator[tuple[int, int]]:
    for g in range(len(groups)):
        for h in range(g + 1, len(groups)):
            if groups[g][0] == groups[h][0]:
                yield g, h


def markdown(result: dict[str, Any]) -> str:
    """All figures; FNMR in percent."""
    names = result["recognisers"]
    titles = ["", "bytes"]
    for name in names:
        titles += [f"similarity, {name}", *(f"FNMR at {fmr:.2%}, {name}" for fmr in FALSE_MATCHES.values())]
    lines = [
        f"{result['mated']} mated pairs of {result['mated_people']} people, {result['impostors']:,} impostor pairs.\n",
        f"| {' | '.join(titles)} |", "|---" * len(titles) + "|",
    ]  # fmt: skip
    for row in result["rows"]:
        places = [(row["label"], row["recognisers"])]
        places += [
            (f"{row['label']}: {group}", found) for groups in row["groups"].values() for group, found in groups.items()
        ]
        for label, found in places:
            cells = [label, f"{row['bytes']['mean']:,.0f}"]
            for name in names:
                cells += [_cell(found[name][each]) if name in found else "" for each in ("identity", *FALSE_MATCHES)]
            lines.append(f"| {' | '.join(cells)} |")
    for rise in result["rises"]:
        (more, less), (most, least) = rise["rise"], rise["groups"]
        ratio = f", {rise['ratio']:.2f} times as much" if rise["ratio"] else ""
        lines.append(
            f"- {rise['label']}, {rise['recogniser']}, {rise['attribute']}: FNMR at 0.1% rises by {more:.3f} ({most}) "
            f"and {less:.3f} ({least}){ratio}; difference {_cell(rise['difference'])}"
        )
    return "\n".join(lines) + "\n"


def _cell(figure: Figure) -> str:
    return f"{figure['mean']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
