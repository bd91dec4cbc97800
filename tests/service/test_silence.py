"""Clients that stop in the middle: none keeps a connection, or what was computed for it, for ever."""

import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.pictures import PHOTO
from tests.service.server import Server, rest, serve, until

LIMIT = 10  # seconds in which the service must have had enough: it is told to have after two


@pytest.fixture(scope="module")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("silence") / "log", store=tiny_store, client_seconds=2) as server:
        yield server


def test_connections_without_a_request_are_closed(server: Server) -> None:
    whole = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    connections = []
    for sent in (b"", whole[:9], whole[:-2], whole, whole + whole[:9]):
        connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT))
        connections[-1].sendall(sent)
    for connection in connections:
        with connection:
            rest(connection)


def test_one_that_asks_now_and_then_is_not(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT) as connection:
        for _ in range(4):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(2**16)
            time.sleep(0.7)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/compress", "image/png"),
        ("/compress", "multipart/form-data; boundary=x"),
        ("/compress/batch", "application/zip"),
        ("/compare", "image/png"),
        ("/reconstruct", "application/json"),
        ("/reconstruct", "application/vnd.cameo"),
    ],
)
def test_a_body_that_stops_is_late(server: Server, path: str, kind: str) -> None:
    late = server.metric("cameo_refused_total", reason="deadline")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCameo-Deadline-Ms: 800\r\nContent-Type: {kind}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode() + b"--x\r\n")
        head, body = rest(connection).decode().split("\r\n\r\n")
    assert head.startswith("HTTP/1.1 504 ")
    problem = json.loads(body)
    assert problem["type"] == "urn:cameo:problem:deadline-exceeded"
    assert problem["spent_ms"]["upload"] > 400
    assert "the body" in problem["detail"]
    assert server.metric("cameo_refused_total", reason="deadline") == late + 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a connection stays")
def test_an_answer_that_nobody_takes_is_given_up(server: Server) -> None:
    payload = server.client.post("/compress", content=PHOTO, headers={"Content-Type": "image/png"}).json()["payload"]
    lines = (json.dumps({"payload": payload}) + "\n").encode() * 1000
    head = "POST /reconstruct/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: "
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(LIMIT)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"{head}{len(lines)}\r\n\r\n".encode() + lines)
        until(lambda: server.metric("cameo_requests_total", route="/reconstruct/batch") == 1)
        with pytest.raises(ConnectionResetError):
            rest(connection)
    assert server.metric("cameo_batch_items_total", route="/reconstruct/batch") < 1000
    assert server.metric("cameo_backlog_seconds") == 0
