"""How like the face is, and what is doubtful, in every answer of ``/compress``."""

import json
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFilter

from cameo.faces.framing import Framer
from cameo.faces.judge import IdentityJudge, installed_judge
from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import FACE, PHOTO, pixels, png

PICTURE = {"Content-Type": "image/png"}


def compress(api: httpx.Client, data: bytes = PHOTO, **query: Any) -> dict[str, Any]:
    answer = api.post("/compress", content=data, params=query, headers=PICTURE)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(found: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in found["warnings"] if warning["code"] != "unlike"]  # tiny models are bad


@pytest.mark.parametrize("query", [{}, {"model": "tiny-progressive", "effort": "good"}])
def test_likeness_is_that_of_what_the_payload_gives(api: httpx.Client, query: dict[str, Any]) -> None:
    found = compress(api, **query)
    drawn = pixels(api.post("/reconstruct", json={"payload": found["payload"]}).content)
    portrait = Framer().auto(np.asarray(FACE), len(drawn)).portrait
    weights = installed_judge()
    assert weights
    assert found["likeness"] == pytest.approx(IdentityJudge(weights).similarity(portrait, drawn), abs=0.002)
    assert ("unlike" in [each["code"] for each in found["warnings"]]) == (found["likeness"] < 0.363)


def test_the_payload_alone_has_both_in_headers(api: httpx.Client) -> None:
    found = compress(api, png(FACE.rotate(180)))
    answer = api.post("/compress", content=png(FACE.rotate(180)), headers=TAKE_PAYLOAD)
    assert float(answer.headers["Cameo-Likeness"]) == found["likeness"]
    assert answer.headers["Cameo-Warnings"].split(", ") == [each["code"] for each in found["warnings"]]
    assert codes(found) == ["turned"]


def test_likeness_can_be_left_out(api: httpx.Client) -> None:
    assert compress(api, likeness=False)["likeness"] is None
    answer = api.post("/compress", content=PHOTO, params={"likeness": False}, headers=TAKE_PAYLOAD)
    assert "Cameo-Likeness" not in answer.headers
    assert "Cameo-Warnings" not in answer.headers


def test_a_batch_says_it_where_it_is_asked_or_searches(api: httpx.Client) -> None:
    def line(**query: Any) -> dict[str, Any]:
        lines = api.post("/compress/batch", files={"image": PHOTO}, params=query).text.splitlines()
        found: dict[str, Any] = json.loads(lines[0])
        return found

    assert line()["likeness"] is None
    assert line(likeness=True)["likeness"] == compress(api)["likeness"]
    assert line(likeness=True)["warnings"] == compress(api)["warnings"]
    searched: dict[str, Any] = {"model": "tiny-progressive", "effort": "good"}
    assert line(**searched)["likeness"] == compress(api, **searched)["likeness"]
    assert line(**searched, likeness=False)["likeness"] is None


def test_what_is_hopeless_gets_a_warning(api: httpx.Client) -> None:
    portrait = Framer().auto(np.asarray(FACE), 128).portrait
    negative = compress(api, png(Image.fromarray(255 - portrait)), frame="asis")
    assert codes(negative) == ["negative"]
    assert codes(compress(api, png(FACE.filter(ImageFilter.GaussianBlur(7))))) == ["blurred"]
    assert codes(compress(api, png(Image.fromarray(np.asarray(FACE) // 8)))) == ["dark"]
    assert all(each["detail"].endswith(".") for each in negative["warnings"])


def test_a_clean_photo_gets_none(api: httpx.Client) -> None:
    assert codes(compress(api)) == []
