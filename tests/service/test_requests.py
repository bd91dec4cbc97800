"""Requests as clients write them: names nobody knows, encodings, payloads from editors, archives from file managers."""

import base64
import gzip
import io
import json
import tarfile
from typing import Any

import httpx
import pytest

from tests.archives import tarred, zipped
from tests.service.conftest import BODY_LIMIT
from tests.service.pictures import PHOTO
from tests.service.server import Server, problem

PNG, VND, JSON = {"Content-Type": "image/png"}, {"Content-Type": "application/vnd.cameo"}, "application/json"
JUNK = {"__MACOSX/._a.png": b"\0\5\26\7", "._a.png": b"\0\5\26\7", "folder/.DS_Store": b"\0", "Thumbs.db": b"\xd0"}


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("POST", "/compress", ["model", "version", "max_bytes", "frame", "face", "effort", "likeness"]),
        ("POST", "/compress/batch", ["model", "version", "max_bytes", "frame", "face", "effort", "likeness", "tokens"]),
        ("POST", "/compare", ["models", "codecs", "max_bytes", "frame", "effort"]),
        ("POST", "/reconstruct", []),
        ("POST", "/reconstruct/batch", ["format"]),
        ("POST", "/shorten", ["max_bytes"]),
        ("GET", "/models", []),
        ("GET", "/models/tiny-vae", []),
        ("GET", "/livez", []),
        ("GET", "/readyz", []),
        ("GET", "/metrics", []),
    ],
)
def test_unknown_query_parameters_are_refused_by_name(
    api: httpx.Client, method: str, address: str, allowed: list[str]
) -> None:
    for name in ("max-bytes", "x" * 5000):
        body = problem(api.request(method, address, params={name: "32"}), "invalid-parameter", 422)
        assert (body["parameter"], body["allowed"]) == (name[:200], allowed)
        assert len(body["detail"]) < 400


@pytest.mark.parametrize("disposition", ['name="image"', "name=\"image\"; filename*=UTF-8''a.png", "name=image"])
@pytest.mark.parametrize("kind", ["", "Content-Type: image/png\r\n", "Content-Type: application/octet-stream\r\n"])
def test_a_part_is_a_file_without_a_plain_file_name(api: httpx.Client, disposition: str, kind: str) -> None:
    head = f"--B\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n".encode()
    answer = api.post(
        "/compress",
        content=head + PHOTO + b"\r\n--B--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=B"},
    )
    assert answer.json() == api.post("/compress", content=PHOTO, headers=PNG).json()


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-16"])
@pytest.mark.parametrize("address", ["/compress", "/compare", "/compress/batch"])
def test_forms_are_utf_8(api: httpx.Client, address: str, charset: str) -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="x"\r\n\r\na-' + b"a" * 10**6 + b"\r\n--B--\r\n"
    kind = f"multipart/form-data; boundary=B; charset={charset}"
    problem(api.post(address, content=part, headers={"Content-Type": kind}), "unsupported-media-type", 415)


def test_gzip_is_decoded(api: httpx.Client, payload: bytes) -> None:
    zipped_up = {"Content-Encoding": "gzip"}
    answer = api.post("/compress", content=gzip.compress(PHOTO), headers=PNG | zipped_up)
    assert answer.json() == api.post("/compress", content=PHOTO, headers=PNG).json()
    text = gzip.compress(json.dumps({"payload": base64.b64encode(payload).decode()}).encode())
    assert api.post("/reconstruct", content=text, headers={"Content-Type": JSON} | zipped_up).is_success
    bomb = gzip.compress(bytes(20 * BODY_LIMIT))
    assert problem(api.post("/compress", content=bomb, headers=PNG | zipped_up), "body-too-large", 413)
    answer = api.post("/compress", content=PHOTO, headers=PNG | {"Content-Encoding": "br"})
    assert problem(answer, "unsupported-media-type", 415)["allowed"] == ["gzip", "identity"]


@pytest.mark.parametrize("address", ["/reconstruct", "/shorten?max_bytes=1000"])
def test_payloads_come_as_people_have_them(api: httpx.Client, payload: bytes, address: str) -> None:
    expected = api.post(address, content=payload, headers=VND).content
    text = base64.b64encode(payload).decode()
    for written in (
        text, text.rstrip("="), text.replace("+", "-").replace("/", "_"), text + "\n", f"{text[:9]}\r\n{text[9:]}",
        base64.urlsafe_b64encode(payload).decode().rstrip("="),
    ):  # fmt: skip
        assert api.post(address, json={"payload": written}).content == expected
    for behind in (b"\n", b"\r\n"):
        assert api.post(address, content=payload + behind, headers=VND).content == expected
    octets = {"Content-Type": "application/octet-stream"}
    assert api.post(address, content=payload, headers=octets).content == expected
    problem(api.post(address, content=payload + b"\n\n", headers=VND), "damaged-payload", 400)


def test_the_newlines_of_files_in_a_batch(api: httpx.Client, payload: bytes) -> None:
    zip_ = zipped({"a.cameo": payload + b"\n", "b.cameo": payload})
    lines = api.post("/reconstruct/batch", content=zip_, headers={"Content-Type": "application/zip"}).text.splitlines()
    first, second, last = map(json.loads, lines)
    assert first["picture"] == second["picture"]
    assert last == {"items": 2, "failed": 0}


@pytest.mark.parametrize(
    ("kind", "pack"),
    [
        ("application/zip", zipped),
        ("application/x-zip-compressed", zipped),
        ("application/x-tar", tarred),
        ("application/gzip", lambda files: gzip.compress(tarred(files))),
        ("application/x-gzip", lambda files: gzip.compress(tarred(files))),
        ("application/x-tar", lambda files: gzip.compress(tarred(files))),
    ],
)
def test_archives_of_any_tool_and_without_its_junk(api: httpx.Client, kind: str, pack: Any) -> None:
    body = pack(JUNK | {"a.png": PHOTO})
    lines = api.post("/compress/batch", content=body, headers={"Content-Type": kind}).text.splitlines()
    first, last = map(json.loads, lines)
    assert (first["name"], last) == ("a.png", {"items": 1, "failed": 0})


@pytest.mark.parametrize(
    "value", ["0000000001", "01", "9" * 20, "9" * 400, "600001", "0", "-1", "+1", "1.5", "٣", "1e3"]
)
def test_a_deadline_that_is_none(api: httpx.Client, value: str) -> None:
    headers = [(b"Content-Type", b"image/png"), (b"Cameo-Deadline-Ms", value.encode())]
    body = problem(api.post("/compress", content=PHOTO, headers=headers), "invalid-parameter", 422)
    assert body["limit"] == 600_000


JSON_FLOODS = {
    "shape": b'{"model":"tiny-vae","tokens":{"shape":[' + b'"a",' * 15_000 + b'1],"codebook_size":1,"indices":[]}}',
    "members": b"{" + b",".join(b'"%x":1' % i for i in range(7000)) + b"}",
    "members of tokens": b'{"model":"tiny-vae","tokens":{' + b",".join(b'"%x":1' % i for i in range(7000)) + b"}}",
    "a long name": b'{"' + b"a" * 60_000 + b'":1}',
    "a long number": b'{"model":"tiny-vqvae","tokens":[' + b"0," * 31 + b"9" * 4000 + b"]}",
    "a long model": b'{"model":"' + b"m" * 60_000 + b'","tokens":[1]}',
    "no JSON": b"[" * 60_000,
}


@pytest.mark.parametrize("content", JSON_FLOODS.values(), ids=JSON_FLOODS)
@pytest.mark.parametrize("address", ["/reconstruct", "/reconstruct/batch"])
def test_errors_quote_little_of_any_json(api: httpx.Client, address: str, content: bytes) -> None:
    batch = address.endswith("batch")
    answer = api.post(address, content=content, headers={"Content-Type": "application/x-ndjson" if batch else JSON})
    if batch:
        first, last = map(json.loads, answer.text.splitlines())
        assert last == {"items": 1, "failed": 1}
        said = first["problem"]
    else:
        assert answer.status_code in {400, 422}, answer.text
        said = answer.json()
    assert len(said["detail"]) < 400
    assert len(json.dumps(said)) < 1500


@pytest.mark.parametrize("content", [b'{"payload":"%s"}' % (b"A" * 2**17)])
def test_json_is_no_larger_than_tokens_may_be(server: Server, content: bytes) -> None:
    headers = {"Content-Type": JSON}
    assert problem(server.client.post("/reconstruct", content=content, headers=headers), "body-too-large", 413)
    head = f"POST /reconstruct HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.raw(head.encode() + b"%x\r\n%s\r\n" % (len(content), content)).startswith(b"HTTP/1.1 413 ")
    headers = {"Content-Type": "application/x-ndjson"}
    lines = server.client.post(
        "/reconstruct/batch", content=content + b"\n" + content, headers=headers
    ).text.splitlines()
    assert [json.loads(line)["problem"]["type"] for line in lines[:2]] == ["urn:cameo:problem:body-too-large"] * 2


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/" + "a" * 5000, {}),
        ("/models/" + "a" * 5000, {}),
        ("/models", {"Accept": "a/" + "b" * 5000}),
        ("/models/tiny-vae/" + "1" * 4000, {}),
    ],
)
def test_errors_quote_little_of_any_address(api: httpx.Client, path: str, headers: dict[str, str]) -> None:
    answer = api.get(path, headers=headers)
    assert len(answer.content) < 1500 or answer.is_success
    problem(
        api.post("/compress", content=b"x", headers={"Content-Type": "x/" + "y" * 5000}), "unsupported-media-type", 415
    )


def test_a_tar_that_is_all_header(api: httpx.Client) -> None:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", pax_headers={f"{i:x}": "1" for i in range(20_000)}) as archive:
        for _ in range(2000):
            info = tarfile.TarInfo("a")
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
    answer = api.post("/compress/batch", content=body.getvalue(), headers={"Content-Type": "application/x-tar"})
    assert json.loads(answer.text) == {"items": 0, "failed": 0}


def test_a_zip_of_many_bombs(api: httpx.Client) -> None:
    body = zipped({f"{i}.png": bytes(BODY_LIMIT) for i in range(40)})
    problem(
        api.post("/compress/batch", content=body, headers={"Content-Type": "application/zip"}), "body-too-large", 413
    )


def test_comparisons_are_merged(api: httpx.Client) -> None:
    def rows(**query: str) -> list[str]:
        answer = api.post("/compare", params=query, content=PHOTO, headers=PNG)
        assert answer.status_code == 200, answer.text
        return [row["name"] for row in answer.json()["rows"]]

    assert rows(models="tiny-vqvae,tiny-vqvae", codecs="jpeg,JPEG,webp,jpeg") == ["tiny-vqvae", "jpeg", "webp"]
    assert rows(models="tiny-vqvae", codecs="jpeg," * 20) == ["tiny-vqvae", "jpeg"]


def test_a_comparison_can_be_dropped_between_any_two_pictures(server: Server) -> None:
    before = server.metric("cameo_batches_total", direction="pause")
    query = {"models": "tiny-vqvae", "codecs": "jpeg,webp"}
    assert server.client.post("/compare", params=query, content=PHOTO, headers=PNG).is_success
    assert server.metric("cameo_batches_total", direction="pause") == before + 2


def test_codecs_that_nobody_knows(api: httpx.Client) -> None:
    answer = api.post("/compare", params={"codecs": "gif," * 20}, content=PHOTO, headers=PNG)
    assert len(problem(answer, "invalid-parameter", 422)["detail"]) < 300
