"""What a client makes of a service that is busy, leaves, or is none. The service is a function here."""

import base64
import json
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest

import cameo
from cameo.client import exchange
from cameo.errors import BodyTooLarge, DeadlineExceeded, NotReady, Overloaded, RefusedVersion, Unreachable

URL = "http://service.example"
PROBLEM = {"Content-Type": "application/problem+json"}
FACE = {
    "model": "m", "version": 1, "effort": "fast", "payload": base64.b64encode(b"face").decode(), "likeness": None,
    "warnings": [], "tokens": {"shape": [1], "codebook_size": 2, "indices": [1]},
    "frame": {
        "method": "asis", "box": [0, 0, 1, 1], "landmarks": None, "roll": None, "score": None, "faces": None,
        "turned": None,
    },
}  # fmt: skip

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FIRST_PAUSE", 0.0)


def client(*answers: Answer | httpx.Response | Exception, **options: Any) -> tuple[cameo.Client, list[httpx.Request]]:
    """One that gets these answers, one after another, and the requests that it sent."""
    left, seen = list(answers), list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    return cameo.Client(URL, http=httpx.Client(transport=httpx.MockTransport(handle)), **options), seen


def problem(type_: str, status: int, wait: int | None = None, **facts: Any) -> httpx.Response:
    document = {"type": f"urn:cameo:problem:{type_}", "title": "T", "status": status, "detail": "D"} | facts
    headers = PROBLEM if wait is None else PROBLEM | {"Retry-After": str(wait)}
    return httpx.Response(status, content=json.dumps(document), headers=headers)


def done() -> httpx.Response:
    return httpx.Response(200, json=FACE)


def count(request: httpx.Request) -> int:
    return len(tarfile.open(fileobj=BytesIO(request.content)).getnames())


class Lines(httpx.SyncByteStream):
    """So many results, and then the end of the batch, or of the connection."""

    def __init__(self, results: int, end: Exception | None = None) -> None:
        self._results, self._end = results, end

    def __iter__(self) -> Iterator[bytes]:
        for index in range(self._results):
            yield json.dumps(FACE | {"index": index, "name": str(index)}).encode() + b"\n"
        if self._end:
            raise self._end
        yield b'{"items": 0, "failed": 0}\n'


def batch(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=Lines(count(request)))


@pytest.mark.parametrize("refusal", ["overloaded", "rate-limited", "not-ready", "too-many-connections"])
def test_a_service_that_says_when_to_come_again_is_asked_again(refusal: str) -> None:
    refused = [problem(refusal, 429, wait=0) for _ in range(9)]
    service, seen = client(*refused, done())
    assert service.compress(b"photo").payload == b"face"
    assert len(seen) == 10
    assert {request.content for request in seen} == {b"photo"}
    deadlines = [int(request.headers["Cameo-Deadline-Ms"]) for request in seen]
    assert 0 < deadlines[-1] <= deadlines[0] <= 60_000


def test_nobody_waits_longer_than_the_answer_is_of_use() -> None:
    service, seen = client(problem("overloaded", 429, wait=30, waiting_seconds=3), timeout=20)
    with pytest.raises(Overloaded) as error:
        service.compress(b"photo")
    assert error.value.facts == {"waiting_seconds": 3, "retry_after": 30}
    assert len(seen) == 1
    service, seen = client(problem("not-ready", 503), done())
    with pytest.raises(NotReady):
        service.compress(b"photo")


def test_without_a_timeout_the_service_decides() -> None:
    service, seen = client(done(), timeout=None)
    service.compress(b"photo")
    assert "Cameo-Deadline-Ms" not in seen[0].headers


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem("refused-version", 503), RefusedVersion),
        (problem("deadline-exceeded", 504), DeadlineExceeded),
        (problem("of-the-future", 422), cameo.CameoError),
        (httpx.Response(404, text="nothing here"), Unreachable),
        (httpx.Response(301, headers={"Location": "/"}), Unreachable),
        (httpx.Response(200, text="<html>"), Unreachable),
        (httpx.Response(200, json={"model": "m"}), Unreachable),
        (httpx.Response(400, text="oops", headers=PROBLEM), Unreachable),
    ],
)
def test_what_cannot_get_better_is_not_asked_again(answer: httpx.Response, kind: type[Exception]) -> None:
    service, seen = client(answer, done())
    with pytest.raises(kind) as error:
        service.compress(b"photo")
    assert type(error.value) is kind
    assert len(seen) == 1


def test_connections_that_fail_are_made_again_a_few_times() -> None:
    broken = httpx.RemoteProtocolError("peer closed connection")
    gateway = httpx.Response(502, text="bad gateway")
    service, seen = client(broken, httpx.ConnectError("refused"), gateway, done())
    assert service.compress(b"photo").payload == b"face"
    service, seen = client(httpx.Response(500, text="Internal Server Error"), done())
    assert service.compress(b"photo").payload == b"face"
    service, seen = client(*[broken] * 4, done())
    with pytest.raises(Unreachable, match="may have ended"):
        service.compress(b"photo")
    assert len(seen) == 4


def test_after_a_broken_answer_only_the_rest_is_sent_again() -> None:
    def cut(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Lines(2, httpx.ReadError("reset")))

    service, seen = client(cut, problem("overloaded", 429, wait=0), cut, batch)
    assert len(list(service.compress_many([b"photo"] * 5))) == 5
    assert [count(request) for request in seen] == [5, 3, 3, 1]


def test_a_batch_that_always_breaks_is_given_up() -> None:
    def nothing(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Lines(0, httpx.ReadError("reset")))

    service, seen = client(*[nothing] * 4)
    with pytest.raises(Unreachable, match="broke the connection off"):
        list(service.compress_many([b"photo"] * 5, on_error="return"))
    assert len(seen) == 4


def test_what_a_batch_had_no_time_for_is_sent_again() -> None:
    late = json.loads(problem("deadline-exceeded", 504).content)

    def slow(request: httpx.Request) -> httpx.Response:
        lines = [FACE, FACE, *[{"problem": late}] * (count(request) - 2)]
        return httpx.Response(200, text="".join(json.dumps(line) + "\n" for line in lines))

    service, seen = client(slow, slow, batch)
    assert len(list(service.compress_many([b"photo"] * 5))) == 5
    assert [count(request) for request in seen] == [5, 3, 1]


def test_a_batch_that_is_too_much_is_halved() -> None:
    def narrow(request: httpx.Request) -> httpx.Response:
        return batch(request) if count(request) <= 2 else problem("too-many-items", 422, items=9, limit=2)

    service, seen = client(*[narrow] * 7)
    assert len(list(service.compress_many([b"photo"] * 9))) == 9
    assert [count(request) for request in seen] == [9, 4, 2, 2, 2, 2, 1]
    service, seen = client(problem("body-too-large", 413, limit=3), batch)
    large, small = service.compress_many([b"photo"], on_error="return"), service.compress_many([b"photo"])
    assert isinstance(next(large), BodyTooLarge)
    assert next(small).payload == b"face"


def test_a_batch_has_no_more_bytes_than_a_body_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cameo.client.batches.BATCH_BYTES", 10)
    service, seen = client(batch, batch, batch, batch)
    assert len(list(service.compress_many([b"12345", b"12345", b"1", b"123456789012", b"1"]))) == 5
    assert [count(request) for request in seen] == [2, 1, 1, 1]


def test_a_key_is_sent() -> None:
    service, seen = client(done(), key="secret")
    service.compress(b"photo")
    assert seen[0].headers["Authorization"] == "Bearer secret"
    assert "secret" not in repr(service)


@pytest.mark.parametrize("key", ["", "secret-key\r", "a b", "ключ"])
@pytest.mark.parametrize("kind", [cameo.Client, cameo.AsyncClient])
def test_a_key_that_no_header_can_have_is_refused_and_not_said(kind: Any, key: str) -> None:
    with pytest.raises(ValueError, match="the API key has characters") as caught:
        kind("http://127.0.0.1", key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_timeout_is_a_number_of_seconds(timeout: float) -> None:
    with pytest.raises(ValueError, match="give more than 0"):
        cameo.Client("http://127.0.0.1", timeout=timeout)


def test_a_wait_of_five_thousand_digits_is_none() -> None:
    answer = problem("overloaded", 429)
    answer.headers["Retry-After"] = "9" * 5000
    service, _ = client(answer)
    with pytest.raises(Overloaded):
        service.reconstruct(b"x")
