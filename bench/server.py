"""``python -m app`` in a process of its own, what it costs, and a client that costs little."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

START_LIMIT = 120.0  # seconds until a server must be ready


class BenchError(Exception):
    """The measurement cannot be made, or the service answers wrongly; one sentence for a person."""


class Server:
    """Serves ``store`` on a free port, from the start of the ``with`` block, which waits until it is ready, to its end.

    ``start_seconds`` is the time from the start of the process to the first 200 of ``/readyz``, ``workers`` how many
    requests it computes at once. Memory and CPU time are read from /proc: Linux only.
    """

    def __init__(self, store: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        settings = {"CAMEO_STORE": str(store), "CAMEO_HOST": "127.0.0.1", "CAMEO_PORT": str(self._port)}
        self._environment = os.environ | settings

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._log = stack.enter_context(tempfile.TemporaryFile())
            began = time.perf_counter()
            command = [sys.executable, "-m", "app"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)
            stack.callback(self._stop)
            self.workers: int = self._until_ready(began + START_LIMIT)["workers"]
            self.start_seconds = time.perf_counter() - began
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def connect(self) -> http.client.HTTPConnection:
        """A connection for many requests, one after another."""
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)

    def memory_mb(self) -> float:
        """What is resident, in 10^6 bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6

    def cpu_seconds(self) -> float:
        """CPU time of all threads since the start, to a hundredth of a second."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _until_ready(self, deadline: float) -> dict[str, int]:
        while self._process.poll() is None and time.perf_counter() < deadline:
            with contextlib.suppress(ConnectionError), contextlib.closing(self.connect()) as connection:
                connection.request("GET", "/readyz")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    ready: dict[str, int] = json.loads(body)
                    return ready
            time.sleep(0.02)
        self._log.seek(0)
        tail = self._log.read()[-2000:].decode(errors="replace")
        raise BenchError(f"the server ended, or was not ready after {START_LIMIT:.0f} s; its log ends with\n{tail}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def post(connection: http.client.HTTPConnection, path: str, media_type: str, body: bytes) -> bytes:
    """The answer's body; BenchError where its status is not 200."""
    connection.request("POST", path, body, {"Content-Type": media_type})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise BenchError(f"POST {path} got {answer.status}: {content[:500].decode(errors='replace')}")
    return content
