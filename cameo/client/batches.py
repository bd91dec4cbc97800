"""Many photos, in batches of a few: one exchange that gives their results in order."""

from collections import deque
from typing import Final

import httpx

from cameo.client import answers, requests
from cameo.client.calls import Settings
from cameo.client.exchange import Emit, Exchange, Line, Outcome, Service, Take
from cameo.errors import BodyTooLarge, CameoError, DeadlineExceeded, RateLimited, TooManyItems, Unreachable

BATCH_ITEMS: Final = 64
BATCH_BYTES: Final = 12 * 2**20  # of photos in one request; the service takes 16 MiB, where nobody said otherwise
_TOO_MUCH = (BodyTooLarge, TooManyItems, RateLimited)  # of one request: fewer photos may pass

Waiting = deque[bytes | OSError]


def compress_many(calls: Service, settings: Settings, *, returns_errors: bool) -> Exchange[None]:
    """Emits a result for each photo, in order; at most a batch is held. The timeout is for each request.

    What is wrong with a photo is emitted in its place, or raised. What is wrong with the service is raised. After a
    connection broke, what has no answer yet is sent again.
    """
    waiting: Waiting = deque()
    most, failed, ended = BATCH_ITEMS, 0, False
    while True:
        ended = ended or (yield from _fill(waiting, most))
        if not waiting:
            return
        if isinstance(waiting[0], OSError):
            yield _result(waiting.popleft(), returns_errors=returns_errors)
            continue
        photos = _first(waiting, most)
        answered = 0
        try:
            response = yield from calls.succeed(requests.compress_batch(photos, tokens=True, **settings), streamed=True)
            while text := (yield Line()):
                result = answers.line(text, response.url)
                if result is None or (isinstance(result, DeadlineExceeded) and answered):
                    break  # those before it took the time; it is sent again
                waiting.popleft()
                answered += 1
                yield _result(result, returns_errors=returns_errors)
            if not answered:
                raise Unreachable(f"{calls.url} answered nothing to a batch of {len(photos)}", url=calls.url)
            failed = 0
        except httpx.RequestError as broken:
            failed = 0 if answered else failed + 1
            if failed >= calls.tries:
                raise answers.lost(broken, calls.url) from broken
        except _TOO_MUCH as error:
            if answered or "retry_after" in error.facts:
                raise
            if len(photos) > 1:
                most = len(photos) // 2
                continue
            if isinstance(error, RateLimited):
                raise
            waiting.popleft()
            yield _result(error, returns_errors=returns_errors)


def _fill(waiting: Waiting, most: int) -> Exchange[bool]:
    """Take photos until there are enough for a request; whether that were all."""
    size = sum(len(photo) for photo in waiting if isinstance(photo, bytes))
    while len(waiting) < most and size < BATCH_BYTES:
        photo: bytes | OSError | None = yield Take()
        if photo is None:
            return True
        waiting.append(photo)
        size += len(photo) if isinstance(photo, bytes) else 0
    return False


def _first(waiting: Waiting, most: int) -> list[bytes]:
    """The photos for one request: at least one."""
    photos: list[bytes] = []
    size = 0
    for photo in waiting:
        if isinstance(photo, OSError) or len(photos) == most or (photos and size + len(photo) > BATCH_BYTES):
            break
        photos.append(photo)
        size += len(photo)
    return photos


def _result(result: Outcome | bytes, *, returns_errors: bool) -> Emit:
    assert not isinstance(result, bytes)
    if isinstance(result, CameoError | OSError) and not returns_errors:
        raise result
    return Emit(result)
