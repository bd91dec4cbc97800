"""``POST /verify``: photos against payloads, over HTTP."""

import base64
from typing import Any

import httpx
import pytest

from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import PHOTO, landscape, png
from tests.service.server import problem


def verify(api: httpx.Client, payload: bytes, photo: bytes = PHOTO, **query: Any) -> httpx.Response:
    return api.post("/verify", files={"image": photo, "payload": payload}, params=query)


def test_a_photo_is_scored_and_decided(api: httpx.Client, payload: bytes) -> None:
    found = verify(api, payload)
    assert found.status_code == 200, found.text
    body = found.json()
    assert (body["model"], body["version"], body["bytes"]) == ("tiny-vae", 1, len(payload))
    assert (body["threshold"], body["fmr"]) == (0.5, 0.001)
    assert body["match"] == (body["score"] >= body["threshold"])
    assert body["recogniser"]["name"] == "face_recognition_sface_2021dec_int8bq"
    assert len(body["recogniser"]["sha256"]) == 64
    assert body["frame"]["method"] == "auto"
    assert found.headers["Cameo-Model"].endswith(f'digest="{body["digest"]}"')
    assert verify(api, payload, fmr=0.01).json()["match"] is True
    assert verify(api, payload, fmr=0.0001).json()["match"] is False


def test_a_payload_comes_as_a_file_or_in_base64(api: httpx.Client, payload: bytes) -> None:
    as_file = verify(api, payload + b"\n").json()
    text = {"payload": base64.urlsafe_b64encode(payload).decode()}
    assert api.post("/verify", files={"image": PHOTO}, data=text).json() == as_file


@pytest.mark.parametrize(
    ("fields", "type_"),
    [
        ({"image": PHOTO}, "payload-field-missing"),
        ({"payload": b"x"}, "image-field-missing"),
        ({"image": PHOTO, "payload": b"x", "face": b"y"}, "invalid-parameter"),
    ],
)
def test_a_form_without_both_fields(api: httpx.Client, fields: dict[str, bytes], type_: str) -> None:
    problem(api.post("/verify", files=fields), type_, 422)


def test_two_payloads(api: httpx.Client, payload: bytes) -> None:
    files = [("image", PHOTO), ("payload", payload), ("payload", payload)]
    assert problem(api.post("/verify", files=files), "payload-field-missing", 422)["count"] == 2


def test_what_cannot_be_verified_is_said(api: httpx.Client, payload: bytes) -> None:
    problem(verify(api, payload, png(landscape())), "no-face", 422)
    problem(verify(api, payload, b"no picture"), "not-an-image", 400)
    problem(verify(api, payload[:-1]), "damaged-payload", 400)
    problem(verify(api, b""), "empty-payload", 400)
    problem(verify(api, payload, fmr=2), "invalid-parameter", 422)
    assert problem(verify(api, payload, fmr=0.5), "invalid-parameter", 422)["allowed"] == [0.01, 0.001, 0.0001]
    problem(verify(api, payload, model="tiny-vae"), "invalid-parameter", 422)
    problem(api.post("/verify", content=PHOTO, headers={"Content-Type": "image/png"}), "unsupported-media-type", 415)


def test_a_version_without_thresholds_gives_no_decision(api: httpx.Client) -> None:
    other = api.post("/compress", content=PHOTO, params={"model": "tiny-vqvae"}, headers=TAKE_PAYLOAD).content
    said = problem(verify(api, other), "not-calibrated", 422)
    assert "tiny-vqvae/1 has no verification.json" in said["detail"]
    assert "calibrate-verification" in said["detail"]
