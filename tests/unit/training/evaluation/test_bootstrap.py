import numpy as np
import pytest

from training.evaluation.bootstrap import draws, numbered, summary


def test_names_become_numbers() -> None:
    assert numbered(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]


def test_every_sample_draws_as_many_people_as_there_are() -> None:
    samples = list(draws(7))
    assert {int(drawn_P.sum()) for drawn_P in samples} == {7}
    assert len({tuple(drawn_P) for drawn_P in samples}) > 500
    assert all(np.array_equal(a, b) for a, b in zip(samples, draws(7), strict=True))


def test_the_interval_is_that_of_the_mean() -> None:
    value_N = np.random.default_rng(1).normal(5, 2, 400)
    figure = summary(value_N, np.arange(400))
    assert figure["mean"] == pytest.approx(value_N.mean(), abs=1e-4)
    assert figure["sd"] == pytest.approx(value_N.std(), abs=1e-4)
    expected = 1.96 * value_N.std() / np.sqrt(400)
    assert figure["mean"] - figure["low"] == pytest.approx(expected, rel=0.12)
    assert figure["high"] - figure["mean"] == pytest.approx(expected, rel=0.12)


def test_more_pictures_of_the_same_people_make_nothing_surer() -> None:
    value_N = np.random.default_rng(2).normal(0, 1, 60)
    once = summary(value_N, np.arange(60))
    assert summary(np.repeat(value_N, 9), np.repeat(np.arange(60), 9)) == once


def test_one_person_with_many_pictures_weighs_as_one() -> None:
    value_N = np.concatenate([np.zeros(50), np.ones(50)])
    few = summary(value_N, np.concatenate([np.zeros(50), np.arange(1, 51)]).astype(np.int64))
    many = summary(value_N, np.arange(100))
    assert few["high"] - few["low"] > 1.3 * (many["high"] - many["low"])
