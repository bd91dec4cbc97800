"""How good a reconstruction is as a picture: PSNR and MS-SSIM."""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SCALE_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])  # Wang et al. 2003, table 1
SIDE = 128  # pixels: pictures are compared at this size, smaller ones scaled up first


def enlarge(pixels: Pixels) -> Pixels:
    """A square picture at SIDE pixels, as a viewer would show it."""
    if pixels.shape[0] == SIDE:
        return pixels
    return np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures, decibels; infinite for equal ones."""
    error = np.square(a.astype(np.float64) - b).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """Multi-scale structural similarity of luma (Wang et al. 2003), in [0, 1].

    The standard weights need 176 pixels for five scales; a portrait of 128 has four, with the weights of the
    first four renormalised.
    """
    scales = sum(min(a.shape[:2]) >> k >= 16 for k in range(len(SCALE_WEIGHTS)))
    weights = SCALE_WEIGHTS[:scales] / SCALE_WEIGHTS[:scales].sum()
    x, y = _luma(a), _luma(b)
    product = 1.0
    for scale, weight in enumerate(weights):
        similarity, contrast = _ssim(x, y)
        product *= max(similarity if scale == scales - 1 else contrast, 0.0) ** weight
        x, y = _halve(x), _halve(y)
    return float(product)


def _luma(pixels: Pixels) -> NDArray[np.float64]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float64)


def _halve(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float64)


def _ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Means of structural similarity, and of its factor without luminance."""

    def blur(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(p, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT))

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    contrast = (2 * cov + c2) / (vx + vy + c2)
    return float((luminance * contrast).mean()), float(contrast.mean())
