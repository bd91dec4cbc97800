import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.bodies import Budget, LimitBodies
from app.config import Settings
from cameo.errors import BadRequest, BodyTooLarge, CameoError, Overloaded, UnsupportedMediaType


def limited(app: ASGIApp, limit: int = 10, budget: Budget | None = None) -> LimitBodies:
    return LimitBodies(app, limit, lambda: 5, budget or Budget(1000))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The body; of an error, its type."""
    try:
        body = await Request(scope, receive).body()
    except CameoError as error:
        body = error.type.encode()
    await PlainTextResponse(body)(scope, receive, send)


def send_to(app: ASGIApp, content: bytes | AsyncIterator[bytes], **headers: str) -> bytes:
    async def post() -> bytes:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return (await client.post("/", content=content, headers=named)).content

    return asyncio.run(post())


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
        asyncio.run(limited(read)({"type": "http", "headers": headers}, receive, send))
    assert caught.value.facts == {"bytes": 11, "limit": 10}
    assert taken == asked


def test_a_body_at_the_limit_passes() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    async def post() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(limited(app)), base_url="http://x") as client:
            return (await client.post("/", content=b"x" * 10)).text

    assert asyncio.run(post()) == "10"


def test_json_has_a_limit_of_its_own() -> None:
    assert send_to(limited(echo), b"123456", content_type="application/json; charset=utf-8") == b"body-too-large"
    assert send_to(limited(echo), b"12345", content_type="application/json") == b"12345"


def test_bodies_together_have_a_budget_and_give_it_back() -> None:
    budget = Budget(100)
    inside: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        inside.append(budget.held)
        await echo(scope, receive, send)
        inside.append(budget.held)

    for _ in range(5):
        assert send_to(limited(app, 60, budget), bytes(40)) == bytes(40)
    assert inside == [0, 40] * 5
    assert send_to(limited(app, 60, budget), bytes(51)) == b"overloaded"
    assert budget.held == 0


def test_the_budget_holds_any_body_twice() -> None:
    assert Budget.of(Settings(max_body_bytes=2**20, body_memory_mb=2)).held == 0
    with pytest.raises(ValueError, match="CAMEO_BODY_MEMORY_MB=2 must hold twice"):
        Budget.of(Settings(max_body_bytes=2**20 + 1, body_memory_mb=2))


def test_a_large_body_leaves_room_for_others() -> None:
    budget = Budget(100)
    budget.take(30, 0)
    budget.take(20, 30)
    with pytest.raises(Overloaded) as caught:
        budget.take(1, 50)
    assert caught.value.facts == {"bytes": 50, "limit": 100, "retry_after": 1}
    budget.take(25, 0)
    with pytest.raises(Overloaded):
        budget.take(13, 0)
    budget.take(12, 0)
    budget.give_back(50)
    budget.take(25, 0)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_gzip_is_decoded(encoding: str) -> None:
    data = bytes(range(256)) * 4096
    app = limited(echo, len(data), Budget(4 * len(data)))
    assert send_to(app, gzip.compress(data), content_encoding=encoding) == data

    async def drops() -> AsyncIterator[bytes]:
        for byte in gzip.compress(data[:300]):
            yield bytes([byte])

    assert send_to(app, drops(), content_encoding=encoding) == data[:300]


def test_what_gzip_becomes_is_limited_while_it_is_decoded() -> None:
    budget = Budget(10**6)
    assert (
        send_to(limited(echo, 1000, budget), gzip.compress(bytes(10**8)), content_encoding="gzip") == b"body-too-large"
    )
    assert budget.held == 0


@pytest.mark.parametrize(
    ("encoding", "data", "kind"),
    [
        ("br", b"", UnsupportedMediaType),
        ("gzip, gzip", b"", UnsupportedMediaType),
        ("gzip", b"no gzip", BadRequest),
        ("gzip", gzip.compress(b"cut short")[:-1], BadRequest),
        ("gzip", b"", BadRequest),
        ("gzip", gzip.compress(b"one") + gzip.compress(b"two"), BadRequest),
    ],
    ids=["brotli", "twice", "no gzip", "cut short", "empty", "two members"],  # the bytes hold the time
)
def test_encodings_that_are_not_decoded(encoding: str, data: bytes, kind: type[CameoError]) -> None:
    assert send_to(limited(echo, 1000), data, content_encoding=encoding) == kind.type.encode()
