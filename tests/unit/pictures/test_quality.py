import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cameo.faces.framing import Framer
from cameo.pictures.quality import SIDE, enlarge, ms_ssim, psnr
from tests.faces import astronaut

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face() -> Pixels:
    return Framer().auto(astronaut(), SIDE).portrait


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    assert psnr(black, black + 1) == pytest.approx(48.13, abs=0.01)
    assert psnr(black, black) == float("inf")


def test_ms_ssim_falls_as_noise_rises(face: Pixels) -> None:
    values = [ms_ssim(face, noisy(face, sigma)) for sigma in (0, 5, 20, 80)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.8


def test_ms_ssim_sees_structure_rather_than_brightness(face: Pixels) -> None:
    brighter = np.clip(face.astype(int) + 10, 0, 255).astype(np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(face, (0, 0), 3), np.uint8)
    assert ms_ssim(face, brighter) > ms_ssim(face, blurred)


def test_enlarging_leaves_the_right_size_alone(face: Pixels) -> None:
    assert enlarge(face) is face
    assert enlarge(face[:64, :64].copy()).shape == (SIDE, SIDE, 3)
