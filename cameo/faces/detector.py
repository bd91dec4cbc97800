"""YuNet (Wu, Peng and Yu, 2023), which finds faces and their landmarks.

ONNX Runtime takes a third of the time that OpenCV's own FaceDetectorYN takes, and any number of threads may run it at
once; a test holds that both find the same but for thousandths of a pixel.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cameo.coder import graphs

SCORE: Final = 0.7
"""What YuNet must give a face, of at most 1, for it to count as one. Portraits get about 0.93, look-alikes 0.65."""

_OVERLAP = 0.3  # of two faces, over their union: beyond it the less likely one is the same
_STRIDES = (8, 16, 32)  # px from one place at which a face may be to the next


class Detector:
    """A picture HWC, BGR -> a row for each face: x, y, width, height, x and y of 5 landmarks in px, and its score."""

    def __init__(self, weights: bytes) -> None:
        """``weights`` are a file's bytes; ValueError where it is not YuNet's."""
        try:
            self._load(weights)
            self(np.zeros((32, 32, 3), np.uint8))
        except Exception as error:  # each part has a class of its own, and none says more than this
            raise ValueError("not a readable YuNet model") from error

    def _load(self, weights: bytes) -> None:
        model = graphs.read(weights)
        height, width = model.graph.input[0].type.tensor_type.shape.dim[2:]
        height.dim_param, width.dim_param = "height", "width"  # the file says 640
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        self._names = [output.name for output in model.graph.output]
        self._run = graphs.session(model.SerializeToString())

    def __call__(self, picture_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width, _ = picture_HWC.shape
        coarsest = _STRIDES[-1]
        padded = cv2.copyMakeBorder(picture_HWC, 0, -height % coarsest, 0, -width % coarsest, cv2.BORDER_CONSTANT)
        outputs = dict(zip(self._names, self._run(input=cv2.dnn.blobFromImage(padded)), strict=True))
        columns = padded.shape[1]
        rows = np.concatenate([self._faces(outputs, stride, columns // stride) for stride in _STRIDES])
        # In whole pixels, as OpenCV's detector does it.
        kept = cv2.dnn.NMSBoxes(rows[:, :4].astype(int).tolist(), rows[:, 14].tolist(), SCORE, _OVERLAP)
        return rows.take(np.asarray(kept, int), 0)

    def _faces(self, outputs: dict[str, NDArray[np.float32]], stride: int, columns: int) -> NDArray[np.float32]:
        """Those at one stride, also of the same face: the network says for each place where a face is from there."""
        face, object_ = (outputs[f"{name}_{stride}"].clip(0, 1) for name in ("cls", "obj"))
        scores = np.sqrt(face * object_)[0, :, 0]
        at = np.flatnonzero(scores >= SCORE)
        place_N2 = np.stack([at % columns, at // columns], 1).astype(np.float32)
        box_N4, landmarks_N10 = (outputs[f"{name}_{stride}"][0, at] for name in ("bbox", "kps"))
        size_N2 = np.exp(box_N4[:, 2:]) * stride
        corner_N2 = (place_N2 + box_N4[:, :2]) * stride - size_N2 / 2
        points_N10 = (np.tile(place_N2, 5) + landmarks_N10) * stride
        return np.concatenate([corner_N2, size_N2, points_N10, scores[at, None]], 1, dtype=np.float32)
