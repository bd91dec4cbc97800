"""The limit: the same work without a server, in as many processes as there are cores, one thread each."""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.server import Server, post
from bench.workloads import Workload, workloads
from cameo.coder.cpus import available_cpus

_loaded: dict[str, Workload] = {}  # of this process, once it is one of the pool's


def cores() -> int:
    return available_cpus()[0]


class Bare:
    """Processes that have loaded a store's default version and do its work as fast as they can, when asked."""

    def __init__(self, store: Path, photo: bytes) -> None:
        spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._pool = ProcessPoolExecutor(cores(), spawn, initializer=_load, initargs=(store, photo))

    def __enter__(self) -> Self:
        self.images_per_second("portrait", 0.5)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def images_per_second(self, workload: str, seconds: float) -> float:
        """Of all processes together."""
        # A moment for the last of them to take its order: they all count over the same time.
        begin = time.time() + 0.1
        return sum(self._pool.map(_rate, *zip(*[(workload, begin, seconds)] * cores(), strict=True)))


def _load(store: Path, photo: bytes) -> None:
    _loaded.update((workload.name, workload) for workload in workloads(store, photo))


def _rate(name: str, begin: float, seconds: float) -> float:
    work, count = _loaded[name].bare, 0
    time.sleep(max(0.0, begin - time.time()))
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        work()
        count += 1
    return count / took


def added_latency(server: Server, workload: Workload, rounds: int) -> dict[str, float]:
    """What the service adds at one client, in ms: requests one after another beside the same work in this process.

    They take turns, one and one, so that drift of the machine cancels. ``added_ms`` is the median over pairs.
    """
    connection = server.connect()

    def ask() -> bytes:
        return post(connection, workload.path, workload.media_type, workload.body, workload.accept)

    pairs = []
    for turn in range(rounds + 3):
        first = time.perf_counter()
        ask()
        middle = time.perf_counter()
        workload.bare()
        last = time.perf_counter()
        if turn >= 3:  # the first are for warming up
            pairs.append((middle - first, last - middle))
    connection.close()
    service, bare = (1e3 * statistics.median(part) for part in zip(*pairs, strict=True))
    added = 1e3 * statistics.median(a - b for a, b in pairs)
    return {"service_ms": service, "bare_ms": bare, "added_ms": added}
