"""What ``/reconstruct`` and ``/shorten`` make of payloads and tokens, good and bad."""

import base64
import copy
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cameo import codec
from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import PHOTO, pixels
from tests.service.server import problem

BINARY = {"Content-Type": "application/vnd.cameo"}
BYTES = {"tiny-vae": 16, "tiny-vqvae": 20}


def draw(api: httpx.Client, payload: bytes, **headers: str) -> httpx.Response:
    return api.post("/reconstruct", content=payload, headers=BINARY | headers)


def draw_tokens(api: httpx.Client, tokens: Any, model: str = "tiny-vqvae", **more: Any) -> httpx.Response:
    return api.post("/reconstruct", json={"model": model, "tokens": tokens, **more})


def drawn(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture(scope="module")
def indices(server: Any) -> Any:
    answer = server.client.post(
        "/compress", content=PHOTO, params={"model": "tiny-vqvae"}, headers={"Content-Type": "image/png"}
    )
    return answer.json()["tokens"]["indices"]


@pytest.mark.parametrize("model", BYTES)
def test_payload_and_tokens_draw_the_same_picture(api: httpx.Client, model: str) -> None:
    face = api.post("/compress", files={"image": PHOTO}, params={"model": model}).json()
    payload = base64.b64decode(face["payload"])
    assert len(payload) == face["sizes"]["payload"] == BYTES[model]
    picture = drawn(draw(api, payload))
    side = {"tiny-vae": 64, "tiny-vqvae": 128}[model]
    assert pixels(picture).shape == (side, side, 3)
    assert drawn(api.post("/reconstruct", json={"payload": face["payload"]})) == picture
    assert drawn(draw_tokens(api, face["tokens"], model)) == picture
    assert drawn(draw_tokens(api, face["tokens"]["indices"], model, version=face["version"])) == picture


def test_different_faces_differ(api: httpx.Client, payload: bytes) -> None:
    """The tiny models are random, but they are not constant: equal pictures elsewhere mean something."""
    other = api.post("/compress", content=PHOTO, params={"frame": "asis"}, headers=TAKE_PAYLOAD).content
    assert other != payload
    assert drawn(draw(api, other)) != drawn(draw(api, payload))


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/png"),
        ("", "image/png"),
        ("image/*", "image/png"),
        ("image/webp", "image/webp"),
        ("image/jpeg", "image/jpeg"),
        ("image/png;q=0.5, image/webp", "image/webp"),
        ("image/jpeg;q=0.9, image/webp;q=0.8, */*;q=0.1", "image/jpeg"),
        ("text/html, image/avif, image/webp;q=0.2, */*;q=0.1", "image/webp"),
    ],
)
def test_the_picture_has_the_type_that_is_liked_best(api: httpx.Client, payload: bytes, accept: str, kind: str) -> None:
    answer = draw(api, payload, Accept=accept)
    assert answer.headers["Content-Type"] == kind
    exact = pixels(drawn(draw(api, payload))).astype(int)
    assert np.abs(pixels(drawn(answer)) - exact).mean() < 4


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "image/png;q=0", "application/json", "nonsense"])
def test_a_type_that_cannot_be_had(api: httpx.Client, payload: bytes, accept: str) -> None:
    assert "image/png" in problem(draw(api, payload, Accept=accept), "not-acceptable", 406)["offered"]


def test_nothing(api: httpx.Client) -> None:
    problem(draw(api, b""), "empty-payload", 400)
    problem(api.post("/reconstruct", json={"payload": ""}), "empty-payload", 400)


@pytest.mark.parametrize("size", range(1, BYTES["tiny-vae"]))
def test_a_payload_cut_short(api: httpx.Client, payload: bytes, size: int) -> None:
    cut = payload[:size]
    # What is left ends in its own checksum once in 256 times; then its length tells.
    known = size < codec.OVERHEAD or codec.crc8(cut[:-1]) == cut[-1]
    problem(draw(api, cut), "truncated-payload" if known else "damaged-payload", 400)


def test_a_sound_payload_with_too_few_tokens(api: httpx.Client, payload: bytes) -> None:
    whole = codec.unwrap(payload)
    short = codec.wrap(codec.Payload(whole.coding, whole.tag, whole.body[:-1]))
    problem(draw(api, short), "truncated-payload", 400)


@pytest.mark.parametrize("position", range(BYTES["tiny-vae"]))
def test_one_damaged_byte(api: httpx.Client, payload: bytes, position: int) -> None:
    for mask in (0x01, 0x10, 0x80, 0xFF):
        damaged = bytearray(payload)
        damaged[position] ^= mask
        problem(draw(api, bytes(damaged)), "damaged-payload", 400)


def test_a_payload_with_more_after_it(api: httpx.Client, payload: bytes) -> None:
    problem(draw(api, payload + b"\0"), "damaged-payload", 400)
    whole = codec.unwrap(payload)
    long = codec.wrap(codec.Payload(whole.coding, whole.tag, whole.body + b"\0"))
    problem(draw(api, long), "overlong-payload", 400)


def test_a_payload_far_too_long_is_not_read_to_its_end(api: httpx.Client, payload: bytes) -> None:
    assert problem(draw(api, payload + bytes(2**20)), "overlong-payload", 400)["limit"] == 2**16


def test_another_file(api: httpx.Client) -> None:
    problem(draw(api, PHOTO[:1000]), "foreign-payload", 400)


def test_a_format_from_the_future(api: httpx.Client, payload: bytes) -> None:
    future = bytes([0x20]) + payload[1:-1]
    problem(draw(api, future + bytes([codec.crc8(future)])), "foreign-payload", 400)


def test_an_unknown_tag(api: httpx.Client, payload: bytes) -> None:
    whole = codec.unwrap(payload)
    tag = bytes(byte ^ 0xFF for byte in whole.tag)
    body = problem(draw(api, codec.wrap(codec.Payload(whole.coding, tag, whole.body))), "unknown-tag", 422)
    assert body["tag"] == tag.hex()
    assert body["known"][whole.tag.hex()] == "tiny-vae/1"


@pytest.mark.parametrize("text", ["?", "AAAAA", "AA===", "é", "====", "QUJD QUJD", "QU=JD", "QUJD\x00"])
@pytest.mark.parametrize("address", ["/reconstruct", "/shorten?max_bytes=100"])
def test_base64_that_is_none(api: httpx.Client, address: str, text: str) -> None:
    problem(api.post(address, json={"payload": text}), "invalid-parameter", 422)


@pytest.mark.parametrize("shape", [(), (0,), (31,), (33,), (1, 32), (8, 4), (32, 1), (32, 0)])
def test_tokens_of_another_shape(api: httpx.Client, shape: tuple[int, ...]) -> None:
    tokens = np.zeros(shape, int).tolist()
    if shape == ():
        problem(draw_tokens(api, tokens), "invalid-parameter", 422)
        return
    body = problem(draw_tokens(api, tokens), "wrong-token-shape", 422)
    assert body["expected"] == [32]


def test_ragged_tokens(api: httpx.Client) -> None:
    problem(draw_tokens(api, [[1, 2], [3]] * 8), "wrong-token-shape", 422)
    problem(draw_tokens(api, [[1, 2], [3]] * 16), "token-out-of-range", 422)
    problem(draw_tokens(api, [1] * 31 + [[1]]), "token-out-of-range", 422)


def test_tokens_nested_without_end(api: httpx.Client) -> None:
    tokens: list[Any] = [0]
    for _ in range(150):
        tokens = [tokens]
    problem(draw_tokens(api, tokens), "wrong-token-shape", 422)


@pytest.mark.parametrize("value", [-1, 16, 2**31, 2**63, 2**64, -(2**63) - 1, 10**50])
def test_tokens_outside_their_codebook(api: httpx.Client, indices: list[int], value: int) -> None:
    tokens = copy.copy(indices)
    tokens[7] = value
    body = problem(draw_tokens(api, tokens), "token-out-of-range", 422)
    assert (body["position"], body["value"], body["limit"]) == ([7], value, 15)


@pytest.mark.parametrize("value", [1.0, 0.5, 1e300, True, False, None, "1", "", {}, []], ids=repr)
def test_tokens_that_are_no_whole_numbers(api: httpx.Client, indices: list[Any], value: object) -> None:
    tokens = [*indices[:31], value]
    problem(draw_tokens(api, tokens), "token-out-of-range", 422)


def test_both_payload_and_tokens_or_neither(api: httpx.Client, indices: list[int]) -> None:
    problem(draw_tokens(api, indices, payload="AAAA"), "invalid-parameter", 422)
    problem(api.post("/reconstruct", json={"model": "tiny-vae"}), "invalid-parameter", 422)
    problem(api.post("/reconstruct", json={}), "invalid-parameter", 422)


def test_tokens_of_no_model(api: httpx.Client, indices: list[int]) -> None:
    assert problem(api.post("/reconstruct", json={"tokens": indices}), "invalid-parameter", 422)["parameter"] == "model"


def test_tokens_of_an_unknown_model_or_version(api: httpx.Client, indices: list[int]) -> None:
    problem(draw_tokens(api, indices, model="nobody"), "unknown-model", 404)
    problem(draw_tokens(api, indices, version=9), "unknown-version", 404)
    problem(draw_tokens(api, indices, version=0), "invalid-parameter", 422)


def test_old_payloads_are_drawn_by_the_version_that_made_them(api: httpx.Client, tiny_store: Path) -> None:
    faces = [api.post("/compress", files={"image": PHOTO}, params={"version": n}).json() for n in (1, 2)]
    assert [face["version"] for face in faces] == [1, 2]
    for face in faces:
        answer = api.post("/reconstruct", json={"payload": face["payload"]})
        assert f"version={face['version']}" in answer.headers["Cameo-Model"]
        assert face["digest"] in answer.headers["Cameo-Model"]
        assert drawn(answer) == drawn(draw_tokens(api, face["tokens"], "tiny-vae", version=face["version"]))


def shorten(api: httpx.Client, payload: bytes, max_bytes: object, **headers: str) -> httpx.Response:
    return api.post("/shorten", content=payload, params={"max_bytes": str(max_bytes)}, headers=BINARY | headers)


@pytest.mark.parametrize("max_bytes", [16, 17, 10**9])
def test_what_is_short_enough_comes_back_as_it_is(api: httpx.Client, payload: bytes, max_bytes: int) -> None:
    answer = shorten(api, payload, max_bytes)
    assert answer.json() == {
        "model": "tiny-vae", "version": 1, "payload": base64.b64encode(payload).decode(), "bytes": 16,
    }  # fmt: skip
    assert shorten(api, payload, max_bytes, Accept="application/vnd.cameo").content == payload
    text = {"payload": base64.b64encode(payload).decode()}
    assert api.post("/shorten", json=text, params={"max_bytes": max_bytes}).json() == answer.json()


def test_what_cannot_be_shorter(api: httpx.Client, payload: bytes) -> None:
    assert problem(shorten(api, payload, 15), "budget-too-small", 422)["least"] == 16
    problem(shorten(api, payload[:-1], 15), "damaged-payload", 400)


@pytest.mark.parametrize("max_bytes", ["0", "-1", "", "many", "1.5"])
def test_a_budget_that_is_none(api: httpx.Client, payload: bytes, max_bytes: str) -> None:
    assert problem(shorten(api, payload, max_bytes), "invalid-parameter", 422)["parameter"] == "query.max_bytes"
