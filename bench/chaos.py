"""A service under all kinds of failures, for half an hour: ``python -m bench.chaos``; see ``--help``."""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.chaos_clients import World, client
from bench.chaos_inputs import bad_requests, known_requests
from bench.server import BenchError, Server
from bench.stores import copy_version, default_version, republish, withdraw
from cameo.errors import CameoError
from cameo.store.reader import WEIGHTS, StoredVersion
from tests.faces import astronaut

RESTARTS_FOR = 0.4  # of the time; the rest is one life, over which memory is watched
GROWTH = 0.05  # of memory, from the second fifth of that life to the last
MORE_FILES = 8
COPIES = 2  # of a model at once, beside the version that it began with
SAMPLES = 200
LEAST_SAMPLES = 25

DESCRIPTION = """\
Start the service on a temporary copy of two models, and let a dozen clients at it that behave as clients do: they ask
properly, in bursts, with deadlines too short, drip their upload, close in the middle of it or before the answer, send
truncated pictures, bombs, foreign payloads and wrong types. Meanwhile versions are published, damaged ones among them,
and withdrawn; for the first two fifths of the time the service also gets SIGTERM and starts again now and then.

It fails, with exit status 1, where
  - an answer 200 differs by a byte from the one made alone at the start (a version's copy: but for the tag),
  - a status is none that this request can have: no 5xx but 503 while it restarts and 504 for a deadline,
  - a connection breaks that was made, in a restart, too, unless its request takes a second to come,
  - SIGTERM does not end it with status 0 within 40 s, or it ends by itself,
  - memory (the median over the last fifth of the long life, to that over the second) grows by more than 5%, or open
    files by more than 8."""

EPILOG = """\
  python -m bench.chaos                            thirty minutes
  python -m bench.chaos --minutes 2 --seed 7       another draw, shorter
  CAMEO_WORKERS=1 python -m bench.chaos            CAMEO_* variables reach the service"""


@dataclass
class Watched:
    """The long life: seconds from its start, resident MB, open files of the process."""

    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def fifths(self, series: list[Any]) -> tuple[float, float]:
        """Medians of the second and the last fifth."""
        n = len(series) // 5
        return statistics.median(series[n : 2 * n]), statistics.median(series[-n:])

    def judge(self, world: World) -> str:
        if len(self.seconds) < LEAST_SAMPLES:
            return f"{len(self.seconds)} samples of memory: too few to judge"
        memory, files = self.fifths(self.megabytes), self.fifths(self.files)
        if memory[1] > (1 + GROWTH) * memory[0]:
            world.violation(f"memory grew from {memory[0]:.1f} to {memory[1]:.1f} MB")
        if files[1] > files[0] + MORE_FILES:
            world.violation(f"open files grew from {files[0]:g} to {files[1]:g}")
        return (
            f"memory {memory[0]:.1f} MB in the second fifth, {memory[1]:.1f} in the last "
            f"({memory[1] / memory[0] - 1:+.1%}); open files {files[0]:g} and {files[1]:g}"
        )


class Chaos:
    """One run; times in seconds."""

    def __init__(self, store: Path, bases: list[StoredVersion], options: argparse.Namespace) -> None:
        self._store, self._bases, self._options = store, bases, options
        self._length = 60 * options.minutes
        self._draw = random.Random(options.seed)  # noqa: S311
        self._watched = Watched()
        self._server = Server(store)
        self.world = World(self._server.port, most_requests=options.requests)
        self._copies: dict[str, list[StoredVersion]] = {base.manifest.name: [] for base in bases}
        self._damaged: dict[str, StoredVersion] = {}
        self._numbers = {base.manifest.name: base.manifest.version for base in bases}
        self._events = {"restarts": 0, "published": 0, "damaged": 0, "withdrawn": 0, "tracebacks": 0}

    async def run(self) -> dict[str, Any]:
        self._server.__enter__()
        try:
            photo = astronaut()
            self.world.known = await asyncio.to_thread(known_requests, self._server, self._bases, photo)
            self.world.bad = bad_requests(self.world.known)
            self.world.versions = {base.tag: base for base in self._bases}
            self._began = time.monotonic()
            self.world.until = self._began + self._length
            clients = [client(self.world, f"{self._options.seed}-{k}") for k in range(self._options.clients)]
            others = [self._swap(), self._lives(), self._progress()]
            await asyncio.gather(*(asyncio.create_task(each) for each in (*clients, *others)))
            await asyncio.sleep(6)  # kept connections have been closed by then
            idle = self._server.open_files()
            self._stop()
        finally:
            self._server.__exit__()
        return {
            "outcomes": {kind: dict(found) for kind, found in sorted(self.world.counts.items())},
            **self._events,
            "memory": self._watched.judge(self.world),
            "files_when_idle": idle,
            "watched": asdict(self._watched),
            "violations": self.world.violations,
        }

    def _over(self) -> bool:
        return time.monotonic() >= self.world.until or self.world.stopped

    async def _lives(self) -> None:
        """Restart now and then; then watch memory, and that it does not end by itself."""
        while not self._over():
            gone = time.monotonic() - self._began
            restarts = RESTARTS_FOR * self._length
            pause = max(20.0, 0.1 * restarts) * self._draw.uniform(0.7, 1.3)
            if gone + pause > restarts:
                break
            await self._wait(pause)
            await self._restart()
        await self._watch()

    async def _watch(self) -> None:
        began = time.monotonic()
        while not self._over():
            await self._wait(max(0.5, (1 - RESTARTS_FOR) * self._length / SAMPLES))
            if self._server.ended() is not None:
                self.world.violation(f"the service ended by itself with {self._server.ended()}")
                self.world.stopped = True
                return
            self._watched.seconds.append(round(time.monotonic() - began, 1))
            self._watched.megabytes.append(round(self._server.memory_mb(), 2))
            self._watched.files.append(self._server.open_files())

    async def _restart(self) -> None:
        self.world.going_down()
        await asyncio.to_thread(self._stop)
        self._server.__exit__()
        self._server = Server(self._store, port=self.world.port)
        await asyncio.to_thread(self._server.__enter__)
        self._events["restarts"] += 1
        self.world.back_up()

    def _stop(self) -> None:
        status = self._server.terminate()
        if status != 0:
            self.world.violation(
                f"after SIGTERM the exit status is {status}; the log ends with\n{self._server.log()[-1500:]}"
            )
        self._events["tracebacks"] += self._server.log().count("Traceback")

    async def _swap(self) -> None:
        """Publish, publish something damaged, withdraw: each of the models in turn, at random times."""
        while True:
            await self._wait(self._draw.uniform(3, max(6.0, self._length / 100)))
            if self._over():
                return
            base = self._draw.choice(self._bases)
            copies = self._copies[base.manifest.name]
            if len(copies) >= COPIES:
                # The next takes its place, so that memory stays what it is. Its tag stays known, for late answers.
                await asyncio.to_thread(withdraw, copies.pop(self._draw.randrange(len(copies))))
                self._events["withdrawn"] += 1
            self._numbers[base.manifest.name] += 1
            number = self._numbers[base.manifest.name]
            if self._draw.random() < 0.2:
                await asyncio.to_thread(self._publish_damaged, base, number)
                self._events["damaged"] += 1
                continue
            # Its tag has to be known before the first answer may bear it, so it comes about elsewhere.
            with tempfile.TemporaryDirectory(dir=self._store.parent) as elsewhere:
                made = await asyncio.to_thread(republish, Path(elsewhere), base, number)
                self.world.versions[made.tag] = made
                copies.append(await asyncio.to_thread(copy_version, made, self._store))
            self._events["published"] += 1

    def _publish_damaged(self, base: StoredVersion, number: int) -> None:
        name = base.manifest.name
        with tempfile.TemporaryDirectory(dir=self._store.parent) as elsewhere:
            made = republish(Path(elsewhere), base, number)
            weights = bytearray((made.folder / WEIGHTS).read_bytes())
            weights[self._draw.randrange(len(weights))] ^= 1
            (made.folder / WEIGHTS).write_bytes(weights)
            if name in self._damaged:
                withdraw(self._damaged[name])
            self._damaged[name] = copy_version(made, self._store)

    async def _progress(self) -> None:
        with tqdm(total=round(self._length), unit="s", desc="chaos") as bar:
            while not self._over():
                await self._wait(1)
                bar.n = min(bar.total, round(time.monotonic() - self._began))
                bar.set_postfix(requests=self.world.requests, violations=len(self.world.violations))

    async def _wait(self, seconds: float) -> None:
        """Or until the run is over."""
        await asyncio.sleep(max(0.0, min(seconds, self.world.until - time.monotonic())))


def summary(result: dict[str, Any]) -> str:
    lines = ["| client | outcomes |", "|---|---|"]
    for kind, found in result["outcomes"].items():
        shown = ", ".join(f"{outcome}: {n}" for outcome, n in sorted(found.items(), key=lambda item: -item[1]))
        lines.append(f"| {kind} | {shown} |")
    events = ("restarts", "published", "damaged", "withdrawn", "tracebacks", "files_when_idle")
    lines += ["", ", ".join(f"{name.replace('_', ' ')}: {result[name]}" for name in events), result["memory"]]
    series = result["watched"]["megabytes"]
    lines.append("MB over the long life: " + " ".join(f"{value:.0f}" for value in series[:: max(1, len(series) // 20)]))
    found = result["violations"]
    lines += ["", f"{len(found)} violations" + (":" if found else ""), *(f"  - {each}" for each in found)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=30, help="default: 30; most: 240")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn; default: 0")
    parser.add_argument("--clients", type=int, default=12, help="default: 12")
    parser.add_argument("--requests", type=int, default=500_000, help="it also ends after this many; default: 500,000")
    parser.add_argument("--store", type=Path, default=Path("model_store"), help="default: model_store")
    parser.add_argument("--models", default="cameo-128,vqvae-64", help="default: cameo-128,vqvae-64")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything to this file as well")
    options = parser.parse_args()
    if not 0 < options.minutes <= 240:
        parser.error(f"--minutes is {options.minutes:g}; it must lie above 0 and be at most 240")
    try:
        bases = [default_version(options.store, name) for name in options.models.split(",")]
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder, "store")
            store.mkdir()
            copies = [copy_version(base, store) for base in bases]
            result = asyncio.run(Chaos(store, copies, options).run())
    except (BenchError, CameoError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(summary(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
