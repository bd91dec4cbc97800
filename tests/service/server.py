"""A real service: ``python -m app`` in a process of its own, driven over TCP."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from bench.server import free_port, launch

ROOT = Path(__file__).parents[2]
START_SECONDS = 90
STOP_SECONDS = 60
PATIENCE = 60  # seconds, on a busy machine


class Server:
    """A running service. ``client`` keeps its connections; ``log`` is what the process wrote so far."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def close(self) -> None:
        self.client.close()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait(self, settled: Callable[[httpx.Response], bool]) -> None:
        """Until ``/readyz`` answers as wanted."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the service ended with {self.process.returncode}:\n{self.log}"
            try:
                if settled(self.client.get("/readyz")):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"the service was not ready after {START_SECONDS} s:\n{self.log}")

    def raw(self, sent: bytes) -> bytes:
        """The beginning of the answer to bytes that no HTTP client would send; the connection stays open meanwhile."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(sent)
            answer = b""
            while b"\r\n\r\n" not in answer and (part := connection.recv(2**16)):
                answer += part
            return answer

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels."""
        return sum(sample.value for sample in self._samples(name) if labels.items() <= sample.labels.items())

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of each sample of this name."""
        return [sample.labels for sample in self._samples(name)]

    def _samples(self, name: str) -> list[Sample]:
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        return [sample for family in families for sample in family.samples if sample.name == name]

    def stop(self) -> None:
        """SIGTERM, and a clean end."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_SECONDS)
        assert code == 0, f"the service ended with {code}:\n{self.log}"


def start(log: Path, **settings: Any) -> subprocess.Popen[bytes]:
    """``python -m app`` with nothing but these settings, each a ``CAMEO_*`` variable."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("CAMEO_")}
    return launch(log, env | {f"CAMEO_{name.upper()}": str(value) for name, value in settings.items()})


@contextmanager
def serve(
    log: Path, settled: Callable[[httpx.Response], bool] = lambda ready: ready.is_success, **settings: Any
) -> Iterator[Server]:
    """A service on the CPU at a free port, stopped with SIGTERM at the end."""
    port = free_port()
    process = start(log, port=port, **{"device": "cpu", "drain_seconds": 0} | settings)
    try:
        with closing(Server(process, port, log)) as server:
            server.wait(settled)
            yield server
            server.stop()
            assert "Traceback" not in server.log, server.log
    finally:
        process.kill()
        process.wait()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def asked_to_go_on(server: Server, path: str, body_bytes: int) -> socket.socket:
    """A connection on which the head of a request with a PNG was sent, and the service waits for the body."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {body_bytes}\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
    assert connection.recv(100).startswith(b"HTTP/1.1 100 "), "the service waits for the body"
    return connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the service closes the connection."""
    return b"".join(iter(lambda: connection.recv(2**16), b""))


def problem(answer: httpx.Response, type_: str, status: int) -> dict[str, Any]:
    """The body of an answer that has to be this problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"]) == (f"urn:cameo:problem:{type_}", status), body
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return body
