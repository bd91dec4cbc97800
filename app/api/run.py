"""From a request to the engine and back: its deadline, and whether its client is still there."""

from typing import TypeVar

from fastapi import Request

from app.engine.service import Service, Work
from app.errors import InvalidParameter

T = TypeVar("T")

DEADLINE = "Cameo-Deadline-Ms"
MOST_MS = 3_600_000

DEADLINE_PARAMETER = {
    "name": DEADLINE, "in": "header", "required": False,
    "description": "milliseconds from the request's head within which the answer is of use; what cannot be done in "
    "time is refused, or dropped, with 504. Default: the service's",
    "schema": {"type": "integer", "minimum": 1, "maximum": MOST_MS},
}  # fmt: skip


async def run(request: Request, work: Work[T]) -> T:
    """The result of ``work``; what it raises, Overloaded, DeadlineExceeded or ClientLeft."""
    service: Service = request.app.state.service
    return await service.scheduler.run(
        work.job, work.kind, work.lane, deadline(request) / 1e3, request.state.timings, gone(request)
    )


def require_room(request: Request) -> None:
    """Before a body is read: NotReady, Overloaded, DeadlineExceeded, or InvalidParameter for what is no deadline."""
    service: Service = request.app.state.service
    service.require_ready()
    service.scheduler.require_room(deadline(request) / 1e3, request.state.timings)


def deadline(request: Request) -> int:
    """In milliseconds from the request's head."""
    service: Service = request.app.state.service
    asked = request.headers.get(DEADLINE)
    if asked is None:
        return service.settings.deadline_ms
    if not asked.isascii() or not asked.isdecimal() or not 1 <= int(asked[:10]) <= MOST_MS:
        raise InvalidParameter(
            f"{DEADLINE} is {asked[:50]!r}; send whole milliseconds from 1 to {MOST_MS}",
            parameter=DEADLINE, value=asked[:50], limit=MOST_MS,
        )  # fmt: skip
    return int(asked)


async def gone(request: Request) -> None:
    """Ends when the client has closed its connection. Only after the whole body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
