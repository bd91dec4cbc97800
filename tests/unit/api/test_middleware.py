import asyncio
import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.api.middleware import Observe
from app.observe.metrics import Metrics


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
