import asyncio
import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware import LimitBody, Observe
from app.observe.metrics import Metrics
from cameo.errors import BodyTooLarge


async def broken(request: Request) -> Response:
    raise ZeroDivisionError("a secret of the house")


async def slow_start(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise ZeroDivisionError("too late for another answer")


def ask(app: Starlette | Observe, path: str) -> httpx.Response:
    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get(path, headers={"X-Request-Id": "seven"})

    return asyncio.run(get())


def test_the_unforeseen_is_a_problem_with_everything_that_answers_have(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    app = Starlette(routes=[Route("/broken", broken)])
    app.add_middleware(Observe, metrics=metrics)
    answer = ask(app, "/broken")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == "seven"
    assert answer.json()["type"] == "urn:cameo:problem:internal"
    assert "secret" not in answer.text
    (logged,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "id=seven" in logged.getMessage()
    assert logged.exc_info
    counted = {"method": "GET", "route": "/broken", "status": "500"}
    assert metrics.registry.get_sample_value("cameo_requests_total", counted) == 1


def test_an_answer_that_breaks_off_is_left_to_the_server() -> None:
    with pytest.raises(ZeroDivisionError):
        ask(Observe(slow_start, Metrics()), "/")


@pytest.mark.parametrize(
    ("declared", "chunks", "asked"),
    [("11", [b"x"] * 11, 0), (None, [b"x" * 6, b"x" * 5, b"x"], 2), ("5", [b"x" * 11], 1)],
    ids=["declared", "undeclared", "declared less than sent"],
)
def test_a_body_over_the_limit_is_read_no_further(declared: str | None, chunks: list[bytes], asked: int) -> None:
    given = iter(chunks)
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": next(given), "more_body": True}

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    headers = [] if declared is None else [(b"content-length", declared.encode())]
    with pytest.raises(BodyTooLarge) as caught:
        asyncio.run(LimitBody(read, 10)({"type": "http", "headers": headers}, receive, send))
    assert caught.value.facts == {"bytes": 11, "limit": 10}
    assert taken == asked


def test_a_body_at_the_limit_passes() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    async def post() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(LimitBody(app, 10)), base_url="http://x") as client:
            return (await client.post("/", content=b"x" * 10)).text

    assert asyncio.run(post()) == "10"
