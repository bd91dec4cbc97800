from pathlib import Path

import cv2
import numpy as np
import pytest

from cameo.faces.framing import Framer
from cameo.faces.judge import IdentityJudge, installed_judge
from cameo.faces.template import ARCFACE, EYE_DISTANCE, EYE_LINE
from cameo.pictures.quality import SIDE, enlarge
from tests.faces import astronaut
from tests.unit.pictures.test_quality import Pixels, noisy


@pytest.fixture(scope="module")
def face() -> Pixels:
    return Framer().auto(astronaut(), SIDE).portrait


@pytest.fixture(scope="module")
def judge() -> IdentityJudge:
    weights = installed_judge()
    assert weights is not None
    return IdentityJudge(weights)


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


def test_opencv_runs_the_network_to_the_same_end(judge: IdentityJudge, face: Pixels) -> None:
    weights = installed_judge()
    assert weights is not None
    scale = EYE_DISTANCE * SIDE / np.linalg.norm(ARCFACE[1] - ARCFACE[0])
    middle = ARCFACE[:2].mean(0)
    to_crop = np.array(
        [[1 / scale, 0, middle[0] - 0.5 * SIDE / scale], [0, 1 / scale, middle[1] - EYE_LINE * SIDE / scale]]
    )
    crop = cv2.warpAffine(face, to_crop, (112, 112), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    net = cv2.dnn.readNetFromONNX(str(weights))
    net.setInput(crop.astype(np.float32).transpose(2, 0, 1)[None], "data")
    found = net.forward()[0]
    np.testing.assert_allclose(judge.embed(face), found / np.linalg.norm(found), atol=1e-4)
