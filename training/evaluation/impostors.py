"""Error rates of face verification in the terms of ISO/IEC 19795-1, from a full cross-comparison.

A reference is the face that a payload decodes to, a probe an uncoded portrait. Every reference is compared with every
probe: of another person (impostor), or of the same person in another picture (mated). Intervals are 95%, by bootstrap
over people, since comparisons that share a person are not independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import draws, interval

Floats = NDArray[np.floating[Any]]

CONSIDERED = 10  # times the largest FMR: the share of scores, from the highest on, that a sample's threshold lies in
LEAST_MATCHES = 3  # that must be expected of an FMR
DECIMALS = 4


class Bounded(NamedTuple):
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparisons:
    """Every reference with every probe.

    ``score_RN``: cosines; ``row_R``: which of the N pictures a reference was made of; ``person_N``: whose they are,
    numbered from 0.
    """

    score_RN: Floats
    row_R: NDArray[np.int64]
    person_N: NDArray[np.int64]

    @property
    def reference_people(self) -> NDArray[np.int64]:
        return self.person_N[self.row_R]

    @property
    def impostors(self) -> NDArray[np.bool_]:
        return np.asarray(self.reference_people[:, None] != self.person_N[None])

    @property
    def mated(self) -> NDArray[np.bool_]:
        return np.asarray(~self.impostors & (self.row_R[:, None] != np.arange(len(self.person_N))[None]))

    def among(self, chosen_N: NDArray[np.bool_]) -> "Comparisons":
        """Those of some of the pictures with each other."""
        numbers_N = np.cumsum(chosen_N) - 1
        held_R = chosen_N[self.row_R]
        return Comparisons(self.score_RN[held_R][:, chosen_N], numbers_N[self.row_R[held_R]], self.person_N[chosen_N])

    def thresholds(self, fmrs: Sequence[float]) -> list[Bounded]:
        """For each FMR the least score that no larger share of impostors reaches, rounded up.

        ValueError with fewer than 3 / FMR comparisons: without one match among so many, the rate is below the FMR with
        95% confidence (the rule of 3), and with fewer nothing is known.
        """
        impostor_RN = self.impostors
        count = int(impostor_RN.sum())
        if count < LEAST_MATCHES / min(fmrs):
            raise ValueError(
                f"{count:,} impostor comparisons say nothing of an FMR of {min(fmrs):g}: at least "
                f"{round(LEAST_MATCHES / min(fmrs)):,} are needed, so give more people"
            )
        score_C, a_C, b_C = self._highest(impostor_RN, int(count * min(1.0, CONSIDERED * max(fmrs))))
        samples: list[list[float]] = [[] for _ in fmrs]
        for drawn_P, total in self._samples():
            held_C = np.cumsum(drawn_P[a_C] * drawn_P[b_C])
            for found, fmr in zip(samples, fmrs, strict=True):
                found.append(_least(score_C, int(np.searchsorted(held_C, fmr * total, side="right"))))
        return [
            Bounded(*(_rounded_up(value) for value in (_least(score_C, int(fmr * count)), *interval(found))))
            for fmr, found in zip(fmrs, samples, strict=True)
        ]

    def fmr(self, threshold: float) -> Bounded:
        """The share of impostor comparisons that reach a threshold."""
        impostor_RN = self.impostors
        matches = impostor_RN & (self.score_RN >= threshold)
        a, b = self._people(matches)
        samples = [float((drawn_P[a] * drawn_P[b]).sum() / total) for drawn_P, total in self._samples()]
        return Bounded(float(matches.sum() / impostor_RN.sum()), *interval(samples))

    def fnmr(self, threshold: float) -> Bounded:
        """The share of mated comparisons that do not reach it. ValueError without any."""
        mated_RN = self.mated
        if not mated_RN.any():
            raise ValueError("nobody is in two pictures, so there are no mated comparisons")
        people = int(self.person_N.max()) + 1
        each_P = np.bincount(self._people(mated_RN)[0], minlength=people)
        missed_P = np.bincount(self._people(mated_RN & (self.score_RN < threshold))[0], minlength=people)
        samples = [float((drawn_P @ missed_P) / max(1, int(drawn_P @ each_P))) for drawn_P in draws(people)]
        return Bounded(float(missed_P.sum() / each_P.sum()), *interval(samples))

    def missed(
        self, fmrs: Sequence[float], pair_M2: NDArray[np.int64], among_GP: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """FNMR of mated pairs (reference, probe) at the thresholds for all impostors, within groups of people.

        Returns miss_GF, and miss_SGF of bootstrap samples, in which thresholds and mated pairs vary together: NaN in a
        sample without anybody of a group.
        """
        impostor_RN = self.impostors
        count = int(impostor_RN.sum())
        score_C, a_C, b_C = self._highest(impostor_RN, min(count, int(count * CONSIDERED * max(fmrs)) + 1))
        score_M, person_M = self.score_RN[tuple(pair_M2.T)], self.reference_people[pair_M2[:, 0]]
        among_GM = among_GP[:, person_M].astype(np.float64)

        def miss(weight_C: NDArray[Any], weight_M: NDArray[Any], total: int) -> Floats:
            first_F = np.searchsorted(np.cumsum(weight_C), np.array(fmrs) * total, side="right")
            missed_MF = score_M[:, None] <= score_C[np.minimum(first_F, len(score_C) - 1)]
            weight_GM = among_GM * weight_M
            with np.errstate(invalid="ignore"):
                return np.asarray((weight_GM @ missed_MF) / weight_GM.sum(1, keepdims=True))

        samples = [miss(drawn_P[a_C] * drawn_P[b_C], drawn_P[person_M], total) for drawn_P, total in self._samples()]
        return miss(np.ones(len(score_C)), np.ones(len(score_M)), count), np.stack(samples)

    def _people(self, chosen_RN: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of references, and of probes."""
        reference, probe = np.nonzero(chosen_RN)
        return self.reference_people[reference], self.person_N[probe]

    def _highest(self, chosen_RN: NDArray[np.bool_], count: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """The highest scores, falling, with the people of reference and probe."""
        a, b = self._people(chosen_RN)
        score = self.score_RN[chosen_RN]
        order = np.argsort(-score, kind="stable")[:count]
        return score[order], a[order], b[order]

    def _samples(self) -> "list[tuple[NDArray[np.int64], int]]":
        """How often each person is drawn, and how many impostor comparisons that makes."""
        people = int(self.person_N.max()) + 1
        references_P = np.bincount(self.reference_people, minlength=people)
        probes_P = np.bincount(self.person_N, minlength=people)
        own_P = references_P * probes_P
        return [
            (drawn_P, int((drawn_P @ references_P) * (drawn_P @ probes_P) - drawn_P**2 @ own_P))
            for drawn_P in draws(people)
        ]


def _least(score_C: Floats, accepted: int) -> float:
    """The lowest of the first so many scores, which fall; the highest where none is accepted."""
    return float(score_C[min(max(accepted, 1), len(score_C)) - 1])


def _rounded_up(score: float) -> float:
    return float(np.ceil(score * 10**DECIMALS) / 10**DECIMALS)
