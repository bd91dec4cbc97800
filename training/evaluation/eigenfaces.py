"""Eigenfaces: the rival that every network has to beat (Sirovich and Kirby 1987, Turk and Pentland 1991).

Principal components of training portraits, quantised with one uniform step, which minimises the squared error at
high rates. Each portrait takes the finest step whose bytes fit, as a classical codec takes the best quality. The
entropy coder is an ideal one: a value costs as many bits as its frequency among the training portraits says, which
step was taken costs nothing, and there is no container. So no real coder makes files that small.

Fit them on what the models were trained on: a basis of other faces is a weaker rival.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.portraits import Portraits
from training.evaluation.contenders import Coded, Pixels

SIZE = 64  # pixels: beyond a few hundred bytes, this is what limits them
FITTED = 8000  # portraits at most
COMPONENTS = 1024  # at most
STEPS = 2 ** np.arange(12, 1, -1 / 8)  # from coarse to fine; the next takes about 5% more bytes
UNSEEN = 0.5  # added to the count of every value, so that one that was never seen can be coded


@dataclass(frozen=True, eq=False)
class Quantiser:
    """A step, and the bits of every value of every coefficient, one coefficient after the other.

    Coefficient k takes the values ``low_K[k]`` to ``high_K[k]``, those seen in training; its costs begin at
    ``first_K[k]``.
    """

    step: float
    low_K: NDArray[np.int64]
    high_K: NDArray[np.int64]
    first_K: NDArray[np.int64]
    cost: NDArray[np.float64]

    @classmethod
    def learnt(cls, step: float, coefficient_MK: NDArray[np.float32]) -> Self:
        """The costs are those of the frequencies in training."""
        value_MK = np.rint(coefficient_MK / step).astype(np.int64)
        low_K, high_K = value_MK.min(0), value_MK.max(0)
        width_K = high_K - low_K + 1
        first_K = np.cumsum(width_K) - width_K
        count = np.bincount((value_MK - low_K + first_K).ravel(), minlength=int(width_K.sum())) + UNSEEN
        total_K = np.add.reduceat(count, first_K)
        return cls(step, low_K, high_K, first_K, np.repeat(np.log2(total_K), width_K) - np.log2(count))

    def values(self, coefficient_BK: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Whole steps; what was never seen in training becomes the nearest that was."""
        value_BK = np.rint(coefficient_BK / self.step).astype(np.int64)
        return np.asarray(np.clip(value_BK, self.low_K, self.high_K))

    def bytes_of(self, value_BK: NDArray[np.int64]) -> NDArray[np.int64]:
        """What an ideal entropy coder needs for each portrait, in whole bytes."""
        bits_B = self.cost[value_BK - self.low_K + self.first_K].sum(1)
        return np.asarray(np.ceil(bits_B / 8), np.int64)


@dataclass(frozen=True, eq=False)
class Basis:
    """The mean portrait, P numbers; K components, K P; a quantiser for each of STEPS; how many portraits were used."""

    mean_P: NDArray[np.float32]
    component_KP: NDArray[np.float32]
    quantisers: tuple[Quantiser, ...]
    fitted: int


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
    coefficient_MK = (x_MP @ component_PK).numpy()
    quantisers = tuple(Quantiser.learnt(float(step), coefficient_MK) for step in STEPS)
    return Basis(mean_P.numpy(), component_PK.T.contiguous().numpy(), quantisers, len(x_MP))


@dataclass(frozen=True, eq=False)
class Eigenfaces:
    """A contender: as good as ``budget`` bytes allow, portrait by portrait."""

    basis: Basis
    budget: int
    suffix = ".eigen"

    @property
    def label(self) -> str:
        return f"eigenfaces, {self.budget:,} bytes"

    def facts(self) -> dict[str, Any]:
        return {"kind": "eigenfaces", "budget": self.budget, "fitted": self.basis.fitted}

    def code(self, portraits: list[Pixels]) -> list[Coded]:
        x_BHWC = np.stack(portraits).reshape(-1, SIZE, 2, SIZE, 2, 3).mean((2, 4))  # as Portraits makes them smaller
        x_BP = x_BHWC.transpose(0, 3, 1, 2).reshape(len(portraits), -1)
        return [
            self._finest(c_1K) for c_1K in np.split((x_BP - self.basis.mean_P) @ self.basis.component_KP.T, len(x_BP))
        ]

    def _finest(self, coefficient_1K: NDArray[np.floating[Any]]) -> Coded:
        """With the last step before the first that takes too much; with the coarsest when even that one does."""
        kept = None
        for step, quantiser in enumerate(self.basis.quantisers):
            value_1K = quantiser.values(coefficient_1K)
            size = int(quantiser.bytes_of(value_1K)[0])
            if kept and size > self.budget:
                break
            kept = Coded(np.append(step, value_1K).astype("<i4").tobytes(), size)
        assert kept is not None
        return kept

    def show(self, files: list[bytes]) -> list[Pixels]:
        stored = np.stack([np.frombuffer(data, "<i4") for data in files])
        step_B1 = STEPS[stored[:, :1]]
        x_BP = (stored[:, 1:] * step_B1).astype(np.float32) @ self.basis.component_KP + self.basis.mean_P
        return list(x_BP.round().clip(0, 255).astype(np.uint8).reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1))
