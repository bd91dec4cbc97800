"""The service without HTTP: what the API's resources call."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from app import codec, graphs, memory
from app.checks import Doubt, check
from app.config import Settings
from app.engine.device import Device, choose
from app.engine.jobs import Call, Job, Lane, Timings
from app.engine.models import Coder
from app.engine.scheduler import Kind, Scheduler
from app.engine.watch import Watch
from app.errors import InvalidParameter, NotReady, OverlongPayload, TooManyFaces, UnknownVersion
from app.images import decode, encode, megapixels
from app.metrics import Metrics
from app.nn.recogniser import SFace
from app.nn.search import ROUNDS
from app.portrait import Framed, Framer, asis
from app.quality import IdentityJudge, Pixels, installed_judge
from app.store import Entry, Registry

log = logging.getLogger("cameo.service")

T = TypeVar("T")

MOST_PAYLOAD_BYTES = 2**16  # far above any payload; the checksum of a whole upload would hold up other requests


class Work(NamedTuple, Generic[T]):
    """A job for the scheduler, what it is like, and the lane that it goes to first."""

    job: Job[T]
    kind: Kind
    lane: Lane | None


@dataclass(frozen=True)
class Compressed:
    """One portrait on its way through: what came in, how it was framed, what came out.

    ``tokens`` are those that the payload holds, ``likeness`` is the recogniser's cosine of the portrait and of what
    they decode to, or None where it was not asked for.
    """

    coder: Coder
    effort: str
    upload_bytes: int
    framed: Framed
    tokens: NDArray[np.int64]
    payload: bytes
    likeness: float | None
    warnings: list[Doubt]


NO_SEARCH = "SFace, which this service does not have: pip install 'cameo[fast]'"


class Service:
    """Everything that one process needs to serve, made once. Nothing is loaded before :meth:`start`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.device: Device = choose(settings.device)
        # One thread a picture: nets this small gain little from two, and a payload stays the same under load.
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        workers = settings.workers or -(-self.device.cpus // settings.processes)
        self.scheduler = Scheduler(workers, settings.queue_seconds, metrics)
        self.registry: Registry[Coder] = Registry(
            settings.store,
            lambda stored: Coder(stored, self.device.torch, settings.backend),
            settings.model_memory_mb * 2**20,
        )
        self.watch = Watch(self.registry, settings.store_poll_seconds, self._store_changed)
        self.framer = Framer(settings.detector, onnx=graphs.installed() and settings.backend != "torch")
        self._judge_file = settings.judge or installed_judge()
        self.judge: IdentityJudge | None = IdentityJudge(self._judge_file) if self._judge_file else None
        if settings.effort and ROUNDS[settings.effort] and not self._searches:
            raise ValueError(f"CAMEO_EFFORT={settings.effort} needs {NO_SEARCH}")
        self.ready = False
        self.draining = False
        self.reason = "models are being loaded"
        metrics.follow(metrics.ready, lambda: float(self.ready and not self.draining))
        metrics.device_info.labels(str(self.device.torch), self.device.reason, str(self.scheduler.workers)).set(1)

    def start(self) -> None:
        """Load the store in the background: the process answers ``/livez`` meanwhile, and ``/readyz`` with 503."""
        log.info("device %s: %s; %d workers", self.device.torch, self.device.reason, self.scheduler.workers)
        self.watch.start()

    def _store_changed(self) -> None:
        """Tell metrics, ``/readyz`` and the log what is served now."""
        registry, metrics = self.registry, self.metrics
        metrics.store_changes.labels("problem" if registry.problem else "taken").inc()
        metrics.store_problem.set(registry.problem is not None)
        memory.trim()
        metrics.replace(metrics.refused_versions, {(each.name, str(each.version)): 1 for each in registry.refused})
        served = {(e.stored.manifest.name, str(e.stored.manifest.version)): e for e in registry.entries}
        metrics.replace(metrics.model_info, {(*labels, e.stored.digest): 1 for labels, e in served.items()})
        loaded = {labels: partial(getattr, e, "loaded") for labels, e in served.items()}
        metrics.replace(metrics.loaded_models, loaded)
        progressive = any(len(entry.stored.manifest.rates) > 1 for entry in registry.entries)
        if progressive and self._searches and self.settings.effort != "fast":
            _ = self._recogniser  # the first search should not wait for it
        if not self.ready:
            memory.settle()
        self.ready = bool(registry.entries)
        names = ", ".join("/".join(labels) for labels in served)
        if self.draining:
            log.info("serves until it ends: %s", names)
        elif self.ready:
            self.reason = "models are loaded and warm"
            log.info("ready: %s", names)
        else:
            self.reason = f"the model store {self.settings.store} holds no usable version"
            if registry.problem:
                self.reason = f"the model store cannot be opened: {registry.problem}"
            log.error(self.reason)

    def drain(self) -> None:
        """Not ready any more, for whoever asks; what comes nevertheless is served.

        A handler of signals may call it, in the middle of anything: so it takes no lock, such as a metric's.
        """
        self.draining, self.reason = True, "the service is shutting down"

    def stop(self) -> None:
        """Finish what was accepted, take nothing new."""
        self.watch.stop()
        self.drain()
        self.ready = False
        self.scheduler.close()

    def entry(self, name: str | None, version: int | None) -> Entry[Coder]:
        """The version that a request asks for; NotReady, UnknownModel, UnknownVersion or RefusedVersion."""
        self.require_ready()
        return self.registry.get(name, version)

    def require_ready(self) -> None:
        if not self.ready:
            raise NotReady(f"not ready: {self.reason}", reason=self.reason, retry_after=1)

    def compress(
        self, data: bytes, frame: str, face: str, coder: Coder, max_bytes: int | None, effort: str, likeness: bool,
        timings: Timings,
    ) -> Work[Compressed]:  # fmt: skip
        """An uploaded picture to a payload of at most ``max_bytes``, with an :meth:`effort`, and its :meth:`likeness`.

        ``face``: "largest" takes the most prominent one, "only" refuses a picture with several. ImageError,
        BudgetTooSmall or InvalidParameter, at once.
        """
        budget = coder.budget(max_bytes)
        if face == "only" and frame == "asis":
            raise InvalidParameter("face=only needs frame=auto: frame=asis looks for no face", parameter="face")
        judged = " judged" if likeness else ""
        kind = Kind(f"compress {frame} {coder.size} {effort}{judged}", megapixels(data, self.settings.max_pixels))

        def job() -> Job[Compressed]:
            framed = self.frame(data, frame, coder.size, timings)
            if face == "only" and framed.faces is not None and framed.faces > 1:
                raise TooManyFaces(
                    f"{framed.faces} faces were found: send a picture of one, or take the most prominent one with "
                    "face=largest",
                    faces=framed.faces, limit=1,
                )  # fmt: skip
            tokens = yield from self.tokens(framed.portrait, coder, budget, effort, timings)
            with timings.stage("encode"):
                payload, held = coder.pack_first(tokens, budget)
            cosine = None
            if likeness:
                # A search saw the face before its last rounding: what the payload gives is looked at anew.
                drawn = yield Call(coder.decoding, held)
                with timings.stage("judge"):
                    assert self.judge
                    cosine = self.judge.similarity(framed.portrait, drawn)
            return Compressed(coder, effort, len(data), framed, held, payload, cosine, check(framed, cosine))

        return Work(job(), kind, coder.searching if ROUNDS[effort] else coder.encoding)

    def tokens(
        self, portrait: Pixels, coder: Coder, budget: int | None, effort: str, timings: Timings
    ) -> Job[NDArray[np.int64]]:
        """All tokens of a portrait of the model's size, searched for as hard as an :meth:`effort` says."""
        if not ROUNDS[effort]:
            tokens: NDArray[np.int64] = yield Call(coder.encoding, portrait)
            return tokens
        with timings.stage("encode"):
            search = coder.search(self._recogniser, portrait, budget, effort)
        for _ in range(ROUNDS[effort]):
            yield Call(coder.searching, search)
        return search.tokens().numpy()

    def effort(self, coder: Coder, wanted: str | None, many: bool = False) -> str:
        """How hard to search for a portrait's tokens, or for those of ``many``.

        InvalidParameter where the model, or this service, cannot do what is ``wanted``.
        """
        if wanted is None:
            usual = self.settings.effort or ("fast" if many or not self._searches else "good")
            return usual if coder.prior is not None else "fast"
        if ROUNDS[wanted] and coder.prior is None:
            raise InvalidParameter(
                f"effort={wanted} is for models with several rates; {coder.manifest.name} has one", parameter="effort"
            )
        if ROUNDS[wanted] and not self._searches:
            raise InvalidParameter(f"effort={wanted} needs {NO_SEARCH}", parameter="effort")
        return wanted

    def likeness(self, wanted: bool | None, effort: str, many: bool = False) -> bool:
        """Whether an answer says how like the face is: by default not for ``many`` without a search.

        It takes as long as all the rest of a portrait does that is not searched for. InvalidParameter where this
        service has no recogniser.
        """
        if wanted is None:
            return self.judge is not None and (not many or ROUNDS[effort] > 0)
        if wanted and self.judge is None:
            raise InvalidParameter(f"likeness=true needs {NO_SEARCH}", parameter="likeness")
        return wanted

    @property
    def _searches(self) -> bool:
        return bool(self._judge_file and find_spec("onnx"))

    @cached_property
    def _recogniser(self) -> SFace:
        assert self._judge_file
        return SFace(self._judge_file).to(self.device.torch)

    def reconstruct(
        self, coder: Coder, read: Callable[[], NDArray[np.int64]], media_type: str, timings: Timings
    ) -> Work[bytes]:
        """What ``read`` gives, the tokens of a face, to a picture file."""

        def job() -> Job[bytes]:
            with timings.stage("decode"):
                tokens = read()
            portrait = yield Call(coder.decoding, tokens)
            with timings.stage("encode"):
                return encode(portrait, media_type)

        return Work(job(), Kind(f"reconstruct {coder.manifest.name} {media_type}"), coder.decoding)

    def frame(self, data: bytes, frame: str, size: int, timings: Timings) -> Framed:
        """Decode an upload and make the portrait of ``size`` pixels; blocking."""
        with timings.stage("decode"):
            image = decode(data, self.settings.max_pixels)
        with timings.stage("frame"):
            return self.framer.auto(image, size) if frame == "auto" else asis(image, size)

    def shorten(
        self, data: bytes, coder: Coder, payload: codec.Payload, max_bytes: int, timings: Timings
    ) -> Work[bytes]:
        """The payload of the same face in at most ``max_bytes``: itself where it is no longer.

        PayloadError, or BudgetTooSmall.
        """

        def job() -> Job[bytes]:
            yield from ()  # a job is a generator, though this one needs no network
            with timings.stage("decode"):
                coder.unpack(payload)  # what comes back as it is has been checked, too
            with timings.stage("encode"):
                return data if len(data) <= max_bytes else coder.shorten(payload, max_bytes)

        return Work(job(), Kind("shorten"), None)

    async def coder(self, name: str | None, version: int | None) -> Coder:
        """The version that a request asks for, loaded; raises as :meth:`entry` does."""
        return await self._loaded(self.entry(name, version))

    @staticmethod
    async def _loaded(entry: Entry[Coder]) -> Coder:
        def load() -> Coder:
            return entry.model

        # Loading takes about a second, which other requests must not wait for.
        coder = entry.peek()
        return await asyncio.to_thread(load) if coder is None else coder

    async def open_payload(self, data: bytes) -> tuple[Coder, codec.Payload]:
        """A payload taken apart, and its model; PayloadError, which covers a tag that the store does not know."""
        self.require_ready()
        if len(data) > MOST_PAYLOAD_BYTES:
            raise OverlongPayload(
                f"the payload has {len(data)} bytes; none has more than {MOST_PAYLOAD_BYTES}",
                bytes=len(data), limit=MOST_PAYLOAD_BYTES,
            )  # fmt: skip
        payload = codec.unwrap(data)
        try:
            return await self._loaded(self.registry.by_tag(payload.tag)), payload
        except UnknownVersion:  # withdrawn since the last look at the store; nobody asked for it by name
            raise self.registry.unknown_tag(payload.tag) from None
