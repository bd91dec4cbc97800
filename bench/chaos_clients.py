"""The clients of :mod:`bench.chaos`, and the checks of their answers."""

import asyncio
import collections
import contextlib
import random
import re
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from bench.chaos_inputs import Bad, Known, request
from bench.stores import retag
from cameo.store.reader import StoredVersion

PATIENCE = 60.0  # seconds; far above any deadline
BUSY = (429, 504)
MOST_VIOLATIONS = 50
DRIPPING = "dripping"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """``status`` is 0, and ``broken`` says why, where there was none; ``connected``: there was a connection."""

    status: int
    body: bytes
    began: float
    connected: bool
    broken: str = ""


@dataclass
class World:
    """What all clients know. Times are those of :func:`time.monotonic`."""

    port: int
    most_requests: int
    known: list[Known] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    versions: dict[bytes, StoredVersion] = field(default_factory=dict)
    """By tag: all that were ever whole in the store."""
    counts: dict[str, collections.Counter[str]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    requests: int = 0
    until: float = 0.0
    stopped: bool = False
    down: bool = False
    _up_at: float = 0.0

    def going_down(self) -> None:
        self.down = True

    def back_up(self) -> None:
        self.down, self._up_at = False, time.monotonic()

    def violation(self, what: str) -> None:
        """Note it, and say so at once: a run takes long."""
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(f"{time.strftime('%H:%M:%S')} {what}")
            tqdm.write(self.violations[-1], file=sys.stderr)

    def count(self, kind: str, outcome: str) -> None:
        self.counts.setdefault(kind, collections.Counter())[outcome] += 1

    def judge(self, kind: str, what: str, answer: Answer, allowed: Sequence[int]) -> None:
        """A status that is not ``allowed`` is a violation, but for what a restart explains."""
        self.count(kind, str(answer.status) if answer.status else f"broken: {answer.broken}")
        if answer.status in (*allowed, *BUSY):
            return
        restart = self.down or self._up_at > answer.began
        if restart and answer.status == 503:
            return
        if restart and not answer.status:
            if answer.connected and kind != DRIPPING:  # whose head may come when a second has passed
                self.violation(f"{kind}, {what}: connected, then dropped by SIGTERM ({answer.broken})")
            return
        said = answer.broken or answer.body[:300].decode(errors="replace")
        self.violation(f"{kind}, {what}: {answer.status}, allowed {list(allowed)}: {said}")


async def client(world: World, seed: str) -> None:
    """One client until the end: something at random, a pause, again."""
    draw = random.Random(seed)  # noqa: S311
    kinds: dict[Callable[[World, random.Random], Awaitable[None]], int] = {
        proper: 40, by_version: 10, burst: 1, hasty: 6, dripping: 6, cut_upload: 10, leaving: 12, bad: 20, looking: 6,
    }  # fmt: skip
    while time.monotonic() < world.until and not world.stopped:
        await draw.choices(list(kinds), list(kinds.values()))[0](world, draw)
        world.stopped = world.stopped or world.requests >= world.most_requests
        await asyncio.sleep(0.3 if world.down else draw.expovariate(1 / 0.05))


async def proper(world: World, draw: random.Random, kind: str = "proper", more: str = "", pause: float = 0.0) -> None:
    """A request whose answer is known."""
    known = draw.choice(world.known)
    sent = request(known.path, known.media_type, known.accept, known.body, more=more)
    answer = await ask(world, pieces(sent, draw.randint(4, 10) if pause else 1), pause)
    world.judge(kind, known.path, answer, (200,))
    check(world, known, answer, only=known.base if known.pinned else None)


async def by_version(world: World, draw: random.Random) -> None:
    """The same of a version that is new, or withdrawn, or about to be: then 404, or 422 for its payload."""
    known, version = draw.choice(world.known), draw.choice(list(world.versions.values()))
    path, body = known.path, known.body
    if version.manifest.name != known.base.manifest.name:
        version = known.base
    if known.pinned:
        version = known.base
    elif not known.draws:
        path += f"&version={version.manifest.version}"
    elif len(retag(body, version)) == len(body):
        body = retag(body, version)
    else:  # under this tag a byte has to be left out, and another picture would be right
        version = known.base
    answer = await ask(world, [request(path, known.media_type, known.accept, body)])
    gone = () if version.tag == known.base.tag else (422,) if known.draws else (404,)
    world.judge("by version", path, answer, (200, *gone))
    check(world, known, answer, only=version)


async def burst(world: World, draw: random.Random) -> None:
    await asyncio.gather(*(proper(world, draw, "burst") for _ in range(40)))


async def hasty(world: World, draw: random.Random) -> None:
    """Deadlines that often cannot be met: right, or 504."""
    await proper(world, draw, "hasty", more=f"Cameo-Deadline-Ms: {draw.randint(1, 80)}\r\n")


async def dripping(world: World, draw: random.Random) -> None:
    """A slow connection: the request comes in pieces."""
    await proper(world, draw, DRIPPING, pause=draw.uniform(0.05, 0.4))


async def cut_upload(world: World, draw: random.Random) -> None:
    """Closes in the middle of the upload."""
    known = draw.choice(world.known)
    whole = request(known.path, known.media_type, known.accept, known.body)
    await leave(world, whole[: draw.randrange(1, len(whole))], draw, "cut upload")


async def leaving(world: World, draw: random.Random) -> None:
    """Sends all of it, and does not wait for the answer."""
    known = draw.choice(world.known)
    await leave(world, request(known.path, known.media_type, known.accept, known.body), draw, "leaving")


async def bad(world: World, draw: random.Random) -> None:
    """What must be refused."""
    sent = draw.choice(world.bad)
    answer = await ask(world, [sent.request])
    if not answer.status and 0 in sent.statuses:
        world.count("bad", "closed")
        return
    world.judge("bad", sent.what, answer, sent.statuses)


async def looking(world: World, draw: random.Random) -> None:
    """Health checks and metrics, which answer whatever the load."""
    path = draw.choice(["/livez", "/readyz", "/metrics", "/models"])
    answer = await ask(world, [f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()])
    world.judge("looking", path, answer, (200,))


def check(world: World, known: Known, answer: Answer, only: StoredVersion | None = None) -> None:
    """An answer 200 has to be the known one, of a version that was in the store."""
    if answer.status != 200:
        return
    version = known.base
    if not known.draws:
        found = world.versions.get(answer.body[1:3])
        if found is None or found.manifest.name != known.base.manifest.name or only not in (None, found):
            world.violation(f"{known.path}: a payload of an unexpected version, {answer.body[:3].hex()}")
            return
        version = found
    right = known.right_of(version)
    if answer.body != right:
        world.violation(f"{known.path}: a wrong answer, {len(answer.body)} bytes for {len(right)}")


def pieces(data: bytes, count: int) -> list[bytes]:
    size = -(-len(data) // count)
    return [data[at : at + size] for at in range(0, len(data), size)]


async def ask(world: World, parts: list[bytes], pause: float = 0.0) -> Answer:
    """One request on a connection of its own, in parts with pauses between them."""
    world.requests += 1
    began, writer = time.monotonic(), None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
            first = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
            for k, part in enumerate(parts):
                if k:
                    await asyncio.wait({first}, timeout=pause)
                if first.done():
                    break  # a refusal may come before the upload has ended, and nobody reads the rest of it
                writer.write(part)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            head = await first
            length = _LENGTH.search(head)
            body = await (reader.readexactly(int(length[1])) if length else reader.read())
            return Answer(int(head[9:12]), body, began, True)
    except TimeoutError:
        return Answer(0, b"", began, writer is not None, f"no answer in {PATIENCE:g} s")
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        return Answer(0, b"", began, writer is not None, type(error).__name__)
    finally:
        if writer is not None:
            writer.close()


async def leave(world: World, data: bytes, draw: random.Random, kind: str) -> None:
    """Send, wait up to 60 ms, and close: in good order, or with a reset."""
    world.requests += 1
    world.count(kind, "left")
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(data)
        await asyncio.sleep(draw.uniform(0, 0.06))
        if draw.random() < 0.5:
            at_once = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.transport.abort() if draw.random() < 0.5 else writer.close()
