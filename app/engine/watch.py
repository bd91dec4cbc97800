"""Checks the model store at intervals, so that new versions are served without a restart."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from cameo.errors import StoreError
from cameo.store import Registry

LEAST_SECONDS = 1.0  # between rounds that requests ask for
LAST_ROUND = 20.0  # seconds that a round may take when the process ends; a load takes one or two

log = logging.getLogger("cameo.store")


class Watch:
    """A thread that calls ``registry.refresh()`` at once and every ``seconds`` from then on; with 0 only once.

    ``changed`` is called in that thread after something is served differently or refused, and after the store
    got a problem or lost it. No exception ends the thread: each message is logged once, until all is well again.
    """

    def __init__(self, registry: Registry[Any], seconds: float, changed: Callable[[], object]) -> None:
        self._registry = registry
        self._seconds = seconds
        self._changed = changed
        self._logged: set[str] = set()
        self._stopping = threading.Event()
        self._calling = threading.Lock()
        self._polling = threading.Lock()
        self._polled = 0.0  # when the last round began
        self._thread: threading.Thread | None = None
        self.looked = threading.Event()
        """Set once there was a first round."""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="cameo-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Call ``changed`` no more; waits for a round that has begun, though not for ever."""
        self._stopping.set()
        with self._calling:
            pass
        # A process that ends while a thread is inside torch or ONNX Runtime is aborted.
        if self._thread:
            self._thread.join(LAST_ROUND)

    def look_again(self) -> None:
        """A round out of turn, for what may have been published since the last one; at most one in ``LEAST_SECONDS``.

        Others who look at the same store may be ahead: a payload made by one of them may name a version that is new.
        """
        called = time.monotonic()
        with self._polling:  # a round that has begun is waited for
            if self._seconds and called - self._polled > LEAST_SECONDS and not self._stopping.is_set():
                self._poll()

    def poll(self) -> None:
        """One round. Raises nothing."""
        with self._polling:
            self._poll()

    def _poll(self) -> None:
        self._polled = time.monotonic()
        problem, changed = self._registry.problem, False
        try:
            changed = self._registry.refresh()
        except Exception as error:
            self._log(error)
        else:
            self._logged.clear()
        if changed or self._registry.problem != problem:
            self._tell()

    def _run(self) -> None:
        self.poll()
        self.looked.set()
        while self._seconds and not self._stopping.wait(self._seconds):
            self.poll()

    def _tell(self) -> None:
        with self._calling:
            if self._stopping.is_set():
                return
            try:
                self._changed()
            except Exception:
                log.exception("a change of the model store was not told to everyone")

    def _log(self, error: Exception) -> None:
        message = f"{type(error).__name__}: {error}"
        if message not in self._logged:
            self._logged.add(message)
            expected = isinstance(error, StoreError)
            log.error("the model store was not taken in: %s", error if expected else message, exc_info=not expected)
