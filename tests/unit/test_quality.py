from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.portrait import Framer
from app.quality import SIDE, IdentityJudge, enlarge, installed_judge, ms_ssim, psnr
from tests.faces import astronaut

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face() -> Pixels:
    return Framer().auto(astronaut(), SIDE).portrait


@pytest.fixture(scope="module")
def judge() -> IdentityJudge:
    weights = installed_judge()
    assert weights is not None
    return IdentityJudge(weights)


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


def test_the_judge_knows_a_face_again(judge: IdentityJudge, face: Pixels) -> None:
    assert judge.similarity(face, face) == pytest.approx(1, abs=1e-5)
    assert judge.similarity(face, noisy(face, 8)) > 0.8
    assert judge.similarity(face, enlarge(np.asarray(cv2.resize(face, (64, 64)), np.uint8))) > 0.8
    assert judge.similarity(face, face[::-1].copy()) < 0.5
    assert judge.similarity(face, np.full_like(face, 128)) < 0.5


def test_a_judge_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "judge.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ValueError, match="CAMEO_JUDGE"):
        IdentityJudge(path)


def test_enlarging_leaves_the_right_size_alone(face: Pixels) -> None:
    assert enlarge(face) is face
    assert enlarge(face[:64, :64].copy()).shape == (SIDE, SIDE, 3)


def test_both_ways_to_run_the_judge_agree(monkeypatch: pytest.MonkeyPatch, judge: IdentityJudge, face: Pixels) -> None:
    weights = installed_judge()
    assert weights is not None
    monkeypatch.setattr("app.graphs.installed", lambda: False)
    np.testing.assert_allclose(IdentityJudge(weights).embed(face), judge.embed(face), atol=1e-4)
