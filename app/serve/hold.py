"""What Ray Serve needs before its own reader: it would read a body to its end, however long, into memory.

Ray Serve reads ahead of the application, without a limit. So what is behind here gets no more than a little above
``CAMEO_MAX_BODY_BYTES``, and the application, which counts, answers 413. The rest stays with the client.
"""

import asyncio

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings

ID = b"x-request-id"


class Hold:
    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken, answered = 0, asyncio.Event()

        async def receive_some() -> Message:
            nonlocal taken
            if taken > self._limit:
                await answered.wait()
                return {"type": "http.disconnect"}
            message = await receive()
            taken += len(message.get("body", b""))
            return message

        async def send_and_see(message: Message) -> None:
            if message["type"] == "http.response.start":
                _keep_one_id(message)
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()

        try:
            await self._app(scope, receive_some, send_and_see)
        finally:
            answered.set()


def _keep_one_id(start: Message) -> None:
    """The application's, which comes first; Ray Serve adds another one."""
    first = next((header for header in start["headers"] if header[0].lower() == ID), None)
    start["headers"] = [header for header in start["headers"] if header[0].lower() != ID or header is first]


def middlewares() -> list[Middleware]:
    """For ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``."""
    return [Middleware(Hold, limit=Settings().max_body_bytes)]
