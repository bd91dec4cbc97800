import numpy as np
import pytest

from cameo.faces.framing import asis
from cameo.pictures.quality import enlarge, psnr
from tests.faces import astronaut
from training.evaluation.contenders import Pixels
from training.evaluation.rivals import CARD_CODECS, OnCard, Template, jpeg2000, lloyd


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    return asis(astronaut()[20:220, 120:320], 128).portrait


@pytest.mark.parametrize("codec", CARD_CODECS)
def test_a_codec_fits_on_a_card_at_its_side(codec: str, portrait: Pixels) -> None:
    found = []
    for budget in (600, 1024):
        rival = OnCard(codec, budget, 64)
        (coded,) = rival.code([portrait])
        assert coded.size == len(coded.data) <= budget
        (picture,) = rival.show([coded.data])
        assert picture.shape == (64, 64, 3)
        found.append(psnr(portrait, enlarge(picture)))
    assert found[0] < found[1]


def test_jpeg_2000_uses_its_bytes_and_names_nobody(portrait: Pixels) -> None:
    data = jpeg2000(portrait, 64, 512)
    assert 460 < len(data) <= 512
    assert b"OpenJPEG" not in data


def embeddings(count: int, seed: int) -> np.ndarray:
    spread_K = 1 / (1 + np.arange(16))
    vector_MK = np.random.default_rng(seed).normal(size=(count, 16)) * spread_K + 0.2
    return np.asarray(vector_MK / np.linalg.norm(vector_MK, axis=1, keepdims=True))


def test_a_template_has_its_bytes_and_comes_back_nearer_with_more() -> None:
    fit_MD, others_ND = embeddings(400, 0), embeddings(50, 1)
    cosines = []
    for size in (2, 4, 8):
        template = Template.fit(fit_MD, size)
        assert template.bits_K.sum() == 8 * size
        stored = [template.code(vector_D) for vector_D in others_ND]
        assert {len(data) for data in stored} == {size}
        shown_ND = np.stack([template.show(data) for data in stored])
        assert np.linalg.norm(shown_ND, axis=1) == pytest.approx(1)
        cosines.append(float((shown_ND * others_ND).sum(1).mean()))
    assert cosines[0] < cosines[1] < cosines[2]
    assert cosines[2] > 0.98


def test_lloyds_levels_lie_in_the_middle_of_what_is_nearest_to_them() -> None:
    values_M = np.random.default_rng(0).normal(size=5000)
    level_L = lloyd(values_M, 4)
    # Of the normal distribution: Max 1960, table I.
    assert level_L == pytest.approx([-1.51, -0.453, 0.453, 1.51], abs=0.08)
