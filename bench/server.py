"""A server in a process of its own, what it and its children cost, and a light client.

The tests of the service start theirs with :func:`launch`, too, see ``tests/service/server.py``.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

START_LIMIT = 120.0  # seconds until a server must be ready
STOP_LIMIT = 40.0  # seconds until a server must have ended after SIGTERM
CAMEO = (sys.executable, "-m", "app")
ROOT = Path(__file__).parents[1]


class BenchError(Exception):
    """The measurement cannot be made, or the service answers wrongly; one sentence for a person."""


def free_port(port: int = 0) -> int:
    """A TCP port of 127.0.0.1 on which nothing listens: this one where it is free, by default any."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        number: int = free.getsockname()[1]
        return number


def launch(log: Path, environment: Mapping[str, str], command: Sequence[str] = CAMEO) -> subprocess.Popen[bytes]:
    """Start a server that writes to the file ``log``.

    It gets a process group of its own, so that an interrupt at the terminal reaches only who stops it in good order.
    """
    with log.open("wb") as file:
        return subprocess.Popen(
            command, cwd=ROOT, env=dict(environment), stdout=file, stderr=file, start_new_session=True
        )


class Server:
    """Serves ``store`` on a free port, from the start of the ``with`` block, which waits until it is ready, to its end.

    ``command`` is Cameo, or a rival that takes the same CAMEO_STORE, CAMEO_HOST and CAMEO_PORT from its environment and
    answers 200 at ``/readyz``. ``settings`` are further variables of the environment.

    ``start_seconds`` is the time from the start of the process to the first 200 of ``/readyz``, ``workers`` how many
    requests it computes at once, where it says so. Memory and CPU time are those of the process and all below it; they
    are read from /proc: Linux only.
    """

    def __init__(
        self, store: Path, command: Sequence[str] = CAMEO, settings: Mapping[str, str] | None = None, port: int = 0
    ) -> None:
        self.port = free_port(port)
        fixed = {"CAMEO_STORE": str(store.absolute()), "CAMEO_HOST": "127.0.0.1", "CAMEO_PORT": str(self.port)}
        self._command = list(command)
        self._environment = os.environ | fixed | dict(settings or {})
        self._open = contextlib.ExitStack()  # nothing yet

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._log = Path(stack.enter_context(tempfile.TemporaryDirectory()), "log")
            began = time.perf_counter()
            self._process = launch(self._log, self._environment, self._command)
            stack.callback(self._stop)
            self.workers: int = self._until_ready(began + START_LIMIT).get("workers", 1)
            self.start_seconds = time.perf_counter() - began
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def connect(self) -> http.client.HTTPConnection:
        """A connection for many requests, one after another."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def memory_mb(self) -> float:
        """What is resident, in 10^6 bytes. Pages that a child shares with its parent count in both."""
        return sum(self._resident(pid) for pid in family(self._process.pid)) / 1e6

    def cpu_seconds(self) -> float:
        """CPU time of all threads since the start, to a hundredth of a second."""
        ticks = 0
        for pid in family(self._process.pid):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                stat = Path(f"/proc/{pid}/stat").read_text()
                user, system = stat.rpartition(")")[2].split()[11:13]
                ticks += int(user) + int(system)
        return ticks / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """File descriptors of the process itself."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))  # noqa: PTH208

    def share(self, seconds: float = 0.5) -> float:
        """How many cores it keeps busy at the moment."""
        began, before = time.perf_counter(), self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / (time.perf_counter() - began)

    def settle(self, idle: float = 0.0, limit: float = 20.0) -> bool:
        """Wait until it has finished the work of earlier requests; False where it has not within ``limit`` seconds.

        ``idle`` is its :meth:`share` with nothing to do: some servers poll.
        """
        until = time.perf_counter() + limit
        while time.perf_counter() < until:
            if self.share() < 0.15 + 1.3 * idle:
                return True
        return False

    def log(self) -> str:
        """What the server wrote."""
        return self._log.read_text(errors="replace")

    def terminate(self) -> int | None:
        """SIGTERM, then its exit status; None where it had not ended after ``STOP_LIMIT``."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            return None

    def ended(self) -> int | None:
        """The exit status where it has ended, else None."""
        return self._process.poll()

    def _resident(self, pid: int) -> int:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            words = status.partition("VmRSS:")[2].split()
            return int(words[0]) * 1024 if words else 0  # a process that is ending has none
        return 0

    def _until_ready(self, deadline: float) -> dict[str, Any]:
        while self._process.poll() is None and time.perf_counter() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(self.connect()) as c:
                c.request("GET", "/readyz")
                answer = c.getresponse()
                body = answer.read()
                if answer.status == 200:
                    ready: dict[str, Any] = json.loads(body) if body.startswith(b"{") else {}
                    return ready
            time.sleep(0.02)
        raise BenchError(
            f"{' '.join(self._command[1:])} ended, or was not ready after {START_LIMIT:.0f} s; its log ends with\n"
            + self.log()[-2000:]
        )

    def _stop(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):  # whatever is left of its group
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Peak:
    """The most memory that a server takes during a ``with`` block: ``megabytes``, sampled four times a second."""

    def __init__(self, server: Server) -> None:
        self._server, self._over = server, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.megabytes = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.megabytes = max(self.megabytes, self._server.memory_mb())
            if self._over.wait(0.25):
                return


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def post(connection: http.client.HTTPConnection, path: str, media_type: str, body: bytes, accept: str = "*/*") -> bytes:
    """The answer's body; BenchError where its status is not 200."""
    connection.request("POST", path, body, {"Content-Type": media_type, "Accept": accept})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise BenchError(f"POST {path} got {answer.status}: {content[:500].decode(errors='replace')}")
    return content
