"""What is said to a service, and when, as generators: they yield a step, and get back what came of it.

A driver does the steps, in a thread that waits or with ``await``. What a step raises is raised here, where it was
yielded. So each call is stated once, for both clients, in ``calls`` and ``batches``.
"""

import random
import time
from collections.abc import Generator
from typing import Any, Final, NamedTuple, TypeVar

import httpx

from cameo.client import answers
from cameo.client.requests import Request
from cameo.errors import CameoError, NotReady, Overloaded, RateLimited, TooManyConnections, Unreachable
from cameo.pictures.read import Photo
from cameo.results import Compressed

T = TypeVar("T")

Outcome = Compressed | CameoError | OSError

LONGEST_SECONDS: Final = 10**6  # of a timeout: what sockets take, and nobody waits longer
FIRST_PAUSE: Final = 0.1  # seconds; the next one is twice as long
_PASSING = (Overloaded, RateLimited, NotReady, TooManyConnections)  # with a Retry-After
_OF_PROXIES = {500, 502, 503, 504}  # 500: Ray Serve's, in place of the others; a service says it as a problem


class Read(NamedTuple):
    """Gives the bytes of a photo's file."""

    photo: Photo


class Take(NamedTuple):
    """Gives the bytes of the caller's next photo, the OSError in their place, or None after the last."""


class Send(NamedTuple):
    """Gives an httpx.Response: read, or where it is ``streamed`` and a success, its head, with lines to come."""

    request: Request
    seconds: float | None
    """Until the answer is of no use; None: never."""
    streamed: bool = False


class Line(NamedTuple):
    """Gives the next line of the response that was streamed, None after the last."""


class Pause(NamedTuple):
    seconds: float


class Emit(NamedTuple):
    """A result for the caller, while there are more to come."""

    result: Outcome


class Done(NamedTuple):
    """The end; never yielded, see :func:`advance`."""

    value: Any


Step = Read | Take | Send | Line | Pause | Emit
Exchange = Generator[Step, Any, T]


def advance(exchange: Exchange[Any], reply: Any = None, error: Exception | None = None) -> Step | Done:
    """The next step, after what came of the one before."""
    try:
        return exchange.send(reply) if error is None else exchange.throw(error)
    except StopIteration as stop:
        return Done(stop.value)


class Service:
    """What is asked of the service at ``url``.

    ``timeout``: seconds for an answer, retries included; None for as long as it takes. ``tries``: how often a request
    is sent where connections fail.
    """

    def __init__(self, url: str, timeout: float | None, tries: int) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address of a service: it begins with http:// or https://")
        if timeout is not None and not 0 < timeout <= LONGEST_SECONDS:  # nan is neither
            raise ValueError(f"timeout is {timeout} seconds; give more than 0 and at most {LONGEST_SECONDS}, or None")
        if tries < 1:
            raise ValueError(f"tries is {tries}; give 1 or more")
        self.url, self.timeout, self.tries = url.rstrip("/"), timeout, tries

    def succeed(self, request: Request, *, streamed: bool = False) -> Exchange[httpx.Response]:
        """An answer that is a success. Waits as the service asks, and sends again, as long as there is time.

        All calls are pure, so that sending one twice does no harm. CameoError.
        """
        began, failed = time.monotonic(), 0
        while True:
            wait: float | None = None
            try:
                response: httpx.Response = yield Send(request, self._left(began), streamed)
            except httpx.RequestError as broken:
                error = answers.lost(broken, self.url)
            else:
                if response.is_success:
                    return response
                error = answers.failure(response)
                wait = error.facts.get("retry_after") if isinstance(error, _PASSING) else None
            if wait is None:
                failed += 1
                if not _may_pass(error) or failed >= self.tries:
                    raise error
                wait = FIRST_PAUSE * 2 ** (failed - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - not all at once
            left = self._left(began)
            if left is not None and wait >= left:
                raise error
            yield Pause(wait)

    def _left(self, began: float) -> float | None:
        return None if self.timeout is None else max(0.001, self.timeout - (time.monotonic() - began))


def _may_pass(error: CameoError) -> bool:
    """Whether what a connection did, or a proxy, may be different the next time."""
    return isinstance(error, Unreachable) and error.facts.get("status", 502) in _OF_PROXIES
