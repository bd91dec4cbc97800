import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cameo.faces.framing import asis
from tests.faces import astronaut
from training.evaluation import bootstrap
from training.evaluation.verification import (
    FOLDS,
    Pair,
    Scores,
    accepted,
    accuracy,
    against_everybody,
    read_pairs,
    recognisers,
    resampled,
    true_accepts,
    verify,
)


def scores(apart: float, pairs: int = 200) -> Scores:
    rng = np.random.default_rng(0)
    same = np.arange(pairs) % 2 == 0
    people = rng.permutation(2 * pairs).reshape(pairs, 2)
    people[same, 1] = people[same, 0]
    numbers = np.unique(people, return_inverse=True)[1].reshape(-1, 2)
    fold = rng.permutation(np.arange(pairs) % FOLDS)
    return Scores(rng.normal(apart * same, 1), same, fold, numbers)


def plainly(s: Scores) -> float:
    """Accuracy by trying every threshold."""
    found = []
    for fold in range(FOLDS):
        train = s.fold_P != fold
        cuts = [*np.sort(s.cosine_P[train]), np.inf]
        right = [((s.cosine_P[train] >= cut) == s.same_P[train]).mean() for cut in cuts]
        cut = cuts[int(np.argmax(right))]
        found.append(((s.cosine_P[~train] >= cut) == s.same_P[~train]).mean())
    return float(np.mean(found))


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0, 20.0])
def test_accuracy_takes_the_best_threshold_of_the_other_folds(apart: float) -> None:
    s = scores(apart)
    found = accuracy(s, np.ones(len(s.same_P)))
    assert found == pytest.approx(plainly(s))
    if apart == 20:
        assert found > 0.99


def test_a_pair_of_weight_two_is_two_pairs() -> None:
    s = scores(1.5)
    weight_P = np.random.default_rng(1).integers(0, 3, len(s.same_P))
    cosine_P, same_P, fold_P, people_P2 = s
    twice = Scores(
        cosine_P.repeat(weight_P), same_P.repeat(weight_P), fold_P.repeat(weight_P), people_P2.repeat(weight_P, axis=0)
    )
    assert accuracy(s, weight_P.astype(float)) == pytest.approx(accuracy(twice, np.ones(len(twice.same_P))), abs=0.02)
    assert true_accepts(s, weight_P.astype(float)) == pytest.approx(true_accepts(twice, np.ones(len(twice.same_P))))


def test_true_accepts_at_one_percent_of_false_ones() -> None:
    false, true = np.arange(200) / 200, np.array([0.984, 0.986, 0.988, 0.99, 0.992, 0.994, 0.996, 0.998, 1.0, 1.1])
    same = np.arange(210) >= 200
    s = Scores(np.concatenate([false, true]), same, np.zeros(210, np.int64), np.zeros((210, 2), np.int64))
    # Two of 200 may pass, 0.995 and 0.990; so the threshold is the third, 0.985.
    assert true_accepts(s, np.ones(210)) == pytest.approx(0.9)


def test_a_pair_counts_as_often_as_its_people_are_drawn() -> None:
    s = scores(1.0, pairs=20)
    for weight_P in list(resampled(s))[:50]:
        total = weight_P[s.same_P].sum()
        assert total == int(total)
        shared = [person for person, n in zip(*np.unique(s.people_P2[s.same_P, 0], return_counts=True), strict=True)]
        assert len(shared) == s.same_P.sum()  # everybody is in one pair only, so all weights are free of each other
    assert np.mean([weight_P.mean() for weight_P in resampled(s)]) == pytest.approx(1, abs=0.1)


def vectors(names: list[str], noise: float) -> dict[str, NDArray[np.float64]]:
    """Unit vectors in which a person's pictures lie near each other."""
    found = {}
    for name in names:
        person = np.random.default_rng(int(name.split("/")[0])).normal(size=8)
        vector = person + noise * np.random.default_rng(len(name) + ord(name[-1])).normal(size=8)
        found[name] = vector / np.linalg.norm(vector)
    return found


def test_verify_tells_people_apart_as_far_as_the_codec_lets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SAMPLES", 50)
    pairs = [Pair(f"{i}/a", f"{i}/b", same=True) for i in range(40)]
    pairs += [Pair(f"{i}/a", f"{(i + 7) % 40}/b", same=False) for i in range(40)]
    names = sorted({name for pair in pairs for name in (pair.a, pair.b)})
    clean = vectors(names, 0.1)
    good, bad = (verify(pairs, vectors(names, noise), clean) for noise in (0.1, 1.5))
    assert good["accuracy"]["mean"] > 0.95
    assert good["accuracy"]["mean"] > bad["accuracy"]["mean"]
    assert good["true_accepts"]["mean"] > bad["true_accepts"]["mean"]
    for figure in (*good.values(), *bad.values()):
        assert figure["low"] <= figure["mean"] <= figure["high"]


def test_every_reference_meets_every_picture_of_somebody_else() -> None:
    mated = [Pair(f"{i}/a", f"{i}/b", same=True) for i in range(30)]
    references, probes = [pair.a for pair in mated], [name for pair in mated for name in (pair.a, pair.b)]
    coded, clean = vectors(references, 1.5), vectors(probes, 0.1)
    s = against_everybody(mated, coded, clean)
    assert s.same_P.sum() == 30
    assert (~s.same_P).sum() == 30 * 58
    assert (s.people_P2[~s.same_P, 0] != s.people_P2[~s.same_P, 1]).all()
    impostors = sorted(float(coded[a] @ clean[b]) for a in references for b in probes if a[:-1] != b[:-1])[::-1]
    for share in (0.01, 0.001, 0.0001):
        threshold = impostors[int(share * len(impostors))]
        plainly = np.mean([coded[pair.a] @ clean[pair.b] > threshold for pair in mated])
        assert accepted(s, np.ones(len(s.same_P)), [share]) == [pytest.approx(plainly)]


def test_fnmr_grows_as_fewer_false_matches_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SAMPLES", 50)
    pairs = [Pair(f"{i}/a", f"{i}/b", same=True) for i in range(40)]
    pairs += [Pair(f"{i}/a", f"{(i + 7) % 40}/b", same=False) for i in range(40)]
    names = sorted({name for pair in pairs for name in (pair.a, pair.b)})
    found = verify(pairs, vectors(names, 0.9), vectors(names, 0.1))
    at = [found[name]["mean"] for name in ("fnmr_1", "fnmr_01", "fnmr_001")]
    assert 0 < at[0] <= at[1] <= at[2] < 1


def write_pairs(path: Path, pairs: list[tuple[str, str, int]], header: str = "image_a,image_b,same_person") -> Path:
    path.write_text("\n".join([header, *(f"{a},{b},{same}" for a, b, same in pairs)]) + "\n")
    return path


def test_pairs_are_read_and_checked(tmp_path: Path) -> None:
    for person in range(12):
        (tmp_path / str(person)).mkdir()
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / str(person) / name).touch()
    good = [(f"{i}/a.jpg", f"{i}/b.jpg", 1) for i in range(12)]
    good += [(f"{i}/a.jpg", f"{(i + 1) % 12}/b.jpg", 0) for i in range(12)]
    pairs = read_pairs(write_pairs(tmp_path / "pairs.csv", good), tmp_path)
    assert pairs[0] == Pair("0/a.jpg", "0/b.jpg", same=True)
    assert sum(pair.same for pair in pairs) == 12
    with pytest.raises(ValueError, match="no columns same_person"):
        read_pairs(write_pairs(tmp_path / "x.csv", good, "image_a,image_b,same"), tmp_path)
    with pytest.raises(ValueError, match=r"names 3/c\.jpg, which is not below"):
        read_pairs(write_pairs(tmp_path / "y.csv", [*good, ("3/c.jpg", "3/b.jpg", 1)]), tmp_path)
    with pytest.raises(ValueError, match="too few pairs"):
        read_pairs(write_pairs(tmp_path / "z.csv", good[:12]), tmp_path)


def test_recognisers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    portrait = asis(astronaut()[20:220, 120:320], 128).portrait
    (vector,) = (r.embed(portrait) for r in recognisers(["sface"]).values())
    assert np.linalg.norm(vector) == pytest.approx(1)
    with pytest.raises(ValueError, match="no recogniser 'arcface'; known: sface, dlib"):
        recognisers(["arcface"])
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[dlib\]'"):
        recognisers(["dlib"])
