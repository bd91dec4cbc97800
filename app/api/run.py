"""From a request to the engine and back: admission, the deadline, and whether the client is still there."""

import asyncio
import re
import time
from collections.abc import Iterable
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.prefix import route_path
from app.api.problems import problem
from app.engine.service import Service, Work
from cameo.errors import CameoError, InvalidParameter, quoted
from cameo.jobs import Timings

T = TypeVar("T")

DEADLINE = "Cameo-Deadline-Ms"
_DEADLINE = re.compile("[1-9][0-9]{0,7}")


async def run(request: Request, work: Work[T]) -> T:
    """The result of ``work``; what it raises, Overloaded, DeadlineExceeded or ClientLeft."""
    service: Service = request.app.state.service
    return await service.scheduler.run(
        work.job, work.kind, work.first, deadline(request) / 1e3, request.state.timings, gone(request)
    )


class Admission:
    """Plain ASGI middleware: refuses work for which there is no room or no time, before its body is read.

    Under overload most requests end here, so a refusal must cost little. It is for the POST routes of ``routers``.
    NotReady, Overloaded, DeadlineExceeded, or InvalidParameter for a wrong deadline. A body that has not arrived by the
    deadline gets DeadlineExceeded, too.
    """

    def __init__(self, app: ASGIApp, service: Service, routers: Iterable[APIRouter]) -> None:
        self._app, self._service = app, service
        routes = [route for router in routers for route in router.routes]
        self._routes = {route.path: route for route in routes if isinstance(route, APIRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and (route := self._routes.get(route_path(scope))):
            request = Request(scope)
            try:
                self._service.require_ready()
                seconds = deadline(request) / 1e3
                self._service.scheduler.admission.require_room(seconds, request.state.timings)
            except CameoError as error:
                scope["route"] = route  # for metrics and logs: the router is not reached
                await problem(request, error)(scope, receive, send)
                return
            receive = self._in_time(receive, seconds, request.state.timings)
        await self._app(scope, receive, send)

    def _in_time(self, receive: Receive, seconds: float, timings: Timings) -> Receive:
        whole = False

        async def receive_in_time() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            try:
                with timings.stage("upload"):
                    async with asyncio.timeout(timings.began + seconds - time.perf_counter()):
                        message = await receive()
            except TimeoutError:
                late = self._service.scheduler.admission.late
                raise late(timings, time.perf_counter(), seconds, "the body was not all there") from None
            whole = not message.get("more_body", False)
            return message

        return receive_in_time


def deadline(request: Request) -> int:
    """In milliseconds from the request's head."""
    service: Service = request.app.state.service
    asked = request.headers.get(DEADLINE)
    if asked is None:
        return service.settings.deadline_ms
    most = service.settings.max_deadline_ms
    if not _DEADLINE.fullmatch(asked) or int(asked) > most:
        raise InvalidParameter(
            f"{DEADLINE} is {quoted(asked[:50])}; send whole milliseconds from 1 to {most}, without zeros in front",
            parameter=DEADLINE, value=asked[:50], limit=most,
        )  # fmt: skip
    return int(asked)


async def gone(request: Request) -> None:
    """Ends when the client has closed its connection. Only after the whole body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
