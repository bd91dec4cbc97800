"""Under load: results that do not depend on it, refusals that say why, and clients that leave."""

import asyncio
import contextlib
import io
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.pictures import FACE, PHOTO, file
from tests.service.server import Server, problem, rest, serve

PAYLOAD = "application/vnd.cameo"
UPLOAD = {"Content-Type": "image/png"}
REQUESTS = 3000
CLIENTS = 48
MODELS = ("tiny-vae", "tiny-vqvae", "tiny-grid", "tiny-progressive")


class Asked(NamedTuple):
    path: str
    body: bytes
    headers: dict[str, str]


def portraits(count: int) -> list[bytes]:
    """Small pictures that differ from each other, and are encoded differently."""
    rng = np.random.default_rng(0)
    pictures = []
    for i in range(count):
        noise = rng.integers(-40, 40, (128, 128, 3))
        face = np.clip(np.asarray(FACE.resize((128, 128))).astype(int) + noise, 0, 255).astype(np.uint8)
        pictures.append(file(Image.fromarray(face), ("PNG", "JPEG", "WEBP")[i % 3]))
    return pictures


def mixture(client: httpx.Client) -> list[Asked]:
    """Requests of every kind and model, each of which has one right answer."""
    asked = [
        Asked(
            f"/compress?model={model}&frame=asis&effort=fast&likeness={str(accept != PAYLOAD).lower()}", picture,
            {"Content-Type": "image/*", "Accept": accept},
        )
        for model in MODELS
        for picture in portraits(6)
        for accept in (PAYLOAD, "application/json")
    ]  # fmt: skip
    progressive = "/compress?model=tiny-progressive&frame=asis&likeness=false"
    asked += [
        Asked(f"{progressive}&effort=fast&max_bytes={budget}", picture, {"Content-Type": "image/*"})
        for budget in (32, 77, 320)
        for picture in portraits(3)
    ]
    asked.append(Asked(f"{progressive}&effort=good&max_bytes=77", portraits(1)[0], {"Content-Type": "image/*"}))
    payloads = [client.post(a.path, content=a.body, headers=a.headers).content for a in asked[::2][:24]]
    asked += [Asked("/reconstruct", payload, {"Content-Type": PAYLOAD}) for payload in payloads]
    asked += [Asked("/shorten?max_bytes=40", payload, {"Content-Type": PAYLOAD}) for payload in payloads[18:]]
    return [*asked, Asked("/compress", PHOTO, UPLOAD), Asked("/compress", b"no picture", UPLOAD)]


def same(answer: httpx.Response) -> Any:
    """What must not depend on load: all but the request's own id."""
    if answer.headers["Content-Type"] == "application/problem+json":
        return {name: value for name, value in answer.json().items() if name != "request_id"}
    return answer.content


def test_thousands_of_requests_at_once_are_answered_as_each_alone(tiny_store: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "log", store=tiny_store, workers=3, queue_seconds=600, deadline_ms=600_000) as server:
        asked = mixture(server.client)
        alone = [same(server.client.post(a.path, content=a.body, headers=a.headers)) for a in asked]
        order = np.random.default_rng(0).integers(0, len(asked), REQUESTS).tolist()

        async def client(numbers: Iterator[int], http: httpx.AsyncClient) -> int:
            wrong = 0
            for number in numbers:
                path, body, headers = asked[number]
                answer = await http.post(path, content=body, headers=headers)
                wrong += same(answer) != alone[number]
            return wrong

        async def crowd() -> int:
            numbers = iter(order)
            async with httpx.AsyncClient(base_url=str(server.client.base_url), timeout=120) as http:
                return sum(await asyncio.gather(*(client(numbers, http) for _ in range(CLIENTS))))

        assert asyncio.run(crowd()) == 0
        batches = server.metric("cameo_batch_size_count")
        assert server.metric("cameo_batch_size_sum") > batches, "some of them were batches"
        assert server.metric("cameo_queue_length") == 0
        assert server.metric("cameo_backlog_seconds") == 0


@pytest.fixture(scope="module")
def narrow(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker, and a queue that is soon full."""
    log = tmp_path_factory.mktemp("narrow") / "log"
    with serve(log, store=tiny_store, workers=1, queue_seconds=0.5, max_body_bytes=2**26) as server:
        yield server


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A picture that takes a worker a good part of a second."""
    return file(Image.fromarray(np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)), "JPEG")


def test_a_full_queue_refuses_with_a_time_to_come_back_and_stays_live(narrow: Server, slow: bytes) -> None:
    def post(_: int) -> httpx.Response:
        path = f"http://127.0.0.1:{narrow.port}/compress?frame=asis"
        return httpx.post(path, content=slow, headers={"Content-Type": "image/jpeg"}, timeout=60)

    with ThreadPoolExecutor(24) as threads:
        answers = threads.map(post, range(24))
        assert narrow.client.get("/livez").status_code == 200
        statuses = [answer.status_code for answer in answers if answer.status_code == 200 or check_refusal(answer)]
    assert 200 in statuses
    assert 429 in statuses
    assert narrow.metric("cameo_refused_total", reason="queue") == statuses.count(429)
    refused = {"method": "POST", "route": "/compress", "status": "429"}
    assert narrow.metric("cameo_requests_total", **refused) == statuses.count(429)


@pytest.mark.parametrize("settings", [{}, {"queue_seconds": 0.5}], ids=["default", "short queue"])
def test_clients_that_obey_are_served_evenly(
    tiny_store: Path, tmp_path: Path, slow: bytes, settings: dict[str, Any]
) -> None:
    """Eight, one request after another, until each has three answers."""
    answers, refused = [0] * 8, [0] * 8
    with serve(tmp_path / "log", store=tiny_store, workers=1, max_body_bytes=2**26, **settings) as server:

        async def client(number: int, http: httpx.AsyncClient) -> None:
            while min(answers) < 3:
                answer = await http.post("/compress?frame=asis", content=slow, headers={"Content-Type": "image/jpeg"})
                if answer.status_code == 200:
                    answers[number] += 1
                else:
                    check_refusal(answer)
                    refused[number] += 1
                    await asyncio.sleep(int(answer.headers["Retry-After"]))

        async def crowd() -> None:
            async with httpx.AsyncClient(base_url=str(server.client.base_url), timeout=120) as http:
                await asyncio.gather(*(client(number, http) for number in range(8)))

        asyncio.run(crowd())
    assert sum(answers) / 8 <= 2 * min(answers), f"{answers}, refused {refused}"
    assert bool(settings) == any(refused), "two and more seconds of work are no reason to refuse anybody"


def check_refusal(answer: httpx.Response) -> bool:
    body = problem(answer, "overloaded", 429)
    assert body["waiting_seconds"] >= body["limit_seconds"] == 0.5  # rounded
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    return True


def test_what_comes_too_late_is_told_where_the_time_went(narrow: Server) -> None:
    headers = UPLOAD | {"Cameo-Deadline-Ms": "1"}
    body = problem(narrow.client.post("/compress", content=PHOTO, headers=headers), "deadline-exceeded", 504)
    assert body["deadline_ms"] == 1
    assert body["elapsed_ms"] >= 0
    assert "queue" in body["spent_ms"]
    assert narrow.client.post("/compress", content=PHOTO, headers=UPLOAD | {"Cameo-Deadline-Ms": "60000"}).is_success


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1.5", "3600001", "9" * 40, "²"])
def test_a_deadline_that_is_none(narrow: Server, value: str) -> None:
    headers = [(b"Content-Type", b"image/png"), (b"Cameo-Deadline-Ms", value.encode())]
    body = problem(narrow.client.post("/compress", content=PHOTO, headers=headers), "invalid-parameter", 422)
    assert body["parameter"] == "Cameo-Deadline-Ms"


def test_clients_that_leave_are_not_computed(tiny_store: Path, tmp_path: Path, slow: bytes) -> None:
    for busy in (4, 12, 36):
        with serve(tmp_path / "log", store=tiny_store, workers=1, queue_seconds=600, max_body_bytes=2**26) as server:
            if leave_while_the_worker_is_busy(server, [slow] * busy):
                return
    raise AssertionError("the worker was never busy until all who leave had left")


def leave_while_the_worker_is_busy(server: Server, busy: list[bytes]) -> bool:
    """False where the worker was done with ``busy`` too early to say anything, as on a machine with much other work."""

    def upload(body: bytes, kind: str) -> socket.socket:
        head = f"POST /compress?frame=asis HTTP/1.1\r\nHost: x\r\nContent-Type: image/{kind}\r\n"
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return connection

    def computed() -> float:
        return server.metric("cameo_stage_seconds_count", route="/compress", stage="infer")

    stays = [upload(body, "jpeg") for body in busy]
    wait_until(lambda: server.metric("cameo_queue_length") + computed() >= len(stays) - 1)
    leave = [upload(PHOTO, "png") for _ in range(25)]
    wait_until(lambda: server.metric("cameo_queue_length") >= len(leave) or computed() >= len(stays))
    for connection in leave:
        connection.close()
    wait_until(lambda: server.metric("cameo_requests_total", status="499") == 25 or computed() >= len(stays))
    too_early = computed() >= len(stays)
    for connection in stays:
        assert connection.recv(2**16).startswith(b"HTTP/1.1 200 ")
        connection.close()
    if too_early:
        return False
    assert server.metric("cameo_cancelled_total", stage="waiting") == 25
    assert computed() == len(stays)
    assert server.metric("cameo_stage_seconds_count", route="/compress", stage="decode") == len(stays)
    assert server.metric("cameo_backlog_seconds") == 0
    return True


def wait_until(settled: Any) -> None:
    for _ in range(600):
        if settled():
            return
        time.sleep(0.05)
    raise TimeoutError


def test_after_sigterm_it_is_not_ready_serves_on_and_drops_nothing(tiny_store: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "log", store=tiny_store, drain_seconds=2) as server:
        before = server.client.post("/compress", content=PHOTO, headers=UPLOAD)
        server.process.terminate()
        wait_until(lambda: server.client.get("/readyz").status_code == 503)
        while True:
            try:
                answer = server.client.post("/compress", content=PHOTO, headers=UPLOAD)
            except httpx.ConnectError:  # it does not listen any more
                break
            assert answer.status_code == 200
            assert answer.content == before.content
            assert answer.headers["Connection"] == "close"
        # Leaving the block checks that it has ended with 0.


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the last to connect are turned away")
@pytest.mark.parametrize("processes", [1, 2])
def test_no_client_that_has_connected_is_turned_away_at_the_end(
    tiny_store: Path, tmp_path: Path, processes: int
) -> None:
    answers: Counter[bytes] = Counter()

    def ask(port: int) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    answers[rest(connection)[:13]] += 1

    settings: dict[str, Any] = {"store": tiny_store, "drain_seconds": 0.2, "processes": processes}
    with serve(tmp_path / "log", **settings) as server, ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask, server.port) for _ in range(8)]
        wait_until(lambda: answers.total() > len(clients))
        server.process.terminate()
        for client in clients:
            client.result()  # no connection was reset
    assert set(answers) == {b"HTTP/1.1 200 "}


def test_a_picture_that_is_none_is_refused_before_it_waits(narrow: Server) -> None:
    for body in (b"", b"GIF89a", io.BytesIO(PHOTO).read(20)):
        answer = narrow.client.post("/compress", content=body, headers=UPLOAD)
        assert answer.status_code == 400
        assert "queue" not in answer.headers.get("Server-Timing", "")
