"""Every server under the same loads, one server after another: what :mod:`bench.load` measures."""

import contextlib
import importlib.util
import statistics
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.config import Settings
from bench.bare import Bare, added_latency
from bench.peers import PEERS
from bench.plan import Outcome, Plan, run_apart
from bench.server import CAMEO, BenchError, Peak, Server, post
from bench.stores import republish, store_of_one
from bench.workloads import MAX_PIXELS, Workload, workloads
from cameo import codec
from cameo.pictures.decode import decode
from cameo.store.reader import StoredVersion

SERVERS: Mapping[str, Sequence[str]] = {"Cameo": CAMEO, **PEERS}
CLIENTS = 16  # of the closed loop that finds what a server can do at most
BARE_SECONDS = 3.0
SWAP_LOAD = 0.5  # of the capacity


@dataclass(frozen=True)
class Setting:
    """``loads`` are multiples of Cameo's capacity; ``seconds`` is the length of each."""

    seconds: float = 8.0
    loads: tuple[float, ...] = (0.5, 1.0, 2.0)
    servers: tuple[str, ...] = tuple(SERVERS)
    pairs: int = 100
    """Requests beside bare repetitions, for the added latency."""
    swap_seconds: float = 12.0

    def steps(self, works: Sequence[Workload]) -> int:
        served = sum(len(self.servers) if work.peers else 1 for work in works)
        return served * (1 + len(self.loads)) + len(works) * (len(self.servers) + 1) + 1


class Contest:
    """Measures into ``figures``, which hold nothing but what JSON can say."""

    def __init__(self, stored: StoredVersion, photo: bytes, setting: Setting, bar: "tqdm[Any]") -> None:
        self._stored, self._photo, self._setting, self._bar = stored, photo, setting, bar
        with store_of_one(stored) as store:
            self._works = workloads(store, photo)
        bar.total = setting.steps(self._works)
        self._cpu_ms: list[float] = []
        self.figures: dict[str, Any] = {
            "model": f"{stored.manifest.name}/{stored.manifest.version}",
            "setting": asdict(setting),
            "processes": Settings().processes,
            "uvloop": importlib.util.find_spec("uvloop") is not None,
            "bare": {work.name: [] for work in self._works},
            "saturated": {},
            "servers": {},
            "loads": [],
        }

    def run(self) -> dict[str, Any]:
        with store_of_one(self._stored) as store, Bare(store, self._photo) as bare:
            self._measure_bare(bare)
            for name in self._setting.servers:
                self._bar.set_description(f"{name}: start")
                with Server(store, SERVERS[name]) as server:
                    self._serve(name, server)
                self._measure_bare(bare)
        with store_of_one(self._stored) as store, Server(store) as server:
            self._bar.set_description("Cameo: hot swap")
            self.figures["swap"] = self._swap(store, server)
            self._bar.update()
        self.figures["generator_cpu_ms"] = float(np.median(self._cpu_ms))
        return self.figures

    def _measure_bare(self, bare: Bare) -> None:
        """Before the first server and after each: what a server has done is divided by the two around it."""
        seconds = min(BARE_SECONDS, self._setting.seconds)
        for work in self._works:
            self._bar.set_description(f"bare: {work.name}")
            self.figures["bare"][work.name].append(bare.images_per_second(work.name, seconds))
            self._bar.update()

    def _serve(self, name: str, server: Server) -> None:
        server.settle(limit=10.0)  # of several processes the others may still be starting
        idle, quiet_mb = server.share(2.0), server.memory_mb()
        differing = {}
        for work in self._works:
            if name != "Cameo" and not work.peers:
                continue
            self._bar.set_description(f"{name}: {work.name}")
            alone = same_answers(server, work)
            plan = Plan(server.port, {work.name: work.request()}, self._setting.seconds, clients=CLIENTS)
            self._generate(Plan(server.port, plan.requests, min(2.0, plan.seconds), clients=CLIENTS))  # warms up
            server.settle(idle)
            full = self._generate(plan)
            self.figures["saturated"].setdefault(work.name, {})[name] = full.answered_rate
            differing[work.name] = 1 - matching(full, work.name, alone)
            self._bar.update()
            for load in self._setting.loads:
                server.settle(idle)
                self._load(name, server, work, load)
                self._bar.update()
            server.settle(idle)
            if name == "Cameo":
                self.figures.setdefault("added", {})[work.name] = added_latency(server, work, self._setting.pairs)
        self.figures["servers"][name] = {
            "start_seconds": server.start_seconds, "ready_mb": quiet_mb, "idle_cores": idle, "differing": differing,
        }  # fmt: skip

    def _load(self, name: str, server: Server, work: Workload, load: float) -> None:
        capacity = self.figures["saturated"][work.name]["Cameo"]
        if not capacity:
            raise BenchError(f"Cameo answered no {work.name} in {self._setting.seconds:g} s")
        # The same moments for every server: the seed is of the work and the load.
        seed = int(1000 * load) + len(work.name)
        plan = Plan(server.port, {work.name: work.request()}, self._setting.seconds, rate=load * capacity, seed=seed)
        cpu = server.cpu_seconds()
        with Peak(server) as peak:
            outcome = self._generate(plan)
        cpu = server.cpu_seconds() - cpu
        row = {"server": name, "work": work.name, "load": load, "capacity": capacity, "peak_mb": peak.megabytes}
        row["cpu_ms"] = 1e3 * cpu / answered if (answered := outcome.statuses.get("200", 0)) else None
        row["kept_to_plan"] = outcome.kept_to_plan
        self.figures["loads"].append(row | asdict(outcome))

    def _swap(self, store: Path, server: Server) -> dict[str, Any]:
        """A new version is published while requests come in: all must be answered, by one version or the other."""
        server.settle(limit=10.0)
        works = [work for work in self._works if work.name in ("photo", "portrait")]
        # Of both in turn: their times add up.
        capacity = statistics.harmonic_mean([self.figures["saturated"][work.name]["Cameo"] for work in works])
        requests, seconds = {work.name: work.request() for work in works}, self._setting.swap_seconds
        self._generate(Plan(server.port, requests, 1.0, clients=2))  # warms up
        plan = Plan(server.port, requests, seconds, rate=SWAP_LOAD * capacity)
        old = {work.name: ask(server, work) for work in works}
        published: dict[str, Any] = {}

        def publish() -> None:
            published["version"] = republish(store, self._stored, self._stored.manifest.version + 1)
            published["at"] = time.time()

        timer = threading.Timer(seconds / 4, publish)
        timer.start()
        outcome = self._generate(plan)
        timer.join()
        # Asked alone: a payload's checksum, which has the version in it, can make the coder leave out a byte.
        alone = {work.name: ask(server, work) for work in works}
        if any(codec.unwrap(payload).tag != published["version"].tag for payload in alone.values()):
            raise BenchError(f"{seconds:.0f} s after a version was published the one before it still serves")
        new = {name: checksum(payload) for name, payload in alone.items()}
        firsts = [seen[new[name]][1] for name, seen in outcome.answers.items() if new[name] in seen]
        wrong = sum(
            count for name, seen in outcome.answers.items() for crc, (count, _) in seen.items()
            if crc not in (checksum(old[name]), new[name])
        )  # fmt: skip
        return asdict(outcome) | {
            "wrong": wrong,
            "published_at": published["at"] - outcome.began,
            "first_new_at": min(firsts, default=None),
        }

    def _generate(self, plan: Plan) -> Outcome:
        outcome = run_apart(plan)
        if plan.rate is not None:
            self._cpu_ms.append(outcome.cpu_ms_per_request)
        return outcome


def checksum(body: bytes) -> str:
    """As the load generator writes it."""
    return f"{zlib.crc32(body):08x}"


def matching(outcome: Outcome, name: str, alone: bytes) -> float:
    """The share of answers that are, byte for byte, the one that was given alone."""
    seen = outcome.answers.get(name, {})
    total = sum(count for count, _ in seen.values())
    return seen.get(checksum(alone), (0, 0.0))[0] / total if total else 1.0


def ask(server: Server, work: Workload) -> bytes:
    with contextlib.closing(server.connect()) as connection:
        return post(connection, work.path, work.media_type, work.body, work.accept)


def same_answers(server: Server, work: Workload) -> bytes:
    """The answer alone; BenchError unless it and eight at once are sound payloads, or the same picture to one level."""
    alone = ask(server, work)
    with ThreadPoolExecutor(8) as threads:
        answers = {alone, *threads.map(lambda _: ask(server, work), range(8))}
    right = work.bare()
    for answer in answers:
        if work.accept.startswith("image/"):
            if np.abs(pixels(answer).astype(int) - pixels(right)).max() > 1:
                raise BenchError(f"POST {work.path} draws another picture than the bare loop")
        elif len(answer) != len(right) or codec.unwrap(answer).tag != codec.unwrap(right).tag:
            raise BenchError(f"POST {work.path} gives no payload of the version that the bare loop has")
    return alone


def pixels(picture: bytes) -> NDArray[np.uint8]:
    return decode(picture, MAX_PIXELS)
