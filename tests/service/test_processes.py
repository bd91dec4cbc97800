"""Several processes behind one port: they serve, count and end as one."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.stores import withdraw
from cameo import codec
from tests.service.pictures import PHOTO
from tests.service.server import START_SECONDS, Server, asked_to_go_on, serve, start, until
from tests.tiny import publish_tiny

UPLOAD = {"Content-Type": "image/png", "Accept": "application/vnd.cameo"}


@pytest.fixture
def server(tiny_store: Path, tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path / "log", store=tiny_store, processes=2) as server:
        until(lambda: len(serving(server)) == 2)
        yield server


def serving(server: Server) -> list[int]:
    """Ids of the processes that listen or did, by the log."""
    # A process logs this once its models are warm, in the lines after that with its id.
    started = [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", server.log)]
    return started[: server.log.count("Application startup complete")]


def compress(server: Server) -> httpx.Response:
    """By a connection of its own."""
    return httpx.post(f"http://127.0.0.1:{server.port}/compress", content=PHOTO, headers=UPLOAD, timeout=60)


def test_all_answer_alike_and_are_counted_together(server: Server) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: compress(server), range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    for _ in range(5):  # whoever answers
        assert httpx.get(f"http://127.0.0.1:{server.port}/readyz").json()["workers"] >= 1
        assert server.metric("cameo_requests_total", route="/compress", status="200") == 60
    assert server.metric("cameo_ready") == 1
    assert all(server.metric("cameo_loaded_models", **labels) == 2 for labels in server.labels("cameo_loaded_models"))
    assert len(server.labels("cameo_loaded_models")) == len(server.labels("cameo_model_info")) > 0
    resident = sum(
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") for pid in serving(server)
    )
    assert server.metric("process_resident_memory_bytes") == pytest.approx(resident, rel=0.05)


def test_all_take_a_new_version_and_let_an_old_one_go(tmp_path: Path) -> None:
    old = publish_tiny(tmp_path / "store", "tiny-vae", seed=1)
    settings: dict[str, Any] = {"store": tmp_path / "store", "store_poll_seconds": 0.2, "processes": 2}
    with serve(tmp_path / "log", **settings) as server:
        until(lambda: server.metric("cameo_loaded_models", version="1") == 2)
        new = publish_tiny(tmp_path / "store", "tiny-vae", seed=2)
        until(lambda: server.metric("cameo_loaded_models", version="2") == 2)
        assert {codec.unwrap(compress(server).content).tag for _ in range(20)} == {new.tag}
        withdraw(old)
        until(lambda: server.metric("cameo_loaded_models", version="1") == 0)
        until(lambda: server.metric("cameo_model_info", version="1") == 0)
        assert server.metric("cameo_model_info", version="2") == 1


def test_one_that_is_killed_is_replaced_while_the_other_serves(server: Server) -> None:
    first, second = serving(server)
    os.kill(second, signal.SIGKILL)
    until(lambda: f"process {second} ended with -9; another takes its place" in server.log)
    while len(serving(server)) < 3:
        assert compress(server).status_code == 200
    assert len({first, second, *serving(server)}) == 3
    assert server.metric("cameo_ready") == 1
    os.kill(first, signal.SIGKILL)
    until(lambda: len(serving(server)) == 4)
    assert {compress(server).status_code for _ in range(10)} == {200}


def test_what_was_accepted_is_answered_after_sigterm(server: Server) -> None:
    connections = [asked_to_go_on(server, "/compress", len(PHOTO)) for _ in range(8)]
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.log.count("Waiting for connections to close") + server.log.count("Shutting down") >= 2)
    time.sleep(0.5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
    for connection in connections:
        connection.sendall(PHOTO)
        server.process.send_signal(signal.SIGTERM)  # again and again: still nothing is dropped, and no end is untidy
        with connection:
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200 ")
    # Leaving the fixture checks that the service has ended with 0.


def test_they_end_with_the_process_that_started_them(server: Server) -> None:
    pids = serving(server)
    server.process.kill()
    server.process.wait()
    until(lambda: not any(alive(pid) for pid in pids))
    server.stop = lambda: None  # type: ignore[method-assign]


def test_one_that_still_loads_ends_with_the_process_that_started_it(tiny_store: Path, tmp_path: Path) -> None:
    process = start(tmp_path / "log", store=tiny_store, processes=2, port=0)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: len(children.read_text().split()) >= 2)  # one of them is multiprocessing's resource tracker
    pids = [int(pid) for pid in children.read_text().split()]
    process.kill()
    process.wait()
    until(lambda: not any(alive(pid) for pid in pids))
    assert "Started server process" not in (tmp_path / "log").read_text()


def alive(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_what_is_wrong_with_a_setting_is_said_once(tmp_path: Path) -> None:
    process = start(tmp_path / "log", detector="/nowhere/yunet.onnx", processes=3, port=0)
    assert process.wait(START_SECONDS) == 2
    log = (tmp_path / "log").read_text()
    assert log.count("cameo: ") == log.count("is not a readable YuNet model") == 1
    assert "ended before it served" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Path, shared: bool) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(tmp_path / "log", processes=2, port=taken.getsockname()[1])
        assert process.wait(START_SECONDS) == 1
    log = (tmp_path / "log").read_text()
    assert re.fullmatch(r"cameo: CAMEO_HOST=127\.0\.0\.1 CAMEO_PORT=\d+: .*already in use\n", log)
