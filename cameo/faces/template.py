"""The position of a face in the canonical portrait: geometry only, in numpy.

ArcFace's five-point template (Deng et al., CVPR 2019), scaled and shifted so that the middle between the eyes is at
(0.5 W, 0.42 W) and the eyes are 0.27 W apart.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

EYE_DISTANCE: Final = 0.27
"""Of the portrait's width."""
EYE_LINE: Final = 0.42
"""Of the portrait's height, from its top."""
ARCFACE: Final = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
TEMPLATE: Final[NDArray[np.float64]] = (ARCFACE - ARCFACE[:2].mean(axis=0)) * (
    EYE_DISTANCE / np.linalg.norm(ARCFACE[1] - ARCFACE[0])
) + (0.5, EYE_LINE)
"""Shape (5, 2), x and y in units of W: the eye at the left of the picture, the other eye, nose, mouth corners."""


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (2, 3) matrix of the rotation, scale and shift with the least squared error from ``source`` to ``target``.

    Both have shape (n, 2). In the plane, Umeyama's solution (PAMI 1991) is a linear regression in one complex
    variable, target = a * source + b.
    """
    p, q = source @ (1, 1j), target @ (1, 1j)
    centred = p - p.mean()
    a = np.vdot(centred, q) / np.vdot(centred, centred)
    b = q.mean() - a * p.mean()
    return np.array([(a.real, -a.imag, b.real), (a.imag, a.real, b.imag)])
