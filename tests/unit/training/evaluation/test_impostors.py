"""Thresholds and error rates on scores whose answer is known."""

import numpy as np
import pytest

from training.evaluation import bootstrap
from training.evaluation.impostors import Comparisons

PEOPLE = 110


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SAMPLES", 50)


@pytest.fixture
def comparisons() -> Comparisons:
    """Everybody twice. Impostors score up to 0.5, evenly; of the mated comparisons a tenth scores 0.2, the rest 0.8."""
    person_N = np.repeat(np.arange(PEOPLE), 2)
    score_NN = np.random.default_rng(0).uniform(-0.5, 0.5, (2 * PEOPLE, 2 * PEOPLE))
    for person in range(PEOPLE):
        own = slice(2 * person, 2 * person + 2)
        score_NN[own, own] = 0.2 if person % 10 == 0 else 0.8
    return Comparisons(score_NN, np.arange(2 * PEOPLE), person_N)


def test_a_threshold_lets_no_larger_share_through(comparisons: Comparisons) -> None:
    fmrs = (0.01, 0.001, 0.0001)
    thresholds = comparisons.thresholds(fmrs)
    for fmr, threshold in zip(fmrs, thresholds, strict=True):
        assert comparisons.fmr(threshold.value).value <= fmr
        assert comparisons.fmr(threshold.value - 2e-4).value >= 0.9 * fmr
        assert threshold.low <= threshold.value <= threshold.high
        assert threshold.value == pytest.approx(0.5 - fmr, abs=2e-3)
    assert [each.value for each in thresholds] == sorted(each.value for each in thresholds)


def test_who_is_compared_with_whom(comparisons: Comparisons) -> None:
    assert comparisons.impostors.sum() == 2 * PEOPLE * (2 * PEOPLE - 2)
    assert comparisons.mated.sum() == 2 * PEOPLE  # a picture is not compared with itself
    some = Comparisons(comparisons.score_RN[4:6], np.array([4, 5]), comparisons.person_N)
    assert some.impostors.sum() == 2 * (2 * PEOPLE - 2)
    assert some.mated.sum() == 2


def test_those_who_are_missed(comparisons: Comparisons) -> None:
    missed = comparisons.fnmr(0.6)
    assert missed.value == pytest.approx(0.1)
    assert missed.low < 0.1 < missed.high
    assert comparisons.fnmr(0.1).value == 0
    assert comparisons.fnmr(0.9).value == 1


def test_a_group_by_itself(comparisons: Comparisons) -> None:
    first = comparisons.person_N < 10
    group = comparisons.among(first)
    np.testing.assert_array_equal(group.score_RN, comparisons.score_RN[:20, :20])
    assert group.impostors.sum() == 20 * 18
    few = Comparisons(comparisons.score_RN[::3], np.arange(0, 2 * PEOPLE, 3), comparisons.person_N).among(first)
    np.testing.assert_array_equal(few.score_RN, comparisons.score_RN[:20:3, :20])
    np.testing.assert_array_equal(few.row_R, np.arange(0, 20, 3))


def test_intervals_are_wider_where_few_people_make_the_errors(comparisons: Comparisons) -> None:
    even = comparisons.fmr(0.49)
    score_NN = comparisons.score_RN.copy()
    score_NN[:, 0][comparisons.impostors[:, 0]] = 0.495
    one = Comparisons(score_NN, comparisons.row_R, comparisons.person_N).fmr(0.49)
    assert (one.high - one.low) / one.value > 2 * (even.high - even.low) / even.value


def test_too_few_comparisons_say_nothing() -> None:
    few = Comparisons(np.zeros((20, 20)), np.arange(20), np.arange(20))
    with pytest.raises(ValueError, match=r"380 impostor comparisons say nothing of an FMR of 0.001: at least 3,000"):
        few.thresholds((0.01, 0.001))
    with pytest.raises(ValueError, match="nobody is in two pictures"):
        few.fnmr(0.5)


def test_pairs_that_are_missed_at_the_thresholds_for_all(comparisons: Comparisons) -> None:
    """Everybody's first picture with their second; of the first half of the people every tenth scores below all."""
    score_RN = comparisons.score_RN[::2].copy()
    some = Comparisons(score_RN, np.arange(0, 2 * PEOPLE, 2), comparisons.person_N)
    pair_M2 = np.stack([np.arange(PEOPLE), np.arange(1, 2 * PEOPLE, 2)], 1)
    score_RN[tuple(pair_M2[PEOPLE // 2 :].T)] = 0.9
    among_GP = np.stack([np.ones(PEOPLE, bool), np.arange(PEOPLE) < PEOPLE // 2, np.arange(PEOPLE) >= PEOPLE // 2])
    fmrs = (0.01, 0.001)
    miss_GF, miss_SGF = some.missed(fmrs, pair_M2, among_GP)
    assert miss_GF == pytest.approx(np.array([[6 / 110] * 2, [6 / 55] * 2, [0, 0]]))
    assert miss_SGF.shape == (50, 3, 2)
    assert np.nanmin(miss_SGF[:, 1]) < 6 / 55 < np.nanmax(miss_SGF[:, 1])
    # Between the scores of impostors the threshold counts: as many of them pass as the FMR says.
    score_RN[tuple(pair_M2[PEOPLE // 2 :].T)] = np.linspace(0.48, 0.51, 55)
    impostors = np.sort(score_RN[some.impostors])[::-1]
    for f, fmr in enumerate(fmrs):
        plainly = np.mean(score_RN[tuple(pair_M2.T)] <= impostors[int(fmr * len(impostors))])
        assert some.missed(fmrs, pair_M2, among_GP)[0][0, f] == pytest.approx(plainly)
