"""Which portraits show the same picture: saved again, resized, or found anew in another copy of the photo.

All portraits are alike, since they are aligned, so it takes two steps. A perceptual hash (signs of the lowest
frequencies of the cosine transform, after Zauner 2010) names the few candidates. Those are laid onto the portrait by
the affine map with the greatest correlation (ECC: Evangelidis and Psarakis, PAMI 2008), for framing finds a face in a
copy up to two pixels elsewhere; what counts then is the correlation of their fine detail. Without their coarse shades,
different pictures of one person in one pose are no more alike than those of two people.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

SAME: Final = 0.93
"""Correlation of the fine detail from which two portraits are one picture. docs/log.md has the measurement."""

_SIDE: Final = 72  # px, the side of the grey copies that are compared
_EDGE: Final = 8  # px of those that are left out on every side: what a copy has there may be missing in the other
_COARSE: Final = 3.0  # px, the blur whose result is taken away
_LOW: Final = 12  # bits, of 64, in which the lowest frequencies of candidates differ at most
_ALL: Final = 64  # bits, of 256, in which candidates differ at most
_CANDIDATES: Final = 4
_STOP: Final = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-5)


class Hashes:
    """The hashes of rows 0, 1, 2, ... A search through a million takes two milliseconds."""

    def __init__(self) -> None:
        self._low_N = np.empty(1024, np.uint64)
        self._all_N4 = np.empty((1024, 4), np.uint64)
        self._count = 0

    def add(self, hash_4: NDArray[np.uint64]) -> None:
        if self._count == len(self._low_N):
            self._low_N = np.concatenate([self._low_N, np.empty_like(self._low_N)])
            self._all_N4 = np.concatenate([self._all_N4, np.empty_like(self._all_N4)])
        self._low_N[self._count], self._all_N4[self._count] = hash_4[0], hash_4
        self._count += 1

    def candidates(self, hash_4: NDArray[np.uint64]) -> list[int]:
        """Rows that may show the same picture, the nearest first, few."""
        rows = np.flatnonzero(np.bitwise_count(self._low_N[: self._count] ^ hash_4[0]) <= _LOW)
        differ = np.bitwise_count(self._all_N4[rows] ^ hash_4).sum(1)
        order = np.argsort(differ, kind="stable")[:_CANDIDATES]
        nearest: list[int] = rows[order[differ[order] <= _ALL]].tolist()
        return nearest


def perceptual_hash(record_HWC: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """256 bits as four words, those of the lowest frequencies first."""
    grey = cv2.cvtColor(record_HWC, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    positive = cv2.dct(small)[:16, :16] > 0
    return np.packbits(positive.reshape(2, 8, 2, 8).transpose(0, 2, 1, 3)).view(np.uint64)


def likeness(a_HWC: NDArray[np.uint8], b_HWC: NDArray[np.uint8]) -> float:
    """Correlation of the fine detail of two records, at most 1, when one is laid onto the other; 0 if it cannot be."""
    a, b = _small(a_HWC), _small(b_HWC)
    try:
        _, matrix = cv2.findTransformECC(a, b, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, _STOP)
    except cv2.error:  # two pictures with nothing in common
        return 0.0
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(b, np.asarray(matrix), (_SIDE, _SIDE), flags=how, borderMode=cv2.BORDER_REPLICATE)
    a, b = _detail(a), _detail(np.asarray(laid, np.float32))
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / size) if size else 0.0


def _small(record_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.cvtColor(record_HWC, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _detail(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    fine = (grey - cv2.GaussianBlur(grey, (0, 0), _COARSE))[_EDGE:-_EDGE, _EDGE:-_EDGE]
    return np.asarray(fine - fine.mean(), np.float32)
