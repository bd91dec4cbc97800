"""Several serving processes behind one port, for machines on which one event loop is not enough.

Each is a whole service with its own models, queue and listening socket; Linux spreads connections over them evenly, by
hash. (With one shared socket, the process that wakes up first would take all waiting connections.) None listens before
it is ready. They start one after another. If the first cannot start, the error is reported once and the service ends.
Later, a process that ends is replaced. All end with the process that started them, even if that one is killed.
"""

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from app.config import Settings
from app.observe.metrics import FOLDER
from app.serve.sockets import ENDING, bind

RETRY_SECONDS = 1.0
LOOK_SECONDS = 0.2
SPARE_SECONDS = 5.0  # beyond what an end may take

log = logging.getLogger("cameo.processes")


def run(settings: Settings) -> int:
    """Keep ``settings.processes`` of them until SIGTERM or SIGINT; the exit status."""
    if sys.platform != "linux":
        print("cameo: CAMEO_PROCESSES above 1 needs Linux, which spreads connections over them", file=sys.stderr)
        return 2
    try:
        # Whoever shares an address lets others do so: by itself that would not fail where another service is.
        bind(settings.host, settings.port).close()
        reserved = bind(settings.host, settings.port, shared=True)
    except OSError as error:
        print(f"cameo: CAMEO_HOST={settings.host} CAMEO_PORT={settings.port}: {error}", file=sys.stderr)
        return 1
    address = reserved.getsockname()[:2]
    log.info("%d processes at http://%s:%d", settings.processes, *address)
    with reserved, tempfile.TemporaryDirectory(prefix="cameo-metrics-") as folder:
        os.environ[FOLDER] = folder
        return _Family(address).run(settings.processes)


class _Family:
    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._context = multiprocessing.get_context("spawn")  # threads of libraries do not survive a fork
        self._processes: list[SpawnProcess] = []
        self._served = self._ending = False
        self._status = 0

    def run(self, count: int) -> int:
        for number in ENDING:
            signal.signal(number, self._end)
        while not self._ending:
            if len(self._processes) < count:
                self._add()
                continue
            for process in self._ended():
                if not self._ending:
                    log.error("process %d ended with %d; another takes its place", process.pid, process.exitcode)
        while self._processes:
            self._ended()
        for number in ENDING:  # while Python ends, one more would report a death by signal
            signal.signal(number, signal.SIG_IGN)
        return self._status

    def _add(self) -> None:
        """Start one more, and wait until it listens or has ended."""
        listens = self._context.Event()
        process = self._context.Process(target=_child, args=(self._address, listens))
        self._processes.append(process)
        process.start()
        if self._ending:  # and this one was not there to be told
            process.terminate()
        while not listens.wait(0.1) and process.is_alive():
            pass
        if listens.is_set():
            self._served = True
        elif not self._ending:
            log.error("process %d ended before it served", process.pid)
            if self._served:  # others do, and this may pass
                time.sleep(RETRY_SECONDS)
            else:
                self._status = max(1, process.exitcode or 0)
                self._end()

    def _ended(self) -> list[SpawnProcess]:
        """Wait a moment for processes that have ended, and remove them."""
        sentinels = wait([process.sentinel for process in self._processes], LOOK_SECONDS)
        ended = [process for process in self._processes if process.sentinel in sentinels]
        for process in ended:
            process.join()
            self._processes.remove(process)
            mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        return ended

    def _end(self, number: int | None = None, frame: FrameType | None = None) -> None:
        """End all processes; also a signal handler. A second signal is passed on as a second one."""
        self._ending = True
        for process in self._processes:
            if process.pid is not None:
                process.terminate()


def _child(address: tuple[str, int], listens: Event) -> None:
    from app.serve.server import serve  # noqa: PLC0415 - loads torch, which the parent does not need

    parent = multiprocessing.parent_process()
    assert parent is not None
    settings = Settings()

    def end_with_parent() -> None:
        parent.join()
        if listens.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(settings.drain_seconds + settings.grace_seconds + SPARE_SECONDS)
        os._exit(1)  # while it loads, a signal might be lost, and nobody is served yet

    threading.Thread(target=end_with_parent, name="cameo-parent", daemon=True).start()
    sys.exit(serve(settings, bind(*address, shared=True), listens.set))
