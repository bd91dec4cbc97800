"""What strangers send costs a bounded amount of memory, and leaves room for others."""

import gzip
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archives import zipped
from tests.service.pictures import PHOTO
from tests.service.server import Server, serve, until

BODY, ALL_MB, SPARE_MB = 4 * 2**20, 16, 64
PNG = {"Content-Type": "image/png"}

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("costs") / "log"
    with serve(
        log, store=tiny_store, workers=2, effort="fast", max_body_bytes=BODY, body_memory_mb=ALL_MB
    ) as server:  # fmt: skip
        assert server.client.post("/compress", content=PHOTO, headers=PNG).is_success
        yield server


def resident_mb(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def test_bodies_that_stop_share_a_budget(server: Server) -> None:
    before, refused = resident_mb(server), 0
    connections = []
    try:
        for _ in range(60):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            connections.append(connection)
            head = f"POST /compress HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {BODY}\r\n\r\n"
            connection.sendall(head.encode() + bytes(BODY - 1))
            connection.settimeout(0.2)
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 1" in answer.lower()
            refused += 1
        assert refused > 40
        assert resident_mb(server) - before < ALL_MB + SPARE_MB
        assert server.client.post("/compress", content=PHOTO, headers=PNG).is_success, "there is room for others"
    finally:
        for connection in connections:
            connection.close()
    whole = PHOTO + bytes(BODY - len(PHOTO))
    until(lambda: server.client.post("/compress", content=whole, headers=PNG).is_success)


def test_batches_of_bombs_share_memory(server: Server) -> None:
    """Each body has a few kilobytes, and each of its items becomes four megabytes."""
    before = resident_mb(server)
    body = zipped({f"{i}.png": bytes(BODY) for i in range(12)})
    head = (
        f"POST /compress/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: {len(body)}\r\n"
    )
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(20)]
    for connection in connections:
        connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
    grown = 0
    for connection in connections:
        with connection:
            while connection.recv(2**16):
                grown = max(grown, resident_mb(server) - before)
    assert grown < 2 * 4 * 2 * BODY // 2**20 + SPARE_MB  # twice four items for each of two workers


def test_compressed_bodies_count_as_what_they_become(server: Server) -> None:
    before = resident_mb(server)
    body = gzip.compress(bytes(BODY - 1))
    for _ in range(10):
        answer = server.client.post("/compress", content=body, headers=PNG | {"Content-Encoding": "gzip"})
        assert answer.status_code in {400, 415}, answer.text
    assert resident_mb(server) - before < SPARE_MB


def test_a_large_form_holds_up_nobody(server: Server) -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    for fill in (b"\r\n--", b"\r\n--B"[:4], b"\r"):
        body = head + PHOTO + fill * ((BODY - 200_000) // len(fill)) + b"\r\n--B--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=B"}
        assert server.client.post("/compress", content=body, headers=kind).is_success
