"""Many items in one request: each as if it came alone, whatever the others are."""

import base64
import io
import json
import socket
import stat
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.archives import tarred, zipped
from tests.service.conftest import BODY_LIMIT, TAKE_PAYLOAD
from tests.service.pictures import FACE, PHOTO, file, png
from tests.service.server import Server, problem, serve

ZIP, TAR, NDJSON = ({"Content-Type": f"application/{kind}"} for kind in ("zip", "x-tar", "x-ndjson"))
ASIS = "/compress/batch?frame=asis"


def faces(count: int) -> dict[str, bytes]:
    return {f"{i}.png": png(FACE.rotate(3 * i).resize((96, 96))) for i in range(count)}


def rows(answer: httpx.Response) -> list[Any]:
    """The lines, without the last, which has to count them."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    *lines, last = map(json.loads, answer.text.splitlines())
    assert last == {"items": len(lines), "failed": sum("problem" in line for line in lines)}
    assert [line["index"] for line in lines] == list(range(len(lines)))
    return lines


def members(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:") as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


def alone(api: httpx.Client, picture: bytes, query: str = "?frame=asis") -> bytes:
    answer = api.post(f"/compress{query}", content=picture, headers=TAKE_PAYLOAD)
    assert answer.status_code == 200, answer.text
    return answer.content


def fails(line: dict[str, Any], type_: str, status: int) -> dict[str, Any]:
    body: dict[str, Any] = line["problem"]
    assert (body["type"], body["status"]) == (f"urn:cameo:problem:{type_}", status), body
    assert body["title"]
    assert body["detail"]
    assert "payload" not in line
    return body


def test_lines_have_the_facts_of_single_answers_and_tokens_if_wanted(api: httpx.Client) -> None:
    single = api.post("/compress?effort=fast", content=PHOTO, headers={"Content-Type": "image/png"}).json()
    (bare,) = rows(api.post("/compress/batch", content=zipped({"a.png": PHOTO}), headers=ZIP))
    assert {name: bare[name] for name in ("effort", "frame")} == {name: single[name] for name in ("effort", "frame")}
    assert "tokens" not in bare
    (line,) = rows(api.post("/compress/batch?tokens=true", content=zipped({"a.png": PHOTO}), headers=ZIP))
    assert line["tokens"] == single["tokens"]


@pytest.mark.parametrize("kind", ["zip", "tar", "multipart"])
def test_answers_are_those_of_single_requests_in_order(server: Server, kind: str) -> None:
    api, pictures = server.client, faces(12)
    before = server.metric("cameo_batch_items_total", route="/compress/batch", outcome="done")
    if kind == "multipart":
        answer = api.post(ASIS, files=[("image", (name, data, "image/png")) for name, data in pictures.items()])
    elif kind == "zip":
        answer = api.post(ASIS, content=zipped(pictures), headers=ZIP)
    else:
        answer = api.post(ASIS, content=tarred(pictures), headers=TAR)
    lines = rows(answer)
    assert [line["name"] for line in lines] == list(pictures)
    for line, picture in zip(lines, pictures.values(), strict=True):
        payload = base64.b64decode(line["payload"])
        assert payload == alone(api, picture)
        assert (line["bytes"], line["model"], line["version"]) == (len(payload), "tiny-vae", 1)
    assert answer.headers["Cameo-Model"].startswith('name="tiny-vae", version=1')
    assert server.metric("cameo_batch_items_total", route="/compress/batch", outcome="done") == before + 12


def test_parameters_are_those_of_compress(api: httpx.Client) -> None:
    query = "?model=tiny-progressive&max_bytes=77"
    (line,) = rows(api.post(f"/compress/batch{query}", content=zipped({"a.png": PHOTO}), headers=ZIP))
    assert base64.b64decode(line["payload"]) == alone(api, PHOTO, query)
    body = zipped({"a.png": PHOTO})
    answer = api.post("/compress/batch?model=tiny-progressive&max_bytes=3", content=body, headers=ZIP)
    problem(answer, "budget-too-small", 422)
    problem(api.post("/compress/batch?model=none", content=body, headers=ZIP), "unknown-model", 404)
    problem(api.post(ASIS, content=body, headers=ZIP | {"Accept": "text/html"}), "not-acceptable", 406)
    problem(api.post(ASIS, content=PHOTO, headers={"Content-Type": "image/png"}), "unsupported-media-type", 415)
    problem(api.post(ASIS, files={"picture": PHOTO}), "image-field-missing", 422)


def test_one_that_fails_takes_no_other_with_it(server: Server) -> None:
    before = server.metric("cameo_batch_items_total", outcome="not-an-image")
    first, last = faces(2).values()
    pictures = {"a/first.png": first, "b/broken.png": b"nothing", "..\\last.png": last}
    lines = rows(server.client.post(ASIS, content=tarred(pictures), headers=TAR))
    assert [line["name"] for line in lines] == ["first.png", "broken.png", "last.png"]
    assert [base64.b64decode(lines[i]["payload"]) for i in (0, 2)] == [alone(server.client, p) for p in (first, last)]
    fails(lines[1], "not-an-image", 400)
    assert server.metric("cameo_batch_items_total", outcome="not-an-image") == before + 1


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_bomb_in_a_zip_fails_alone(api: httpx.Client, method: int) -> None:
    body = io.BytesIO(zipped({"bomb.png": bytes(100 * BODY_LIMIT)}, method))
    with zipfile.ZipFile(body, "a") as archive:
        archive.writestr("good.png", PHOTO)
    bomb, good = rows(api.post(ASIS, content=body.getvalue(), headers=ZIP))
    if method == zipfile.ZIP_DEFLATED:
        assert fails(bomb, "body-too-large", 413)["limit"] == BODY_LIMIT
    else:
        fails(bomb, "broken-archive", 400)
    assert base64.b64decode(good["payload"]) == alone(api, PHOTO)


def test_what_is_no_file_is_left_out(api: httpx.Client) -> None:
    tar, picture = io.BytesIO(), faces(1)["0.png"]
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("odd")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("x" * 150 + "/" + "é\n" * 60)
        info.size = len(picture)
        archive.addfile(info, io.BytesIO(picture))
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    zip_ = io.BytesIO()
    with zipfile.ZipFile(zip_, "w") as zipped_:
        zipped_.mkdir("folder")
        zipped_.writestr(link, "/etc/passwd")
        zipped_.writestr("folder/..", picture)
    (line,) = rows(api.post(ASIS, content=tar.getvalue(), headers=TAR))
    assert line["name"] == "é_" * 50
    assert "payload" in line
    (line,) = rows(api.post(ASIS, content=zip_.getvalue(), headers=ZIP))
    assert line["name"] == "0"
    assert "payload" in line
    assert rows(api.post(ASIS, content=zipped({}), headers=ZIP)) == []


def encrypted() -> bytes:
    body = bytearray(zipped({"a.png": PHOTO}))
    body[body.index(b"PK\x01\x02") + 8] |= 1
    return bytes(body)


BROKEN = {
    "no zip": (PHOTO, ZIP),
    "half a zip": (zipped(faces(3))[:-40], ZIP),
    "encrypted": (encrypted(), ZIP),
    "nothing": (b"", ZIP),
    "no tar": (PHOTO, TAR),
    "half a tar": (tarred(faces(3))[:5000], TAR),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_archive_is_refused(api: httpx.Client, name: str) -> None:
    body, kind = BROKEN[name]
    problem(api.post(ASIS, content=body, headers=kind), "broken-archive", 400)


def test_a_broken_header_is_no_end(api: httpx.Client) -> None:
    one = tarred(faces(1))
    header = one.index(bytes(1024)) // 512 * 512 + 512
    body = one[:header] + b"\x01" * 512 + one[header:]
    problem(api.post(ASIS, content=body, headers=TAR), "broken-archive", 400)


def test_a_damaged_file_in_a_zip_fails_alone(api: httpx.Client) -> None:
    good = faces(2)
    body = bytearray(zipped(good, zipfile.ZIP_STORED))
    body[body.index(b"IDAT") + 10] ^= 255
    lines = rows(api.post(ASIS, content=bytes(body), headers=ZIP))
    fails(lines[0], "broken-archive", 400)
    assert "payload" in lines[1]


def test_a_tar_of_payloads(api: httpx.Client) -> None:
    a, b = faces(2).values()
    pictures = {"x/a.png": a, "y/a.png": b, "broken.png": b"nothing"}
    found = members(api.post(ASIS, content=tarred(pictures), headers=TAR | {"Accept": "application/x-tar"}))
    assert list(found) == ["a.cameo", "1-a.cameo", "broken.problem.json"]
    assert found["a.cameo"] == alone(api, a)
    assert found["1-a.cameo"] == alone(api, b)
    assert json.loads(found["broken.problem.json"])["type"] == "urn:cameo:problem:not-an-image"
    files = {name: data for name, data in found.items() if name.endswith(".cameo")}
    answer = api.post(
        "/reconstruct/batch?format=webp", content=zipped(files), headers=ZIP | {"Accept": TAR["Content-Type"]}
    )
    drawn = members(answer)
    assert list(drawn) == ["a.webp", "1-a.webp"]
    assert drawn["a.webp"] == picture(api, found["a.cameo"], "image/webp")


def picture(api: httpx.Client, payload: bytes, kind: str) -> bytes:
    headers = {"Content-Type": "application/vnd.cameo", "Accept": kind}
    return api.post("/reconstruct", content=payload, headers=headers).content


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_payloads_as_lines(api: httpx.Client, kind: str) -> None:
    payloads = [
        alone(api, data, f"?frame=asis&model={m}") for data in faces(3).values() for m in ("tiny-vae", "tiny-vqvae")
    ]
    asked = [json.dumps({"payload": base64.b64encode(p).decode(), "name": f"n{i}"}) for i, p in enumerate(payloads)]
    wrong = ["{", "[]", '{"payload": "!"}', '{"payload": "", "x": 1}', '{"payload": ""}']
    body = "\n\n".join(asked + wrong)
    lines = rows(api.post(f"/reconstruct/batch?format={kind}", content=body.encode(), headers=NDJSON))
    for i, payload in enumerate(payloads):
        assert lines[i]["name"] == f"n{i}"
        assert lines[i]["model"] == ("tiny-vae", "tiny-vqvae")[i % 2]
        assert lines[i]["media_type"] == f"image/{kind}"
        assert base64.b64decode(lines[i]["picture"]) == picture(api, payload, f"image/{kind}")
    types = [line["problem"]["type"].rpartition(":")[2] for line in lines[len(payloads) :]]
    assert types == ["bad-request", *["invalid-parameter"] * 3, "empty-payload"]
    problem(api.post("/reconstruct/batch?format=gif", content=b"", headers=NDJSON), "invalid-parameter", 422)


def slow(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (1500, 1500, 3), np.uint8)
    return file(Image.fromarray(noise), "JPEG")


def test_limits_of_items_of_time_and_of_the_queue(tiny_store: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"workers": 1, "queue_seconds": 0.05, "batch_items": 20, "max_body_bytes": 2**26}
    with serve(tmp_path / "log", store=tiny_store, **settings) as server:
        api, many = server.client, faces(21)
        answers = [
            api.post(ASIS, content=zipped(many), headers=ZIP),
            api.post(ASIS, content=tarred(many), headers=TAR),
            api.post(ASIS, files=[("image", data) for data in many.values()]),
            api.post("/reconstruct/batch", content=b"{}\n" * 21, headers=NDJSON),
        ]
        for answer in answers:
            assert problem(answer, "too-many-items", 422)["limit"] == 20
        assert server.labels("cameo_batch_items_total") == []

        # More than the queue holds: the batch waits.
        pictures = {f"{i}.jpg": slow(i) for i in range(8)}
        assert all("payload" in line for line in rows(api.post(ASIS, content=tarred(pictures), headers=TAR)))

        lines = rows(api.post(ASIS, content=tarred(pictures), headers=TAR | {"Cameo-Deadline-Ms": "150"}))
        late = [line for line in lines if "problem" in line]
        assert late
        for line in late:
            assert fails(line, "deadline-exceeded", 504)["deadline_ms"] == 150


@pytest.mark.parametrize("reads", [0, 1])
def test_a_client_that_leaves_stops_its_batch(tiny_store: Path, tmp_path: Path, reads: int) -> None:
    with serve(tmp_path / "log", store=tiny_store, workers=1, max_body_bytes=2**26) as server:
        body = tarred({f"{i}.jpg": slow(0) for i in range(40)})
        head = (
            f"POST {ASIS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(head.encode() + body)
            for _ in range(reads + 1):  # the head, and perhaps a line
                assert connection.recv(2**10)
        settle(server)
        begun = server.metric("cameo_batch_items_total")
        assert begun < 20
        time.sleep(0.5)
        assert server.metric("cameo_batch_items_total") == begun
        assert server.metric("cameo_requests_total", route="/compress/batch") == 1


def settle(server: Server) -> None:
    for _ in range(200):
        idle = server.metric("cameo_queue_length") == server.metric("cameo_backlog_seconds") == 0
        if idle and server.metric("cameo_requests_total", route="/compress/batch"):
            return
        time.sleep(0.05)
    raise TimeoutError
