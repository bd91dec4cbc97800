"""The service and its OpenAPI document say the same: of what these tests ask for, and of what schemathesis makes up."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis

from tests.archives import tarred, zipped
from tests.service.pictures import PHOTO
from tests.service.server import ROOT, serve

OF_HTTP = {"content-type", "content-length", "transfer-encoding", "connection", "date"}
OCTETS = {"Content-Type": "application/octet-stream"}
ZIP = {"Content-Type": "application/zip"}
PAYLOAD, TAR, ANY = (
    {"Accept": kind} for kind in ("application/vnd.cameo", "application/x-tar", OCTETS["Content-Type"])
)
TIMES_OUT = 300  # seconds, on a busy machine

ASKED: list[tuple[str, int, dict[str, Any]]] = [
    ("POST /compress", 200, {"content": PHOTO, "headers": OCTETS}),
    ("POST /compress", 200, {"content": PHOTO, "headers": OCTETS | PAYLOAD, "params": {"model": "tiny-progressive"}}),
    ("POST /compress", 200, {"files": {"image": PHOTO}, "params": {"frame": "asis", "likeness": "true"}}),
    ("POST /compress", 400, {"content": b"text", "headers": OCTETS}),
    ("POST /compress", 404, {"content": PHOTO, "headers": OCTETS, "params": {"model": "none"}}),
    ("POST /compress", 406, {"content": PHOTO, "headers": OCTETS | {"Accept": "text/html"}}),
    ("POST /compress", 413, {"content": bytes(3 * 2**20), "headers": OCTETS}),
    ("POST /compress", 415, {"content": PHOTO, "headers": OCTETS | {"Content-Encoding": "br"}}),
    ("POST /compress", 422, {"content": PHOTO, "headers": OCTETS, "params": {"max_bytes": "1"}}),
    ("POST /compare", 200, {"content": PHOTO, "headers": OCTETS, "params": {"codecs": "jpeg"}}),
    ("POST /compare", 200, {"content": PHOTO, "headers": OCTETS | {"Accept": "image/png"}, "params": {"codecs": ""}}),
    ("POST /compress/batch", 200, {"content": zipped({"a.png": PHOTO, "b": b"?"}), "headers": ZIP}),
    ("POST /compress/batch", 200, {"content": tarred({"a.png": PHOTO}), "headers": OCTETS | TAR}),
    ("POST /compress/batch", 200, {"content": zipped({"a.png": PHOTO}), "headers": OCTETS | ANY}),
    ("POST /compress/batch", 400, {"content": b"text", "headers": OCTETS}),
    ("GET /models", 200, {}),
    ("GET /livez", 200, {}),
    ("GET /readyz", 200, {}),
    ("GET /metrics", 200, {}),
    ("GET /metrics", 422, {"params": {"a": "b"}}),
    ("GET /livez", 431, {"headers": {"X-Long": "a" * 2**16}}),
]  # fmt: skip
OF_PAYLOADS: list[tuple[str, int, dict[str, Any]]] = [
    ("POST /reconstruct", 200, {"headers": OCTETS}),
    ("POST /reconstruct", 200, {"headers": OCTETS | ANY}),
    ("POST /reconstruct", 200, {"headers": OCTETS | {"Accept": "image/webp"}}),
    ("POST /shorten", 200, {"headers": OCTETS, "params": {"max_bytes": "100"}}),
    ("POST /shorten", 200, {"headers": OCTETS | PAYLOAD, "params": {"max_bytes": "100"}}),
    ("POST /shorten", 422, {"headers": OCTETS}),
]


def names(asked: list[tuple[str, int, dict[str, Any]]]) -> list[str]:
    return [f"{path} {status} {number}" for number, (path, status, _) in enumerate(asked)]


@pytest.fixture
def document(api: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/openapi.json").json()
    return found


def check(document: dict[str, Any], asked: str, answer: httpx.Response, status: int) -> None:
    """That the document has the answer's status, type, fields and body."""
    assert answer.status_code == status, answer.text
    method, path = asked.split()
    answer.request.read()  # schemathesis wants a form, too, as bytes
    schemathesis.openapi.from_dict(document)[path][method].validate_response(answer)
    described = document["paths"][path][method.lower()]["responses"][str(status)]
    assert answer.headers["Content-Type"].partition(";")[0] in described["content"]
    assert answer.headers.keys() <= OF_HTTP | {name.lower() for name in described["headers"]}


@pytest.mark.parametrize(("asked", "status", "request_"), ASKED, ids=names(ASKED))
def test_an_answer_is_described(
    api: httpx.Client, document: dict[str, Any], asked: str, status: int, request_: dict[str, Any]
) -> None:
    check(document, asked, api.request(*asked.split(), **request_), status)


@pytest.mark.parametrize(("asked", "status", "request_"), OF_PAYLOADS, ids=names(OF_PAYLOADS))
def test_an_answer_to_a_payload_is_described(
    api: httpx.Client, document: dict[str, Any], payload: bytes, asked: str, status: int, request_: dict[str, Any]
) -> None:
    check(document, asked, api.request(*asked.split(), content=payload, **request_), status)


@pytest.mark.parametrize("kind", ["zip", "tar", "lines"])
def test_what_octets_are_is_seen(api: httpx.Client, document: dict[str, Any], payload: bytes, kind: str) -> None:
    files = {"a.cameo": payload, "b.cameo": b"?"}
    line = b'{"payload": "?", "name": "b"}\n'
    body = zipped(files) if kind == "zip" else tarred(files) if kind == "tar" else line
    answer = api.post("/reconstruct/batch", content=body, headers=OCTETS)
    check(document, "POST /reconstruct/batch", answer, 200)
    assert answer.text.endswith('{"items":1,"failed":1}\n' if kind == "lines" else '{"items":2,"failed":1}\n')


def test_octets_are_asked_for(api: httpx.Client, payload: bytes) -> None:
    for path, type_, body in (
        ("/reconstruct", b"\x89PNG", payload),
        ("/reconstruct/batch", b"a.png", tarred({"a": payload})),
    ):
        answer = api.post(path, content=body, headers=OCTETS | ANY)
        assert answer.headers["Content-Type"] == OCTETS["Content-Type"]
        assert answer.content.startswith(type_)


def test_schemathesis_finds_no_failure(tiny_store: Path, tmp_path: Path) -> None:
    """Over all operations: examples, the bounds of every schema, and some requests at random."""
    command = Path(sysconfig.get_path("scripts"), "schemathesis")
    with serve(tmp_path / "log", store=tiny_store, workers=2, effort="fast", log_level="warning") as server:
        run = [
            str(command), "--config-file", str(ROOT / "schemathesis.toml"), "run", f"http://127.0.0.1:{server.port}/openapi.json",
            "--max-examples", "10", "--continue-on-failure", "--no-color",
        ]  # fmt: skip
        done = subprocess.run(run, cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=TIMES_OUT, check=False)
    assert done.returncode == 0, done.stdout
