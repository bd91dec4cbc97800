"""What the service says when all is well, and how it says no to parameters."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import PHOTO
from tests.service.server import problem

UPLOAD = {"Content-Type": "image/png"}


def compress(api: httpx.Client, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
    return api.post("/compress", content=PHOTO, params=query, headers=UPLOAD | (headers or {}))


def dictionary(header: str) -> dict[str, Any]:
    """A Structured Fields dictionary of numbers, strings, words and inner lists of numbers."""
    pairs = re.findall(r"([a-z-]+)=(?:\"([^\"]*)\"|\(([^)]*)\)|([^,]+))", header)
    assert ", ".join(re.findall(r"[a-z-]+=(?:\"[^\"]*\"|\([^)]*\)|[^, ]+)", header)) == header
    return {
        key.replace("-", "_"): [float(v) for v in inner.split()] if inner else text or json.loads(bare)
        for key, text, inner, bare in pairs
    }


def test_json_has_all_the_facts(api: httpx.Client, tiny_store: Path) -> None:
    face = compress(api).json()
    digest = hashlib.sha256((tiny_store / "tiny-vae/1/manifest.json").read_bytes()).hexdigest()
    assert (face["model"], face["version"], face["digest"]) == ("tiny-vae", 1, digest)
    assert face["tokens"]["shape"] == [len(face["tokens"]["indices"])] == [24]
    assert face["sizes"] == {
        "upload": len(PHOTO), "portrait": 3 * 64 * 64, "payload": 16, "ratio": 768.0, "bits_per_pixel": 0.0312,
    }  # fmt: skip
    assert face["frame"]["method"] == "auto"
    assert len(face["frame"]["landmarks"]) == 5
    x, y, width, height = face["frame"]["box"]
    left, right = face["frame"]["landmarks"][:2]
    assert x < left[0] < right[0] < x + width
    assert y < left[1] < y + height
    assert base64.b64decode(face["payload"])[1:3].hex() == digest[:4]


def test_the_payload_alone_has_the_same_facts_in_headers(api: httpx.Client) -> None:
    face = compress(api).json()
    answer = api.post("/compress", content=PHOTO, headers=TAKE_PAYLOAD)
    assert answer.headers["Content-Type"] == "application/vnd.cameo"
    assert answer.content == base64.b64decode(face["payload"])
    assert dictionary(answer.headers["Cameo-Sizes"]) == face["sizes"]
    model = dictionary(answer.headers["Cameo-Model"])
    assert model == {"name": face["model"], "version": face["version"], "digest": face["digest"]}
    tokens = dictionary(answer.headers["Cameo-Tokens"])
    assert tokens == {k: v for k, v in face["tokens"].items() if k != "indices" and v is not None}
    frame = dictionary(answer.headers["Cameo-Frame"])
    assert frame == face["frame"] | {"landmarks": [v for point in face["frame"]["landmarks"] for v in point]}


def test_the_model_is_named_in_a_header(api: httpx.Client) -> None:
    face = compress(api, model="tiny-vqvae")
    assert dictionary(face.headers["Cameo-Model"])["name"] == "tiny-vqvae"
    drawn = api.post("/reconstruct", json={"payload": face.json()["payload"]})
    assert drawn.headers["Cameo-Model"] == face.headers["Cameo-Model"]


def test_the_store_says_what_is_served_by_default(api: httpx.Client) -> None:
    chosen = compress(api).json()
    assert (chosen["model"], chosen["version"]) == ("tiny-vae", 1)
    assert compress(api, model="tiny-vae").json() == chosen
    assert compress(api, version=2).json()["version"] == 2


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/vnd.cameo", "application/vnd.cameo"),
        ("application/json;q=0.1, application/vnd.cameo;q=0.2", "application/vnd.cameo"),
        ("application/vnd.cameo;q=0, */*", "application/json"),
    ],
)
def test_negotiation(api: httpx.Client, accept: str, kind: str) -> None:
    assert compress(api, {"Accept": accept}).headers["Content-Type"] == kind


def test_not_acceptable(api: httpx.Client) -> None:
    assert problem(compress(api, {"Accept": "text/html"}), "not-acceptable", 406)["accept"] == "text/html"


@pytest.mark.parametrize(
    ("query", "kind", "status"),
    [
        ({"model": "nobody"}, "unknown-model", 404),
        ({"model": "x" * 101}, "invalid-parameter", 422),
        ({"version": 9}, "unknown-version", 404),
        ({"version": 10**30}, "unknown-version", 404),
        ({"version": 0}, "invalid-parameter", 422),
        ({"version": "one"}, "invalid-parameter", 422),
        ({"frame": "both"}, "invalid-parameter", 422),
        ({"max_bytes": 0}, "invalid-parameter", 422),
    ],
)
def test_wrong_parameters(api: httpx.Client, query: dict[str, Any], kind: str, status: int) -> None:
    problem(compress(api, **query), kind, status)


def test_a_byte_budget(api: httpx.Client) -> None:
    body = problem(compress(api, max_bytes=15), "budget-too-small", 422)
    assert (body["least"], body["max_bytes"]) == (16, 15)
    assert compress(api, max_bytes=16).json()["sizes"]["payload"] == 16


def test_models(api: httpx.Client, tiny_store: Path) -> None:
    models = api.get("/models").json()
    assert (models["default_model"], models["refused"]) == ("tiny-vae", [])
    assert {m["name"]: [v["version"] for v in m["versions"]] for m in models["models"]} == {
        "tiny-progressive": [1], "tiny-vae": [1, 2], "tiny-vqvae": [1],
    }  # fmt: skip
    for model in models["models"]:
        assert api.get(f"/models/{model['name']}").json() == model
        for version in model["versions"]:
            assert api.get(f"/models/{model['name']}/{version['version']}").json() == version
            stored = (tiny_store / model["name"] / str(version["version"]) / "manifest.json").read_bytes()
            assert version["manifest"] == json.loads(stored)
            assert version["digest"] == hashlib.sha256(stored).hexdigest()
            assert version["tag"] == version["digest"][:4]
            assert version["default"] == (version["version"] == 1)
    (version,) = next(m["versions"] for m in models["models"] if m["name"] == "tiny-progressive")
    assert version["manifest"]["rates"] == [32, 48, 96, 192, 320]
    assert version["manifest"]["default_rate"] == 96


@pytest.mark.parametrize(
    ("address", "kind", "status"),
    [
        ("/models/nobody", "unknown-model", 404),
        ("/models/" + "x" * 101, "invalid-parameter", 422),
        ("/models/nobody/1", "unknown-model", 404),
        ("/models/tiny-vae/3", "unknown-version", 404),
        ("/models/tiny-vae/0", "unknown-version", 404),
        ("/models/tiny-vae/latest", "invalid-parameter", 422),
        ("/models/tiny-vae/1/weights", "not-found", 404),
        ("/nothing", "not-found", 404),
    ],
)
def test_addresses_of_nothing(api: httpx.Client, address: str, kind: str, status: int) -> None:
    problem(api.get(address), kind, status)


@pytest.mark.parametrize(("method", "address"), [("GET", "/compress"), ("DELETE", "/models"), ("POST", "/livez")])
def test_methods_that_are_not_taken(api: httpx.Client, method: str, address: str) -> None:
    answer = api.request(method, address)
    said = problem(answer, "method-not-allowed", 405)["detail"]
    assert answer.headers["Allow"] in ("GET", "POST")
    assert said.endswith(f"it takes {answer.headers['Allow']}")


def compare(api: httpx.Client, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
    return api.post("/compare", content=PHOTO, params=query, headers=UPLOAD | (headers or {}))


def test_compare_gives_a_row_for_each(api: httpx.Client) -> None:
    answer = compare(api, models="tiny-vqvae,tiny-vae/2", codecs="jpeg, WEBP").json()
    assert [(row["kind"], row["name"], row["version"], row["beside"]) for row in answer["rows"]] == [
        ("model", "tiny-vqvae", 1, None),
        ("codec", "jpeg", None, "tiny-vqvae"),
        ("codec", "webp", None, "tiny-vqvae"),
        ("model", "tiny-vae", 2, None),
        ("codec", "jpeg", None, "tiny-vae"),
        ("codec", "webp", None, "tiny-vae"),
    ]
    assert answer["upload"] == len(PHOTO)
    for row in answer["rows"]:
        assert row["ratio"] == pytest.approx(3 * 128**2 / row["bytes"], abs=1e-3)
        assert 0 < row["psnr"] < 60
        assert 0 <= row["ms_ssim"] <= 1
        assert row["identity"] is None or -1 <= row["identity"] <= 1
    assert [row["bytes"] for row in answer["rows"] if row["kind"] == "model"] == [20, 16]


@pytest.mark.parametrize("models", [None, "", ","])
def test_compare_takes_all_models_by_default(api: httpx.Client, models: str | None) -> None:
    query: dict[str, Any] = {} if models is None else {"models": models}
    rows = compare(api, codecs="", **query).json()["rows"]
    assert [(row["name"], row["version"]) for row in rows] == [
        ("tiny-progressive", 1), ("tiny-vae", 1), ("tiny-vqvae", 1),
    ]  # fmt: skip


def test_compare_draws_a_sheet(api: httpx.Client) -> None:
    answer = compare(api, {"Accept": "image/png"}, models="tiny-vae,tiny-vqvae", codecs="jpeg")
    assert answer.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as sheet:
        sheet.load()
        wide, high = sheet.size
    with Image.open(io.BytesIO(compare(api, {"Accept": "image/png"}, models="tiny-vae", codecs="").content)) as less:
        assert less.size[0] < wide
        assert less.size[1] < high


@pytest.mark.parametrize("models", [",", "tiny-vae"])
def test_a_sheet_of_models_alone(api: httpx.Client, models: str) -> None:
    assert compare(api, {"Accept": "image/png"}, models=models, codecs="").status_code == 200


@pytest.mark.parametrize(
    ("query", "kind", "status"),
    [
        ({"models": "nobody"}, "unknown-model", 404),
        ({"models": "tiny-vae/9"}, "unknown-version", 404),
        ({"models": "tiny-vae/0"}, "unknown-version", 404),
        ({"models": "tiny-vae/one"}, "invalid-parameter", 422),
        ({"models": ",".join(["tiny-vae"] * 13)}, "invalid-parameter", 422),
        ({"models": ",".join(["tiny-progressive"] * 5), "max_bytes": "32,64,96"}, "invalid-parameter", 422),
        ({"max_bytes": "64,many"}, "invalid-parameter", 422),
        ({"max_bytes": "-64"}, "invalid-parameter", 422),
        ({"max_bytes": "1" * 101}, "invalid-parameter", 422),
        ({"max_bytes": "64,31"}, "budget-too-small", 422),
        ({"models": "tiny-progressive", "max_bytes": "0"}, "budget-too-small", 422),
        ({"codecs": "jpeg,gif"}, "invalid-parameter", 422),
    ],
)
def test_wrong_comparisons(api: httpx.Client, query: dict[str, Any], kind: str, status: int) -> None:
    problem(compare(api, **query), kind, status)


def test_a_browser_finds_the_page_of_the_api_which_loads_nothing_from_elsewhere(api: httpx.Client) -> None:
    page = api.get("/docs")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links
    for link in links:
        assert api.get(link).status_code == 200


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/models", "/models/tiny-vae", "/", "/docs", "/nowhere", "/compress"]
)
def test_head_is_get_without_the_body(api: httpx.Client, path: str) -> None:
    head, get = api.head(path), api.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    for name in ("Content-Type", "Content-Length", "Allow", "Location", "Content-Security-Policy"):
        assert head.headers.get(name) == get.headers.get(name)
