"""Bodies of the wrong size, type or form."""

import contextlib
import json
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import BODY_LIMIT
from tests.service.pictures import PHOTO
from tests.service.server import Server, problem, until

IMAGE = ("photo.png", PHOTO, "image/png")


@pytest.mark.parametrize("address", ["/compress", "/compare", "/reconstruct", "/shorten?max_bytes=100"])
def test_a_declared_body_over_the_limit_is_refused_before_it_is_sent(server: Server, address: str) -> None:
    kind = "image/png" if address[:5] == "/comp" else "application/vnd.cameo"
    head = f"POST {address} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {10**12}\r\n\r\n"
    answer = server.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_the_refusal_names_size_and_limit(api: httpx.Client) -> None:
    answer = api.post("/compress", content=bytes(BODY_LIMIT + 1), headers={"Content-Type": "image/png"})
    body = problem(answer, "body-too-large", 413)
    assert (body["bytes"], body["limit"]) == (BODY_LIMIT + 1, BODY_LIMIT)


def test_a_body_at_the_limit_is_read(api: httpx.Client) -> None:
    data = PHOTO + bytes(BODY_LIMIT - len(PHOTO))
    assert api.post("/compress", content=data, headers={"Content-Type": "image/png"}).status_code == 200


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
def test_a_body_of_undeclared_size_is_refused_while_it_grows(server: Server, kind: str) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.ljust(2**16, b".")
    chunks = b"%x\r\n%s\r\n" % (len(part), part) + b"%x\r\n%s\r\n" % (2**16, bytes(2**16)) * (BODY_LIMIT // 2**16)
    head = f"POST /compress HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    # The last chunk, which would end the body, is never sent.
    answer = server.raw(head.encode() + chunks)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_picture_is_written_to_the_disk(server: Server) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + bytes(BODY_LIMIT * 3 // 4)
    head = "POST /compress HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: "
    left = server.metric("cameo_requests_total", status="499")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}{BODY_LIMIT}\r\n\r\n".encode() + part)
        time.sleep(0.5)
        opened = set[str]()
        for descriptor in Path(f"/proc/{server.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                opened.add(str(descriptor.readlink()))
    until(lambda: server.metric("cameo_requests_total", status="499") == left + 1)  # the next test counts from here
    assert not [file for file in opened if file.endswith("(deleted)")]
    assert any(file.startswith("socket:") for file in opened)


def test_a_client_that_leaves_while_it_sends_is_no_error(server: Server) -> None:
    left = server.metric("cameo_requests_total", status="499")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /compress HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 999\r\n\r\n."
        )
    for _ in range(100):
        if server.metric("cameo_requests_total", status="499") == left + 1:
            break
        time.sleep(0.05)
    else:
        raise AssertionError(server.client.get("/metrics").text)
    assert "ClientDisconnect" not in server.log


def test_a_form_equals_a_raw_body(api: httpx.Client) -> None:
    raw = api.post("/compress", content=PHOTO, headers={"Content-Type": "image/png"})
    form = api.post("/compress", files={"image": IMAGE})
    assert form.json() == raw.json()


@pytest.mark.parametrize("address", ["/compress", "/compare", "/compress/batch"])
@pytest.mark.parametrize("name", ["name", "max_bytes", "max-bytes"])
def test_other_fields_are_refused_by_name(api: httpx.Client, address: str, name: str) -> None:
    body = problem(api.post(address, files={"image": IMAGE}, data={name: "32"}), "invalid-parameter", 422)
    assert (body["parameter"], body["allowed"]) == (name, ["image"])
    assert ("?max_bytes=" in body["detail"]) == (name != "name")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("address", ["/compress", "/compare"])
def test_a_body_that_is_no_picture(api: httpx.Client, address: str, kind: str) -> None:
    body = problem(api.post(address, content=PHOTO, headers={"Content-Type": kind}), "unsupported-media-type", 415)
    assert "multipart/form-data" in body["allowed"]


@pytest.mark.parametrize("kind", ["text/plain", "image/png", "multipart/form-data", ""])
@pytest.mark.parametrize("address", ["/reconstruct", "/shorten?max_bytes=100"])
def test_a_body_that_is_no_payload(api: httpx.Client, address: str, kind: str) -> None:
    body = problem(api.post(address, content=b"x", headers={"Content-Type": kind}), "unsupported-media-type", 415)
    assert body["allowed"] == ["application/vnd.cameo", "application/octet-stream", "application/json"]


def test_two_images(api: httpx.Client) -> None:
    answer = api.post("/compress", files=[("image", IMAGE), ("image", IMAGE)])
    assert problem(answer, "image-field-repeated", 422)["count"] == 2


def test_no_image(api: httpx.Client) -> None:
    answer = api.post("/compress", files={"photo": IMAGE})
    assert problem(answer, "image-field-missing", 422)["fields"] == ["photo"]


def test_an_image_that_is_text(api: httpx.Client) -> None:
    answer = api.post("/compress", data={"image": "photo.png"}, files={"other": IMAGE})
    assert "-F image=@photo.jpg" in problem(answer, "image-field-missing", 422)["detail"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"not a form"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nnameless\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x\r\n"),
    ],
    ids=["no boundary", "no form", "no name", "no header", "long boundary"],
)
def test_a_malformed_form(api: httpx.Client, kind: str, content: bytes) -> None:
    problem(api.post("/compress", content=content, headers={"Content-Type": kind}), "bad-request", 400)


def test_a_form_that_is_cut_short(api: httpx.Client) -> None:
    request = api.build_request("POST", "/compress", files={"image": IMAGE})
    whole = request.read()
    headers = {"Content-Type": request.headers["Content-Type"]}
    for size in (0, 10, 100, len(whole) // 2, len(whole) - 10):
        answer = api.post("/compress", content=whole[:size], headers=headers)
        assert answer.status_code in (400, 422), size
        problem(answer, answer.json()["type"].rpartition(":")[2], answer.status_code)


def test_a_form_with_too_many_fields(api: httpx.Client) -> None:
    answer = api.post("/compress", data={f"field{i}": "" for i in range(20)}, files={"image": IMAGE})
    problem(answer, "bad-request", 400)


@pytest.mark.parametrize("content", [b"", b"{", b"payload", b"\xff\xfe", b'{"payload": "\xff"}', b"[" * 5000], ids=repr)
@pytest.mark.parametrize("address", ["/reconstruct", "/shorten?max_bytes=100"])
def test_malformed_json(api: httpx.Client, address: str, content: bytes) -> None:
    answer = api.post(address, content=content, headers={"Content-Type": "application/json"})
    problem(answer, "bad-request", 400)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (None, ""),
        ([], ""),
        ({"payload": 7}, "payload"),
        ({"payload": "AAAA", "colour": "red"}, "colour"),
    ],
)
@pytest.mark.parametrize("address", ["/reconstruct", "/shorten?max_bytes=100"])
def test_json_of_another_form(api: httpx.Client, address: str, content: object, where: str) -> None:
    answer = api.post(address, content=json.dumps(content), headers={"Content-Type": "application/json"})
    assert problem(answer, "invalid-parameter", 422)["parameter"] == where
