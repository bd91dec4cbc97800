"""Eigenfaces: the rival that every network has to beat (Sirovich and Kirby 1987, Turk and Pentland 1991).

Principal components of training portraits, all quantised with one uniform step, which minimises the squared error
at high rates, and an entropy coder that is ideal: a coefficient costs as many bits as its frequency among the
training portraits says, and there is no container. So the bytes are a bound that no real coder reaches.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.portraits import Portraits
from training.evaluation.contenders import Coded, Pixels

SIZE = 64  # pixels
FITTED = 8000  # portraits at most
COMPONENTS = 1024  # at most
UNSEEN = 0.5  # added to the count of every value, so that one that was never seen can be coded


@dataclass(frozen=True, eq=False)
class Basis:
    """The mean portrait, P numbers; K components, K P; and the coefficients of M training portraits, M K."""

    mean_P: NDArray[np.float32]
    component_KP: NDArray[np.float32]
    coefficient_MK: NDArray[np.float32]


def fit(portraits: Portraits) -> Basis:
    """Principal components of portraits, or of a sample of them that the memory holds.

    By random projections (Halko et al. 2011), in a minute or two; the exact ones take ten times as long.
    """
    x_MP = portraits.sample(SIZE, FITTED, seed=0).flatten(1).float()
    mean_P = x_MP.mean(0)
    x_MP -= mean_P
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, component_PK = torch.svd_lowrank(x_MP, q=min(COMPONENTS, *x_MP.shape), niter=2)
    return Basis(mean_P.numpy(), component_PK.T.contiguous().numpy(), (x_MP @ component_PK).numpy())


@dataclass(frozen=True, eq=False)
class Eigenfaces:
    """A contender. ``cost`` holds the bits of every value of every coefficient, one coefficient after the other.

    Coefficient k takes the values ``low_K[k]`` to ``high_K[k]``, those seen in training; its costs begin at
    ``first_K[k]``.
    """

    basis: Basis
    budget: int
    step: float
    low_K: NDArray[np.int64]
    high_K: NDArray[np.int64]
    first_K: NDArray[np.int64]
    cost: NDArray[np.float64]
    suffix = ".eigen"

    @classmethod
    def within(cls, basis: Basis, budget: int) -> Self:
        """The finest step with which training portraits take ``budget`` bytes in the mean."""
        low, high = 0.0, 16.0  # of log2(step)
        for _ in range(20):
            middle = (low + high) / 2
            rival = cls._with_step(basis, budget, 2**middle)
            spent = rival.ideal_bytes(rival.quantised(basis.coefficient_MK)).mean()
            low, high = (low, middle) if spent <= budget else (middle, high)
        return cls._with_step(basis, budget, 2**high)

    @classmethod
    def _with_step(cls, basis: Basis, budget: int, step: float) -> Self:
        value_MK = np.rint(basis.coefficient_MK / step).astype(np.int64)
        low_K, high_K = value_MK.min(0), value_MK.max(0)
        width_K = high_K - low_K + 1
        first_K = np.cumsum(width_K) - width_K
        count = np.bincount((value_MK - low_K + first_K).ravel(), minlength=int(width_K.sum())) + UNSEEN
        total_K = np.add.reduceat(count, first_K)
        return cls(basis, budget, step, low_K, high_K, first_K, np.repeat(np.log2(total_K), width_K) - np.log2(count))

    def quantised(self, coefficient_BK: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        value_BK = np.rint(coefficient_BK / self.step).astype(np.int64)
        return np.asarray(np.clip(value_BK, self.low_K, self.high_K))

    def ideal_bytes(self, value_BK: NDArray[np.int64]) -> NDArray[np.float64]:
        """What an ideal entropy coder needs for each portrait, in whole bytes."""
        bits_B: NDArray[np.float64] = self.cost[value_BK - self.low_K + self.first_K].sum(1)
        return np.ceil(bits_B / 8)

    @property
    def label(self) -> str:
        return f"eigenfaces, {self.budget:,} bytes"

    def facts(self) -> dict[str, Any]:
        return {"kind": "eigenfaces", "budget": self.budget, "fitted": len(self.basis.coefficient_MK)}

    def code(self, portraits: list[Pixels]) -> list[Coded]:
        x_BHWC = np.stack(portraits).reshape(-1, SIZE, 2, SIZE, 2, 3).mean((2, 4))  # as Portraits makes them smaller
        value_BK = self.quantised(
            (x_BHWC.transpose(0, 3, 1, 2).reshape(len(portraits), -1) - self.basis.mean_P) @ self.basis.component_KP.T
        )
        sizes_B = self.ideal_bytes(value_BK)
        return [Coded(row.astype("<i4").tobytes(), int(size)) for row, size in zip(value_BK, sizes_B, strict=True)]

    def show(self, files: list[bytes]) -> list[Pixels]:
        value_BK = np.stack([np.frombuffer(data, "<i4") for data in files])
        x_BP = (value_BK * self.step).astype(np.float32) @ self.basis.component_KP + self.basis.mean_P
        return list(x_BP.round().clip(0, 255).astype(np.uint8).reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1))
