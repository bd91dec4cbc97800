"""How sure a mean is: bootstrap over people (Efron 1979), since two pictures of one person are not independent."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SAMPLES = 1000
Figure = dict[str, float]


def numbered(people: Sequence[str]) -> NDArray[np.int64]:
    """Names, one a row, to numbers from 0: person_N."""
    return np.unique(np.asarray(people, str), return_inverse=True)[1].reshape(-1).astype(np.int64)


def draws(people: int) -> Iterator[NDArray[np.int64]]:
    """Sample after sample, how often each person is drawn. The same samples for the same number of people."""
    rng = np.random.default_rng(0)
    even = np.full(people, 1 / people)
    for _ in range(SAMPLES):
        yield rng.multinomial(people, even)


def interval(values: list[float]) -> tuple[float, float]:
    """The middle 95% of what samples gave."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def summary(value_N: NDArray[np.float64], person_N: NDArray[np.int64]) -> Figure:
    """Mean and standard deviation over pictures; ``low`` and ``high`` bound the 95% interval of the mean."""
    sum_P, count_P = np.bincount(person_N, value_N), np.bincount(person_N)
    low, high = interval([float((drawn_P @ sum_P) / (drawn_P @ count_P)) for drawn_P in draws(len(count_P))])
    return rounded({"mean": value_N.mean(), "sd": value_N.std(), "low": low, "high": high})


def rounded(figure: dict[str, float]) -> Figure:
    return {name: round(float(value), 4) for name, value in figure.items()}
