"""Heads, connections and clients that go on sending: what is said before, and beside, the application."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.pictures import PHOTO
from tests.service.server import Server, rest, serve, until

CONNECTIONS = 20
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
CHUNKED = (
    b"POST /reconstruct HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
ENDLESS = 64 * 2**20
GROWTH_MB = 64


@pytest.fixture(scope="module")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("heads") / "log"
    with serve(log, store=tiny_store, workers=1, effort="fast", connections=CONNECTIONS) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def flood(connection: socket.socket, block: bytes, most: int = ENDLESS) -> None:
    """Send until the service wants no more."""
    try:
        for _ in range(most // len(block)):
            connection.sendall(block)
    except ConnectionError:
        pass


def answered(connection: socket.socket) -> tuple[int, dict[str, object]]:
    head, _, body = rest(connection).partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


def resident_mb(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


@pytest.mark.parametrize(
    ("begin", "block"),
    [
        (GET, b"a: b\r\n" * 10_000),
        (GET + b"X-A: ", b"a" * 2**16),
        (GET, b"a" * 2**16),
        (b"GET /", b"a" * 2**16),
        (b"a" * 2**16, b"a" * 2**16),
        (CHUNKED + b"1;", b"a" * 2**16),
        (CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
        (CHUNKED + b"0\r\nX-A: ", b"a" * 2**16),
    ],
    ids=["many", "value", "name", "address", "method", "extension", "trailers", "trailer"],
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_head_without_end_is_refused(server: Server, begin: bytes, block: bytes) -> None:
    before = resident_mb(server)
    with connect(server) as connection:
        connection.sendall(begin)
        flood(connection, block)
        status, problem = answered(connection)
    expected = (400, "bad-request") if begin.startswith(b"aa") else (431, "head-too-large")
    assert (status, problem["type"]) == (expected[0], f"urn:cameo:problem:{expected[1]}")
    assert resident_mb(server) - before < GROWTH_MB
    assert server.client.get("/livez").is_success


@pytest.mark.parametrize("fields", [98, 99, 200])
def test_as_many_fields_as_are_taken(server: Server, fields: int) -> None:
    head = GET + b"Connection: close\r\n" + b"a: b\r\n" * (fields - 2) + b"\r\n"
    with connect(server) as connection:
        connection.sendall(head)
        assert rest(connection).split()[1] == (b"200" if fields <= 100 else b"431")


@pytest.mark.parametrize(("size", "status"), [(60_000, b"200"), (2**16, b"431")])
def test_as_large_a_head_as_is_taken(server: Server, size: int, status: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(GET + b"Connection: close\r\na: " + b"b" * size + b"\r\n\r\n")
        assert rest(connection).split()[1] == status


def test_small_chunks_and_several_requests_on_a_connection_are_no_flood(server: Server) -> None:
    body = json.dumps({"payload": "A" * 5000}).encode()
    chunked = CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with connect(server) as connection:
        for _ in range(30):
            connection.sendall(chunked)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(2**16)
            assert answer.split()[1] in {b"400", b"422"}, answer


def test_pipelined_requests_are_answered_and_not_hoarded(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall((GET + b"\r\n") * 9 + GET + b"Connection: close\r\n\r\n")
        assert rest(connection).count(b"HTTP/1.1 200 ") == 10
    before = resident_mb(server)
    with connect(server) as connection:
        flood(connection, (GET + b"\r\n") * 10_000, 2**20)
        connection.settimeout(60)
        while connection.recv(2**16):
            pass
    assert resident_mb(server) - before < GROWTH_MB


def test_connections_have_a_limit_and_go_on_when_others_leave(server: Server) -> None:
    server.client.get("/livez")
    others = [connect(server) for _ in range(2 * CONNECTIONS)]
    try:
        refused = []
        for connection in others:
            connection.settimeout(0.5)
            try:
                refused.append(connection.recv(100))
            except TimeoutError:
                continue
        assert len(refused) >= CONNECTIONS
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused)
    finally:
        for connection in others:
            connection.close()

    def served() -> bool:
        with connect(server) as connection:
            connection.sendall(GET + b"Connection: close\r\n\r\n")
            return rest(connection).startswith(b"HTTP/1.1 200 ")

    until(served)
    assert server.metric("cameo_rejected_total", reason="connections") >= CONNECTIONS


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_who_goes_on_sending_reads_the_refusal(server: Server, close: bytes) -> None:
    size = 80 * 2**20
    head = b"POST /compress HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n" + close
    with connect(server) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // 2**16):
            connection.sendall(bytes(2**16))  # raises where the connection is broken
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_the_end_waits_for_nobody_who_goes_on_sending(tiny_store: Path, tmp_path: Path) -> None:
    with (
        serve(tmp_path / "log", store=tiny_store, workers=1, grace_seconds=60) as server,
        connect(server) as connection,
    ):
        connection.sendall(
            b"POST /compress HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
        server.stop()


def test_a_photo_behind_a_head_of_many_fields(server: Server) -> None:
    answer = server.client.post(
        "/compress", content=PHOTO, headers={"Content-Type": "image/png"} | {f"x-{i}": "a" for i in range(80)}
    )
    assert answer.is_success
