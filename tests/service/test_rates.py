"""A model with several rates: any budget, payloads that become shorter without the photo, coarser faces."""

import base64
import io
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cameo import codec
from cameo.cards import bare_qr
from tests.service.pictures import PHOTO, pixels
from tests.service.server import Server, problem, serve
from tests.tiny import PROGRESSIVE_DEFAULT, PROGRESSIVE_RATES

MODEL = "tiny-progressive"
LEAST, MOST = PROGRESSIVE_RATES[0], PROGRESSIVE_RATES[-1]
ALL = 2400  # tokens
PICTURE, BINARY = {"Content-Type": "image/png"}, {"Content-Type": "application/vnd.cameo"}
TAKE_BINARY = {"Accept": "application/vnd.cameo"}


def compress(api: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = api.post("/compress", content=PHOTO, params={"model": MODEL, **query}, headers=PICTURE)
    assert answer.status_code == 200, answer.text
    face: dict[str, Any] = answer.json()
    return face


def payload_of(api: httpx.Client, max_bytes: int) -> bytes:
    query: dict[str, Any] = {"model": MODEL, "max_bytes": max_bytes}
    answer = api.post("/compress", content=PHOTO, params=query, headers=PICTURE | TAKE_BINARY)
    assert answer.status_code == 200, answer.text
    return answer.content


def shorten(api: httpx.Client, payload: bytes, max_bytes: int) -> httpx.Response:
    return api.post("/shorten", content=payload, params={"max_bytes": max_bytes}, headers=BINARY | TAKE_BINARY)


def draw(api: httpx.Client, payload: bytes) -> httpx.Response:
    return api.post("/reconstruct", content=payload, headers=BINARY)


def draw_tokens(api: httpx.Client, tokens: Any) -> httpx.Response:
    return api.post("/reconstruct", json={"model": MODEL, "tokens": tokens})


@pytest.fixture(scope="module")
def finest(server: Server) -> bytes:
    return payload_of(server.client, MOST)


@pytest.fixture(scope="module")
def coarse(server: Server) -> bytes:
    return payload_of(server.client, 96)


@pytest.mark.parametrize("max_bytes", [LEAST, 33, 47, 96, 259, MOST])
def test_a_payload_fills_its_budget_and_never_exceeds_it(api: httpx.Client, max_bytes: int) -> None:
    face = compress(api, max_bytes=max_bytes)
    size = len(base64.b64decode(face["payload"]))
    assert max_bytes - 2 <= size == face["sizes"]["payload"] <= max_bytes


def test_a_larger_budget_than_the_last_rate_gives_the_last_rate(api: httpx.Client, finest: bytes) -> None:
    assert payload_of(api, MOST + 1) == payload_of(api, 10**9) == finest


def test_without_a_budget_the_default_rate_is_taken(api: httpx.Client) -> None:
    assert compress(api) == compress(api, max_bytes=PROGRESSIVE_DEFAULT)


def test_a_search_gives_another_payload_for_the_same_budget(api: httpx.Client, coarse: bytes) -> None:
    found = [compress(api, max_bytes=96, effort="best") for _ in range(2)]
    assert found[0] == found[1]
    payload = base64.b64decode(found[0]["payload"])
    assert len(coarse) - 2 <= len(payload) <= 96
    assert payload != coarse
    assert draw(api, payload).content != draw(api, coarse).content
    assert draw(api, payload).content == draw_tokens(api, found[0]["tokens"]["indices"]).content
    query: dict[str, Any] = {"model": MODEL, "max_bytes": 96, "effort": "best"}
    lines = api.post("/compress/batch", files={"image": PHOTO}, params=query).text.splitlines()
    assert json.loads(lines[0])["payload"] == found[0]["payload"]


def test_a_service_searches_unless_it_is_told_otherwise(tiny_store: Path, tmp_path: Path, coarse: bytes) -> None:
    with serve(tmp_path / "log", store=tiny_store, workers=1) as server:
        own = server.client
        ready = own.get("/readyz").json()
        assert ready["effort"] == "good"
        assert ready["effort_reason"].startswith("the default")
        found = compress(own, max_bytes=96)
        assert found["effort"] == "good"
        assert found == compress(own, max_bytes=96, effort="good")
        assert base64.b64decode(compress(own, max_bytes=96, effort="fast")["payload"]) == coarse
        query: dict[str, Any] = {"model": MODEL, "max_bytes": 96}
        headers = PICTURE | {"Accept": "application/vnd.cameo"}
        assert own.post("/compress", content=PHOTO, params=query, headers=headers).headers["Cameo-Effort"] == "good"
        assert compress(own, model="tiny-vae")["effort"] == "fast"
        lines = own.post("/compress/batch", files={"image": PHOTO}, params=query).text.splitlines()
        assert base64.b64decode(json.loads(lines[0])["payload"]) == coarse


def test_a_service_may_search_harder_for_all_who_do_not_decline(
    tiny_store: Path, tmp_path: Path, coarse: bytes
) -> None:
    with serve(tmp_path / "log", store=tiny_store, workers=1, effort="best") as server:
        own = server.client
        assert compress(own, max_bytes=96) == compress(own, max_bytes=96, effort="best")
        assert base64.b64decode(compress(own, max_bytes=96, effort="fast")["payload"]) == coarse
        assert compress(own, model="tiny-vae")["model"] == "tiny-vae"
        query: dict[str, Any] = {"model": MODEL, "max_bytes": 96}
        lines = own.post("/compress/batch", files={"image": PHOTO}, params=query).text.splitlines()
        assert json.loads(lines[0])["payload"] == compress(own, max_bytes=96)["payload"]


def test_compare_shows_what_compress_gives(api: httpx.Client) -> None:
    for effort in ("fast", "good"):
        query: dict[str, Any] = {"models": MODEL, "codecs": "", "max_bytes": 96, "effort": effort, "frame": "asis"}
        row = api.post("/compare", content=PHOTO, params=query, headers=PICTURE).json()["rows"][0]
        assert row["bytes"] == compress(api, max_bytes=96, effort=effort, frame="asis")["sizes"]["payload"]


def test_a_model_of_one_rate_has_no_search(api: httpx.Client) -> None:
    query = {"model": "tiny-vae", "effort": "best"}
    single = api.post("/compress", params=query, content=PHOTO, headers=PICTURE)
    batch = api.post("/compress/batch", params=query, files={"image": PHOTO})
    for answer in (single, batch):
        body = problem(answer, "invalid-parameter", 422)
        assert body["parameter"] == "effort"
        assert "tiny-vae has one" in body["detail"]


def test_below_the_least_rate_nothing_fits(api: httpx.Client) -> None:
    answer = api.post("/compress", content=PHOTO, params={"model": MODEL, "max_bytes": LEAST - 1}, headers=PICTURE)
    body = problem(answer, "budget-too-small", 422)
    assert (body["least"], body["max_bytes"]) == (LEAST, LEAST - 1)


def test_the_tokens_are_those_of_the_payload_and_the_first_of_more(api: httpx.Client) -> None:
    faces = [compress(api, max_bytes=rate) for rate in PROGRESSIVE_RATES]
    tokens = [face["tokens"]["indices"] for face in faces]
    counts = [len(indices) for indices in tokens]
    assert [face["tokens"]["shape"] for face in faces] == [[count] for count in counts]
    assert {face["tokens"]["codebook_size"] for face in faces} == {3}
    assert 0 < counts[0] < counts[1] < counts[2] < counts[3] < counts[4] < ALL
    for indices in tokens:
        assert indices == tokens[-1][: len(indices)]


def test_headers_count_the_tokens_of_the_payload(api: httpx.Client) -> None:
    query: dict[str, Any] = {"model": MODEL, "max_bytes": 50}
    answer = api.post("/compress", content=PHOTO, params=query, headers=PICTURE | TAKE_BINARY)
    (count,) = compress(api, max_bytes=50)["tokens"]["shape"]
    assert answer.headers["Cameo-Tokens"] == f"shape=({count}), codebook-size=3"


@pytest.mark.parametrize("max_bytes", [LEAST, 33, 48, 95, 96, 97, 200, MOST - 1])
def test_a_shortened_payload_is_that_of_the_photo(api: httpx.Client, finest: bytes, max_bytes: int) -> None:
    short = shorten(api, finest, max_bytes)
    assert short.status_code == 200
    assert short.headers["Content-Type"] == "application/vnd.cameo"
    again = payload_of(api, max_bytes)
    assert short.content == again
    assert len(again) <= max_bytes
    assert draw(api, short.content).content == draw(api, again).content


def test_shortening_by_steps_is_shortening_at_once(api: httpx.Client, finest: bytes) -> None:
    payload = finest
    for max_bytes in (300, 111, 64, LEAST):
        payload = shorten(api, payload, max_bytes).content
    assert payload == shorten(api, finest, LEAST).content


def test_shortening_takes_and_gives_json(api: httpx.Client, finest: bytes) -> None:
    text = base64.b64encode(finest).decode()
    answer = api.post("/shorten", json={"payload": text}, params={"max_bytes": 64})
    short = shorten(api, finest, 64).content
    assert answer.json() == {
        "model": MODEL, "version": 1, "payload": base64.b64encode(short).decode(), "bytes": len(short),
    }  # fmt: skip
    assert f'name="{MODEL}"' in answer.headers["Cameo-Model"]
    assert api.post("/shorten", json={"payload": text}, params={"max_bytes": 64}, headers=TAKE_BINARY).content == short


def test_what_is_short_enough_comes_back_as_it_is(api: httpx.Client, coarse: bytes) -> None:
    for max_bytes in (len(coarse), len(coarse) + 1, MOST, 10**9):
        assert shorten(api, coarse, max_bytes).content == coarse


def test_a_payload_comes_as_a_qr_code(api: httpx.Client, finest: bytes) -> None:
    answer = api.post(
        "/shorten", content=finest, params={"max_bytes": 48},
        headers={"Content-Type": "application/vnd.cameo", "Accept": "image/svg+xml"},
    )  # fmt: skip
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert answer.content == bare_qr(shorten(api, finest, 48).content)


def test_nothing_is_shortened_below_the_least_rate(api: httpx.Client, coarse: bytes) -> None:
    body = problem(shorten(api, coarse, LEAST - 1), "budget-too-small", 422)
    assert (body["least"], body["max_bytes"]) == (LEAST, LEAST - 1)


def test_what_is_below_the_least_rate_already_is_drawn_and_comes_back(api: httpx.Client, coarse: bytes) -> None:
    whole = codec.unwrap(coarse)
    for size in (1, 2, 9):
        tiny = codec.shorten(whole, codec.OVERHEAD + size)
        assert draw(api, tiny).status_code == 200
        assert shorten(api, tiny, len(tiny)).content == tiny


def test_fewer_bytes_draw_another_face(api: httpx.Client) -> None:
    drawn = [pixels(draw(api, payload_of(api, rate)).content).astype(int) for rate in PROGRESSIVE_RATES]
    assert {face.shape for face in drawn} == {(64, 64, 3)}
    assert all((a != b).any() for a, b in itertools.pairwise(drawn))


def test_payload_and_tokens_draw_the_same_picture(api: httpx.Client) -> None:
    face = compress(api, max_bytes=77)
    picture = draw(api, base64.b64decode(face["payload"]))
    assert picture.status_code == 200
    assert api.post("/reconstruct", json={"payload": face["payload"]}).content == picture.content
    for tokens in (face["tokens"], face["tokens"]["indices"]):
        assert draw_tokens(api, tokens).content == picture.content


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1000])
def test_any_first_tokens_are_a_face(api: httpx.Client, count: int) -> None:
    tokens = compress(api, max_bytes=MOST)["tokens"]["indices"][:count]
    assert draw_tokens(api, tokens).status_code == 200


def test_all_tokens_are_a_face_and_one_more_is_none(api: httpx.Client) -> None:
    assert draw_tokens(api, [0] * ALL).status_code == 200
    body = problem(draw_tokens(api, [0] * (ALL + 1)), "wrong-token-shape", 422)
    assert (body["shape"], body["expected"]) == ([ALL + 1], [ALL])
    assert f"[{ALL}] at most" in body["detail"]


@pytest.mark.parametrize("tokens", [[[0]], [[0, 1], [1, 0]], [[]]])
def test_tokens_of_a_face_are_a_list(api: httpx.Client, tokens: list[Any]) -> None:
    problem(draw_tokens(api, tokens), "wrong-token-shape", 422)


@pytest.mark.parametrize("value", [-1, 3, 2**64])
def test_a_token_outside_its_alphabet(api: httpx.Client, value: int) -> None:
    body = problem(draw_tokens(api, [0, 1, value, 0]), "token-out-of-range", 422)
    assert (body["position"], body["value"]) == ([2], value)


def test_a_refinement_is_no_two(api: httpx.Client) -> None:
    tokens = compress(api, max_bytes=MOST)["tokens"]["indices"]
    # The first latent is in every plane. The coarsest has the 160 even latents, the others all 320.
    began = [1, *[0] * 159, 2]
    body = problem(draw_tokens(api, [*began, *tokens[161:]]), "token-out-of-range", 422)
    assert (body["position"], body["value"]) == ([160], 2)
    assert "[160]" in body["detail"]
    assert draw_tokens(api, [*began[:-1], 1]).status_code == 200
    assert draw_tokens(api, [0, *began[1:]]).status_code == 200


@pytest.mark.parametrize("max_bytes", [LEAST, 96, MOST])
def test_every_cut_is_an_error(api: httpx.Client, max_bytes: int) -> None:
    payload = payload_of(api, max_bytes)
    for size in range(1, len(payload)):
        answer = draw(api, payload[:size])
        assert answer.status_code == 400, size
        assert answer.json()["type"].rpartition(":")[2] in ("truncated-payload", "damaged-payload")


def test_a_cut_payload_is_not_shortened(api: httpx.Client, coarse: bytes) -> None:
    for size in range(len(coarse)):
        assert shorten(api, coarse[:size], LEAST).status_code == 400, size


def test_every_damaged_byte_is_an_error(api: httpx.Client, coarse: bytes) -> None:
    for position in range(len(coarse)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(coarse)
            damaged[position] ^= mask
            problem(draw(api, bytes(damaged)), "damaged-payload", 400)


@pytest.mark.parametrize("size", [1, 5, 100, 316, 5000])
def test_any_bytes_are_some_face(api: httpx.Client, coarse: bytes, size: int) -> None:
    tag = codec.unwrap(coarse).tag
    for seed in range(3):
        body = np.random.default_rng(seed).bytes(size)
        payload = codec.wrap(codec.Payload(codec.Coding.PROGRESSIVE, tag, body))
        answer = draw(api, payload)
        assert answer.status_code == 200, answer.text
        assert pixels(answer.content).shape == (64, 64, 3)


def test_a_payload_coded_as_its_model_never_does(api: httpx.Client, coarse: bytes, payload: bytes) -> None:
    ours, fixed = codec.unwrap(coarse), codec.unwrap(payload)
    for coding, whole in ((codec.Coding.FIXED, ours), (codec.Coding.PROGRESSIVE, fixed)):
        wrong = codec.wrap(codec.Payload(coding, whole.tag, whole.body))
        problem(draw(api, wrong), "damaged-payload", 400)
        problem(shorten(api, wrong, 1000), "damaged-payload", 400)


def compare(api: httpx.Client, accept: str = "application/json", **query: Any) -> httpx.Response:
    answer = api.post("/compare", content=PHOTO, params=query, headers=PICTURE | {"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def test_compare_shows_several_rates(api: httpx.Client) -> None:
    rows = compare(api, models=f"{MODEL},tiny-vae", max_bytes="32, 96,96,9999", codecs="webp").json()["rows"]
    models = [row for row in rows if row["kind"] == "model"]
    assert [(row["name"], row["max_bytes"]) for row in models] == [
        (MODEL, 32), (MODEL, 96), (MODEL, MOST), ("tiny-vae", None),
    ]  # fmt: skip
    assert [row["kind"] for row in rows] == ["model", "codec"] * 4
    for model, rival in zip(rows[::2], rows[1::2], strict=True):
        assert (rival["beside"], rival["max_bytes"]) == (model["name"], model["bytes"])
        assert model["bytes"] <= (model["max_bytes"] or 16)


def test_compare_shows_the_default_rate(api: httpx.Client) -> None:
    (row,) = compare(api, models=MODEL, codecs="").json()["rows"]
    assert row["max_bytes"] == PROGRESSIVE_DEFAULT
    assert 0 <= PROGRESSIVE_DEFAULT - row["bytes"] <= 2


def test_a_sheet_has_a_line_for_each_rate(api: httpx.Client) -> None:
    def height(max_bytes: str) -> int:
        answer = compare(api, "image/png", models=MODEL, codecs="jpeg", max_bytes=max_bytes)
        with Image.open(io.BytesIO(answer.content)) as sheet:
            return sheet.size[1]

    one, two, three = height("32"), height("32,96"), height("32,96,320")
    assert three - two == two - one > 200


def test_a_payload_can_be_cut_without_the_service(finest: bytes, coarse: bytes) -> None:
    """And without the model: the frame is all that changes."""
    assert codec.shorten(codec.unwrap(finest), 96) == coarse
