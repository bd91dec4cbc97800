"""``POST /interpolate`` and ``GET /sample``, over HTTP."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import PHOTO, pixels
from tests.service.server import problem


@pytest.fixture
def ends(api: httpx.Client, payload: bytes) -> dict[str, str]:
    """Two faces, as the body of a request."""
    other = api.post("/compress", content=PHOTO, params={"frame": "asis"}, headers=TAKE_PAYLOAD).content
    return {"a": base64.b64encode(payload).decode(), "b": base64.b64encode(other).decode()}


def test_a_walk_is_a_strip_that_ends_at_both_faces(api: httpx.Client, ends: dict[str, str]) -> None:
    answer = api.post("/interpolate", json=ends, params={"steps": 5})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    strip = pixels(answer.content)
    assert strip.shape == (64, 5 * 64, 3)
    for end, drawn in zip(("a", "b"), (strip[:, :64], strip[:, -64:]), strict=True):
        np.testing.assert_array_equal(drawn, pixels(api.post("/reconstruct", json={"payload": ends[end]}).content))
    assert 'name="tiny-vae"' in answer.headers["Cameo-Model"]


def test_samples_are_a_strip(api: httpx.Client) -> None:
    answer = api.get("/sample", params={"seed": 7, "count": 3})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    assert pixels(answer.content).shape == (64, 3 * 64, 3)
    assert api.get("/sample", params={"seed": 7, "count": 3}).content == answer.content
    assert api.get("/sample", params={"seed": 8, "count": 3}).content != answer.content


@pytest.mark.parametrize(
    "query", [{"count": 17}, {"count": 0}, {"seed": -1}, {"seed": 2**32}, {"model": "tiny-vqvae"}, {"steps": 3}]
)
def test_what_cannot_be_sampled(api: httpx.Client, query: dict[str, Any]) -> None:
    problem(api.get("/sample", params=query), "invalid-parameter", 422)


def test_a_model_that_is_not_there(api: httpx.Client) -> None:
    problem(api.get("/sample", params={"model": "nobody"}), "unknown-model", 404)


def test_what_cannot_be_interpolated(api: httpx.Client, ends: dict[str, str]) -> None:
    other = api.post("/compress", content=PHOTO, params={"model": "tiny-vqvae"}, headers=TAKE_PAYLOAD).content
    text = base64.b64encode(other).decode()
    problem(api.post("/interpolate", json=ends, params={"steps": 1}), "invalid-parameter", 422)
    problem(api.post("/interpolate", json={"a": ends["a"]}), "invalid-parameter", 422)
    problem(api.post("/interpolate", json=ends | {"b": "***"}), "invalid-parameter", 422)
    problem(api.post("/interpolate", json=ends | {"b": text}), "invalid-parameter", 422)
    assert (
        "no VAE" in problem(api.post("/interpolate", json={"a": text, "b": text}), "invalid-parameter", 422)["detail"]
    )
    problem(
        api.post("/interpolate", content=b"x", headers={"Content-Type": "text/plain"}), "unsupported-media-type", 415
    )
