from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cameo.faces.checks import check
from cameo.faces.framing import Framed, Framer, asis
from tests.faces import astronaut

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module", params=[64, 128])
def framed(request: pytest.FixtureRequest) -> Framed:
    return Framer().auto(astronaut(), request.param)


def codes(portrait: Pixels, likeness: float | None = None) -> list[str]:
    return [code for code, _ in check(asis(portrait, len(portrait)), likeness)]


def test_a_clean_portrait(framed: Framed) -> None:
    assert check(framed, 0.9) == check(framed, None) == ()


def test_a_blurred_one(framed: Framed) -> None:
    assert codes(np.asarray(cv2.GaussianBlur(framed.portrait, (0, 0), len(framed.portrait) / 32), np.uint8)) == [
        "blurred"
    ]


def test_a_dark_one(framed: Framed) -> None:
    assert codes((framed.portrait * 0.12).astype(np.uint8)) == ["dark"]
    assert codes((framed.portrait * 0.5).astype(np.uint8)) == []


def test_a_negative(framed: Framed) -> None:
    assert codes(255 - framed.portrait) == ["negative"]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_grey_is_no_reason_to_fail(level: int) -> None:
    assert codes(np.full((128, 128, 3), level, np.uint8)) == ["blurred" if level else "dark"]


def test_a_turned_photo(framed: Framed) -> None:
    (doubt,) = check(replace(framed, turned=180), None)
    assert doubt.code == "turned"
    assert "180 degrees" in doubt.detail


def test_another_person(framed: Framed) -> None:
    (doubt,) = check(framed, 0.2)
    assert doubt.code == "unlike"
    assert "0.20" in doubt.detail
    assert "0.363" in doubt.detail
