"""The service beside its models in a bare loop: ``python -m bench.service``.

Each model gets a server of its own. Every call is then measured in short rounds: the bare loop in this process, the
service with one client, the service with eight, and so on in turn, so that drift of the machine cancels. A figure is
the median of the rounds, a ratio is taken within each round; latencies are pooled.

The bare loop is the library, doing the same work on the same bytes in one thread, see :mod:`bench.workloads`. Before
anything is timed, its result must equal the service's answer.

Two ratios say what the service costs. "÷ bare, per core" divides images per second on each core that the service could
use, the lesser of clients and workers, by those of the bare loop; the clients take their share of the same cores, so
it is a lower bound. "by CPU" divides the CPU time that the bare loop spends on an image by the server's; clients and
other work on the machine hardly touch it.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bench.server import BenchError, Server, post
from bench.stores import default_version, store_of_one
from bench.workloads import Workload, workloads
from cameo.coder.cpus import available_cpus
from cameo.errors import CameoError
from cameo.pictures.encode import encode
from cameo.store.reader import StoredVersion, scan
from tests.faces import astronaut

STARTS = 3
ROUNDS = 5
CLIENTS = (1, 8)
WARM_UP = 1.0  # seconds, of the bare loop and of the service, before the first round


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Start:
    """Medians over ``STARTS`` starts of a process until it is ready, with its files in the page cache."""

    store: str
    seconds: float
    ready_mb: float
    loaded_mb: float | None = None
    """After all measurements of the model; None where none were made."""


@dataclass(frozen=True)
class Load:
    """One call with so many clients. CPU time is that of one image; spreads are over the rounds."""

    model: str
    version: int
    call: str
    clients: int
    images: int
    images_per_second: float
    median_ms: float
    p99_ms: float
    bare_images_per_second: float
    to_bare: Spread
    to_bare_by_cpu: Spread
    bare_cpu_ms: float
    server_cpu_ms: float
    client_cpu_ms: float


@dataclass(frozen=True)
class Round:
    """A stretch of the bare loop, or of the service under its clients; all in seconds."""

    latencies: list[float]
    wall: float
    own_cpu: float
    server_cpu: float = 0.0

    @property
    def images_per_second(self) -> float:
        return len(self.latencies) / self.wall

    @property
    def own_cpu_ms(self) -> float:
        return 1e3 * self.own_cpu / len(self.latencies)

    @property
    def server_cpu_ms(self) -> float:
        return 1e3 * self.server_cpu / len(self.latencies)


def repeat(work: Callable[[], object], seconds: float) -> list[float]:
    """The seconds that each repetition took; there is at least one."""
    until = time.perf_counter() + seconds
    latencies = []
    while True:
        began = time.perf_counter()
        work()
        ended = time.perf_counter()
        latencies.append(ended - began)
        if ended >= until:
            return latencies


def bare_round(work: Workload, seconds: float) -> Round:
    began, cpu = time.perf_counter(), time.process_time()
    latencies = repeat(work.bare, seconds)
    return Round(latencies, time.perf_counter() - began, time.process_time() - cpu)


def ask(connection: HTTPConnection, work: Workload) -> bytes:
    return post(connection, work.path, work.media_type, work.body, work.accept)


def service_round(server: Server, work: Workload, clients: int, seconds: float) -> Round:
    def client(_: int) -> list[float]:
        with contextlib.closing(server.connect()) as connection:
            return repeat(lambda: ask(connection, work), seconds)

    with ThreadPoolExecutor(clients) as threads:
        began, cpu, server_cpu = time.perf_counter(), time.process_time(), server.cpu_seconds()
        latencies = [latency for each in threads.map(client, range(clients)) for latency in each]
        wall = time.perf_counter() - began
    return Round(latencies, wall, time.process_time() - cpu, server.cpu_seconds() - server_cpu)


def measure(server: Server, stored: StoredVersion, work: Workload, seconds: float, bar: "tqdm[Any]") -> list[Load]:
    """A call with each number of clients, every one for ``seconds`` in all."""
    name = stored.manifest.name
    bar.set_description(f"{name}: {work.name}")
    with contextlib.closing(server.connect()) as connection:
        if ask(connection, work) != work.bare():
            raise BenchError(f"POST {work.path} gives something else than {name} does in the bare loop")
    bare_round(work, WARM_UP)
    service_round(server, work, max(CLIENTS), WARM_UP)
    bare: list[Round] = []
    service: dict[int, list[Round]] = {clients: [] for clients in CLIENTS}
    for _ in range(ROUNDS):
        bare.append(bare_round(work, seconds / ROUNDS))
        bar.update()
        for clients, rounds in service.items():
            rounds.append(service_round(server, work, clients, seconds / ROUNDS))
            bar.update()
    return [
        summary(stored, work, clients, min(clients, server.workers), bare, rounds)
        for clients, rounds in service.items()
    ]


def summary(
    stored: StoredVersion, work: Workload, clients: int, cores: int, bare: list[Round], service: list[Round]
) -> Load:
    latencies_ms = 1e3 * np.concatenate([r.latencies for r in service])
    pairs = list(zip(bare, service, strict=True))
    return Load(
        model=stored.manifest.name,
        version=stored.manifest.version,
        call=work.name,
        clients=clients,
        images=len(latencies_ms),
        images_per_second=statistics.median(r.images_per_second for r in service),
        median_ms=float(np.median(latencies_ms)),
        p99_ms=float(np.percentile(latencies_ms, 99)),
        bare_images_per_second=statistics.median(r.images_per_second for r in bare),
        to_bare=spread([s.images_per_second / cores / b.images_per_second for b, s in pairs]),
        to_bare_by_cpu=spread([b.own_cpu_ms / s.server_cpu_ms for b, s in pairs]),
        bare_cpu_ms=statistics.median(r.own_cpu_ms for r in bare),
        server_cpu_ms=statistics.median(r.server_cpu_ms for r in service),
        client_cpu_ms=statistics.median(r.own_cpu_ms for r in service),
    )


def spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def start(name: str, store: Path, bar: "tqdm[Any]") -> Start:
    bar.set_description(f"{name}: start")
    seconds, ready_mb = [], []
    for _ in range(STARTS):
        with Server(store) as server:
            seconds.append(server.start_seconds)
            ready_mb.append(server.memory_mb())
        bar.update()
    return Start(name, statistics.median(seconds), statistics.median(ready_mb))


def run(store: Path, photo: bytes, seconds: float) -> tuple[list[Start], list[Load]]:
    """All starts and loads of a store, of each model its default version."""
    names = sorted({folder.parent.name for folder in scan(store)})
    if not names:
        raise BenchError(f"the model store {store} holds no version")
    loads: list[Load] = []
    with tqdm(unit="step") as bar:
        starts = [start("whole store", store, bar)]
        for stored in (default_version(store, name) for name in names):
            with store_of_one(stored) as alone:
                begun = start(f"{stored.manifest.name} alone", alone, bar)
                works = workloads(alone, photo)
                with Server(alone) as server:
                    for work in works:
                        loads += measure(server, stored, work, seconds, bar)
                    starts.append(replace(begun, loaded_mb=server.memory_mb()))
    return starts, loads


def machine() -> str:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores, load = available_cpus()[0], os.getloadavg()[0]
    return (
        f"{names[0] if names else platform.machine()}, {cores} cores, load average {load:.1f} before the start; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def markdown(about: str, seconds: float, starts: list[Start], loads: list[Load]) -> str:
    client_ms = statistics.median(load.client_cpu_ms for load in loads)
    rounds = f"{seconds:g} s a row in {ROUNDS} rounds; ratios with their range over the rounds."
    clients = f"The clients are threads of one process on the same cores: {client_ms:.2f} ms of CPU a request."
    table = [
        f"{about}. {rounds} {clients}",
        "",
        "| store | start to ready, s | memory when ready, MB | after the load, MB |",
        "|---|---:|---:|---:|",
    ]
    for s in starts:
        loaded = "" if s.loaded_mb is None else f"{s.loaded_mb:.0f}"
        table.append(f"| {s.store} | {s.seconds:.1f} | {s.ready_mb:.0f} | {loaded} |")
    table += [
        "",
        "| model | call | bare images/s | clients | images/s | median, ms | p99, ms | ÷ bare, per core | by CPU |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in loads:
        ratios = " | ".join(f"{x.median:.2f} ({x.low:.2f} to {x.high:.2f})" for x in (r.to_bare, r.to_bare_by_cpu))
        table.append(
            f"| {r.model} | {r.call} | {r.bare_images_per_second:.1f} | {r.clients} | {r.images_per_second:.1f} "
            f"| {r.median_ms:.1f} | {r.p99_ms:.1f} | {ratios} |"
        )
    return "\n".join(table)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.service",
        description="Measure the service beside its models in a bare loop, and print two Markdown tables. It starts "
        "servers of its own on free ports and ends them. CAMEO_* variables reach them: CAMEO_WORKERS=1 measures one "
        "worker.",
        epilog="All figures but the last column need a machine with nothing else to do. Three models take about six "
        "minutes. Example: python -m bench.service --seconds 20 --json figures.json > figures.md",
    )
    parser.add_argument("--store", type=Path, default=Path("model_store"), help="model store; default: model_store")
    parser.add_argument("--picture", type=Path, help="photo of a face; default: scikit-image's astronaut as a JPEG")
    parser.add_argument("--seconds", type=float, default=10, help="for each row of the table, at least 1; default: 10")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure to this file as well")
    options = parser.parse_args()
    if not options.seconds >= 1:
        parser.error(f"--seconds is {options.seconds:g}; it must be at least 1")
    if not Path("/proc/self/stat").exists():
        parser.error("memory and CPU time are read from /proc, which this system does not have; run it on Linux")
    about = machine()
    try:
        photo = options.picture.read_bytes() if options.picture else encode(astronaut(), "image/jpeg")
        starts, loads = run(options.store, photo, options.seconds)
        print(markdown(about, options.seconds, starts, loads))
        if options.json:
            figures = {"machine": about, "starts": [asdict(s) for s in starts], "loads": [asdict(r) for r in loads]}
            options.json.write_text(json.dumps(figures, indent=1) + "\n")
    except (BenchError, CameoError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
