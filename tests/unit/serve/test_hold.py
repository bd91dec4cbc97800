"""What Ray Serve reads ahead of the application, and what it adds to answers."""

import asyncio

from starlette.types import Message, Receive, Scope, Send

from app.serve.hold import Hold

LIMIT, PART = 1000, 300


class Client:
    """Sends without end, and gives back its messages one by one."""

    def __init__(self) -> None:
        self.sent = 0

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        self.sent += PART
        return {"type": "http.request", "body": bytes(PART), "more_body": True}


def run(app: object, client: Client) -> list[Message]:
    answers: list[Message] = []

    async def send(message: Message) -> None:
        answers.append(message)

    asyncio.run(Hold(app, LIMIT)({"type": "http"}, client.receive, send))  # type: ignore[arg-type]
    return answers


def test_no_more_than_a_little_above_the_limit_is_read_before_the_answer() -> None:
    last: list[str] = []

    async def reads_ahead(scope: Scope, receive: Receive, send: Send) -> None:
        """As Ray Serve: a task reads to the end, while the application answers what it has."""

        async def read() -> None:
            while (message := await receive())["type"] != "http.disconnect":
                pass
            last.append(message["type"])

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        await reading

    client = Client()
    assert [answer["type"] for answer in run(reads_ahead, client)] == ["http.response.start", "http.response.body"]
    assert LIMIT < client.sent <= LIMIT + PART
    assert last == ["http.disconnect"]


def test_of_two_request_ids_the_first_is_kept() -> None:
    async def answers(scope: Scope, receive: Receive, send: Send) -> None:
        ids = [(b"x-request-id", b"the application's"), (b"a", b"b"), (b"x-request-id", b"Ray Serve's")]
        await send({"type": "http.response.start", "status": 200, "headers": ids})
        await send({"type": "http.response.body", "body": b""})

    assert run(answers, Client())[0]["headers"] == [(b"x-request-id", b"the application's"), (b"a", b"b")]
