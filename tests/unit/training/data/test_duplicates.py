"""One picture in other bytes is told from another picture; the face is the astronaut's."""

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cameo.faces.framing import Framer
from tests.faces import astronaut
from tests.unit.training.conftest import picture
from training.data.duplicates import SAME, Hashes, likeness, perceptual_hash

Pixels = NDArray[np.uint8]


def record(photo: Pixels) -> Pixels:
    return Framer().auto(photo, 128, margin=8).portrait


def saved(pixels: Pixels, format_: str, quality: int, scale: float = 1.0) -> Pixels:
    side = round(len(pixels) * scale)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS).save(file, format_, quality=quality)
    return np.array(Image.open(file).convert("RGB"))


def turned(pixels: Pixels, degrees: float, x: float, y: float) -> Pixels:
    matrix = np.array(cv2.getRotationMatrix2D((71.5, 71.5), degrees, 1.01), np.float64)
    matrix[:, 2] += np.array((x, y))
    moved = cv2.warpAffine(pixels, matrix, (144, 144), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


@pytest.fixture(scope="module")
def face() -> Pixels:
    return record(astronaut())


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG, poor": lambda face: saved(face, "JPEG", 20),
    "WebP": lambda face: saved(face, "WEBP", 30),
    "brighter": lambda face: np.clip(face * 1.2 + 10, 0, 255).astype(np.uint8),
    "framed elsewhere": lambda face: turned(face, 1.0, 1.5, -1.0),
    "half the photo": lambda face: record(saved(astronaut(), "JPEG", 70, 0.5)),
    "cropped photo": lambda face: record(astronaut()[:400, 40:440]),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_found(face: Pixels, copy: str) -> None:
    other = COPIES[copy](face)
    hashes = Hashes()
    hashes.add(perceptual_hash(face))
    assert hashes.candidates(perceptual_hash(other)) == [0]
    assert likeness(face, other) > SAME


def test_another_face_in_the_same_pose_is_none(face: Pixels) -> None:
    """The astronaut's own face, with the features moved as another person's would be."""
    y, x = np.mgrid[:144, :144].astype(np.float32)
    bent_x = x + 3 * np.sin(y / 9)
    other = np.asarray(cv2.remap(face, bent_x, y + 3 * np.cos(x / 8), cv2.INTER_CUBIC), np.uint8)
    assert likeness(face, other) < SAME


def test_a_mirror_image_is_another_picture(face: Pixels) -> None:
    assert likeness(face, face[:, ::-1]) < SAME


def test_different_pictures_are_not_alike() -> None:
    pictures = [np.array(picture(seed)) for seed in range(4)]
    assert max(likeness(pictures[0], other) for other in pictures[1:]) < 0.5
    assert likeness(pictures[0], np.full((144, 144, 3), 90, np.uint8)) == 0


def test_candidates_are_the_nearest_and_few() -> None:
    rng = np.random.default_rng(0)
    hashes, wanted = Hashes(), rng.integers(0, 2**64, 4, np.uint64)
    rows = {500: 40, 1023: 0, 1024: 8, 1500: 24, 2100: 16, 2500: 70}  # row: bits that differ
    for row in range(3000):
        other = rng.integers(0, 2**64, 4, np.uint64)
        if row in rows:
            flipped = np.zeros(256, np.uint8)
            flipped[255 : 255 - rows[row] : -1] = 1
            other = wanted ^ np.packbits(flipped).view(np.uint64)
        hashes.add(other)
    assert hashes.candidates(wanted) == [1023, 1024, 2100, 1500]


def test_no_candidates_among_none() -> None:
    assert Hashes().candidates(perceptual_hash(np.array(picture(0)))) == []
