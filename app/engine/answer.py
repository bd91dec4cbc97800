"""How a job's result comes from its worker to the event loop."""

import asyncio
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Answer(Generic[T]):
    """The result of a job, or the error that it raised: settled once, and taken once.

    This is not a future, because a future keeps its error. The traceback of the error holds the frames that it passed,
    these hold the future, and so the picture would stay in memory until a full garbage collection.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._settled = asyncio.Event()
        self._outcome: tuple[Any, BaseException | None] = None, None

    def settle(self, value: Any, error: BaseException | None) -> None:
        """The first call counts. In the event loop only."""
        if not self._settled.is_set():
            self._outcome = value, error
            self._settled.set()

    def settle_from_thread(self, value: Any, error: BaseException | None) -> None:
        """:meth:`settle`, from any thread."""
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self.settle, value, error)

    async def take(self) -> T:
        """Wait for the result and return it, or raise the error."""
        await self._settled.wait()
        (value, error), self._outcome = self._outcome, (None, None)
        if error is None:
            result: T = value
            return result
        try:
            raise error
        finally:
            del error  # this frame is in its traceback
