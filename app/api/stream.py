"""The items of a batch: through the engine a few at a time, and out in order as lines of JSON or as a tar."""

import asyncio
import base64
import json
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from itertools import islice
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api import archives, problems
from app.api.archives import Item
from app.api.negotiate import PAYLOAD
from app.api.run import deadline, gone
from app.engine.service import Service, Work
from cameo import errors
from cameo.coder.coder import Coder
from cameo.errors import CameoError, ClientLeft, DeadlineExceeded, Overloaded
from cameo.jobs import Timings

T = TypeVar("T")

log = logging.getLogger("cameo.batch")

TAR, NDJSON = "application/x-tar", "application/x-ndjson"
SUFFIXES = {"image/png": ".png", "image/webp": ".webp", "image/jpeg": ".jpeg", PAYLOAD: ".cameo"}
LEAST_PAUSE, MOST_PAUSE = 0.02, 1.0  # seconds until an item that met a full queue tries again


class Answer(NamedTuple):
    """What became of an item: a payload or a picture."""

    coder: Coder
    data: bytes
    media_type: str
    facts: Mapping[str, Any] = MappingProxyType({})
    """What a line of JSON says beyond these."""


Compute = Callable[["Batch", bytes, Timings], Awaitable[Answer]]


class Batch:
    """The items of one request on their way through the engine: a few at a time, their answers in order."""

    def __init__(self, request: Request) -> None:
        self.service: Service = request.app.state.service
        self.request = request
        self.route: str = request.scope["route"].path
        self._began: float = request.state.timings.began
        self._seconds = deadline(request) / 1e3
        self._gone = asyncio.Event()
        self._room: asyncio.Semaphore = request.app.state.unpacked

    async def answers(self, items: list[Item], compute: Compute) -> AsyncGenerator[Answer | CameoError]:
        """One for each of ``items``; none is lost to another's error. They end early when the client leaves."""
        waiting = iter(items)
        window: deque[asyncio.Task[Answer | CameoError]] = deque()
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                for item in islice(waiting, 2 * self.service.scheduler.workers - len(window)):
                    window.append(asyncio.create_task(self._one(item, compute)))
                if not window or self._gone.is_set():
                    return
                yield await window.popleft()
        except ClientLeft:
            return
        finally:
            for task in (watch, *window):
                task.cancel()
            await asyncio.gather(watch, *window, return_exceptions=True)

    async def run(self, work: Work[T], timings: Timings) -> T:
        """The result of ``work``, however often the queue is full meanwhile; DeadlineExceeded or ClientLeft."""
        while True:
            try:
                return await self.service.scheduler.run(
                    work.job, work.kind, work.first, self._seconds, timings, self._left(), polls=True
                )
            except Overloaded as error:
                too_much = error.facts["waiting_seconds"] - error.facts["limit_seconds"]
                await asyncio.sleep(min(MOST_PAUSE, max(LEAST_PAUSE, too_much)))
                self._require_time()

    async def _one(self, item: Item, compute: Compute) -> Answer | CameoError:
        timings = Timings()
        timings.began = self._began  # the deadline is the request's
        outcome: Answer | CameoError
        try:
            async with self._room:
                self._require_time()  # before anything is unpacked
                data = await asyncio.to_thread(item.read)
                outcome = await compute(self, data, timings)
        except CameoError as error:
            outcome = error.with_traceback(None)  # whose frames hold the picture, and this one the error
        except (ClientLeft, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("an item of %s failed id=%s", self.route, self.request.state.request_id)
            outcome = errors.InternalError()
        metrics = self.service.metrics
        metrics.batch_items.labels(self.route, outcome.type if isinstance(outcome, CameoError) else "done").inc()
        for stage, spent in timings.seconds.items():
            metrics.stage_seconds.labels(self.route, stage).observe(spent)
        return outcome

    def _require_time(self) -> None:
        elapsed = time.perf_counter() - self._began
        if elapsed > self._seconds:
            raise DeadlineExceeded(
                f"all answers were wanted within {self._seconds * 1e3:.0f} ms; after {elapsed * 1e3:.0f} ms this one "
                "was not begun",
                deadline_ms=round(self._seconds * 1e3), elapsed_ms=round(elapsed * 1e3, 1),
            )  # fmt: skip

    async def _watch(self) -> None:
        await gone(self.request)
        self._gone.set()

    async def _left(self) -> None:
        await self._gone.wait()


class Stream(StreamingResponse):
    """Ends its content, too, when the client leaves while it is being sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()


def stream(request: Request, items: list[Item], compute: Compute, media_type: str, headers: dict[str, str]) -> Response:
    """The answers as lines of JSON, or as a tar; what is computed ends when the client leaves."""
    batch = Batch(request)
    write = _ndjson if media_type == NDJSON else _tar
    return Stream(write(batch, items, batch.answers(items, compute)), headers=headers, media_type=media_type)


async def _ndjson(
    batch: Batch, items: list[Item], answers: AsyncGenerator[Answer | CameoError]
) -> AsyncGenerator[bytes]:
    index = failed = 0
    try:
        async for answer in answers:
            line: dict[str, Any] = {"index": index, "name": items[index].name}
            if isinstance(answer, CameoError):
                failed += 1
                line["problem"] = problems.document(batch.request, answer)
            else:
                data = base64.b64encode(answer.data).decode()
                line |= {"payload": data} if answer.media_type == PAYLOAD else {
                    "picture": data, "media_type": answer.media_type,
                }  # fmt: skip
                manifest = answer.coder.manifest
                line |= {"bytes": len(answer.data), "model": manifest.name, "version": manifest.version}
                line |= answer.facts
            index += 1
            yield _json(line)
        yield _json({"items": index, "failed": failed})
    finally:
        await answers.aclose()


async def _tar(batch: Batch, items: list[Item], answers: AsyncGenerator[Answer | CameoError]) -> AsyncGenerator[bytes]:
    index, taken = 0, set[str]()
    try:
        async for answer in answers:
            stem = PurePosixPath(items[index].name).stem
            while stem in taken:  # of a.png and a.jpg, or of two folders
                stem = f"{index}-{stem}"
            taken.add(stem)
            index += 1
            if isinstance(answer, CameoError):
                yield archives.tar_entry(f"{stem}.problem.json", _json(problems.document(batch.request, answer)))
            else:
                yield archives.tar_entry(stem + SUFFIXES[answer.media_type], answer.data)
        yield archives.TAR_END
    finally:
        await answers.aclose()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
