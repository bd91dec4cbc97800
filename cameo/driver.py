"""The library's driver of jobs: each is run at once, in this process, with one thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch

from cameo.errors import CameoError
from cameo.jobs import Job, run

S = TypeVar("S")
T = TypeVar("T")

AHEAD = 2  # items for each thread that are read, or done, before they are asked for


def alone(job: Job[T]) -> T:
    """The result of a job, with one thread: its sums, and so its bytes, are those of every other driver."""
    with _one_thread():
        return run(job)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Of torch's, in this thread, for a while; others keep what they have."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_order(
    work: Callable[[S], T], items: Iterable[S], threads: int, *, returns_errors: bool
) -> Iterator[T | CameoError | OSError]:
    """Results in the order of ``items``. Leaving early drops what has not begun."""
    waiting = iter(items)
    window: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="cameo") as pool:
        try:
            while True:
                window.extend(pool.submit(work, item) for item in islice(waiting, AHEAD * threads - len(window)))
                if not window:
                    return
                try:
                    done: T | CameoError | OSError = window.popleft().result()
                except (CameoError, OSError) as error:
                    if not returns_errors:
                        raise
                    done = error
                yield done
        finally:
            for future in window:
                future.cancel()
