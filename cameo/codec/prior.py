"""The probabilities for an entropy coder: how likely each decision of a progressive code is, in integers only.

A NADE (Larochelle & Murray 2011), the same on every machine and in any order of summation. Tokens, decisions and
the letters of shapes are those of :mod:`cameo.codec.progressive`.
"""

from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
VALUES = 3
NAT = 2048  # logits are in units of 1 / NAT
LEAST_LOGIT, MOST_LOGIT, LOGIT_SHIFT = -8 * NAT, 8 * NAT - 1, 4
MOST_WEIGHT = 2**15 - 1  # of ``embed_T3H`` and ``output_T3H``: they fit 16 bits
MOST_BIAS = 2**31 - 1
MOST_CONTEXT = 255
PROBABILITY_BITS = 16


def _table() -> NDArray[np.int64]:
    # decimal rounds exp correctly, which C libraries do not guarantee. 24 digits are enough for an exact result.
    exact, half = Context(prec=24), 1 << LOGIT_SHIFT - 1
    scale = 1 << PROBABILITY_BITS
    upper = []
    for middle in range(half, MOST_LOGIT, 2 * half):
        no = exact.exp(exact.divide(Decimal(-middle), Decimal(NAT)))
        upper.append(int(exact.to_integral_value(exact.divide(Decimal(scale), exact.add(Decimal(1), no)))))
    upper_half = np.minimum(np.array(upper, np.int64), scale - 32)
    return np.concatenate([scale - upper_half[::-1], upper_half])


TABLE = _table()
"""65536 times the probability of a yes, for each cell of 16 logits from -8 nats on: the sigmoid of its middle."""
TABLE.flags.writeable = False


@dataclass(frozen=True, eq=False)
class Prior:
    """How likely each decision is, given the tokens of earlier blocks. All arrays are integers of any type:

        h_H   = sum of embed_T3H[u, token of u] over all tokens u of earlier blocks
        a_H   = clip(h_H, 0, 255)
        logit = clip(bias_T3[t, d] + sum_H output_T3H[t, d] a_H, -8 nats, 8 nats), in units of 1 / 2048 nat
        P(decision d of token t is yes) = TABLE[(logit + 16384) >> 4] / 65536

    ``latent_T`` names the latent of each token: any numbers from 0 on. The arrays must not change afterwards.
    Raises ValueError where shapes or ranges are wrong.
    """

    latent_T: NDArray[np.integer[Any]]
    embed_T3H: NDArray[np.integer[Any]]
    output_T3H: NDArray[np.integer[Any]]
    bias_T3: NDArray[np.integer[Any]]

    def __post_init__(self) -> None:
        T = len(self)
        H = self.embed_T3H.shape[-1] if self.embed_T3H.ndim else 0
        if not T:
            raise ValueError("A prior has at least one token.")
        for name, array, shape, least, most in (
            ("latent_T", self.latent_T, (T,), 0, 2**31 - 1),
            ("embed_T3H", self.embed_T3H, (T, VALUES, H), -MOST_WEIGHT, MOST_WEIGHT),
            ("output_T3H", self.output_T3H, (T, VALUES, H), -MOST_WEIGHT, MOST_WEIGHT),
            ("bias_T3", self.bias_T3, (T, VALUES), -MOST_BIAS, MOST_BIAS),
        ):
            if not np.issubdtype(array.dtype, np.integer):
                raise ValueError(f"{name} is of {array.dtype}, not of integers.")
            if array.shape != shape:
                raise ValueError(f"{name} has the shape {list(array.shape)}, expected {list(shape)}.")
            if array.size and not least <= int(array.min()) <= int(array.max()) <= most:
                raise ValueError(f"{name} ranges over {array.min()} to {array.max()}, outside {least} to {most}.")

    def __len__(self) -> int:
        """T: the tokens of a whole list."""
        return int(self.latent_T.shape[0]) if self.latent_T.ndim else 0

    @cached_property
    def latents(self) -> NDArray[np.int64]:
        """``latent_T`` with the latents renumbered, without gaps."""
        numbers: NDArray[np.int64] = np.unique(self.latent_T, return_inverse=True)[1]
        return numbers

    # Floats from here on, whose products are several times as fast, and exact: all sums are whole numbers far below
    # 2**53.

    @cached_property
    def rows(self) -> NDArray[np.float64]:
        """RH: ``embed_T3H`` with a row for each token and value."""
        return self.embed_T3H.astype(np.float64).reshape(len(self) * VALUES, self.embed_T3H.shape[2])

    @cached_property
    def outputs(self) -> NDArray[np.float64]:
        """BDH: ``output_T3H`` in blocks."""
        return self._blocks(self.output_T3H)

    @cached_property
    def above_least(self) -> NDArray[np.float64]:
        """BD: ``bias_T3`` in blocks, counted from the least logit."""
        return self._blocks(self.bias_T3) - LEAST_LOGIT

    def _blocks(self, array: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        # The last block may lack tokens; nothing reads what is put in their place.
        missing = -len(self) % BLOCK
        filled = np.pad(array.astype(np.float64), ((0, missing), *((0, 0) for _ in array.shape[1:])))
        return filled.reshape(len(filled) // BLOCK, BLOCK * VALUES, *array.shape[2:])

    def probabilities(self, h_BH: NDArray[np.float64], first: int = 0) -> NDArray[np.int64]:
        """65536 times the probability of a yes, BD, for the blocks from ``first`` on; ``h_BH`` are their contexts."""
        blocks = slice(first, first + len(h_BH))
        a_BH1 = np.minimum(np.maximum(h_BH, 0), MOST_CONTEXT)[:, :, None]
        logit_BD = (self.outputs[blocks] @ a_BH1)[:, :, 0] + self.above_least[blocks]
        return TABLE.take(logit_BD.astype(np.int64) >> LOGIT_SHIFT, mode="clip")
