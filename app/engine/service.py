"""The service without HTTP: what the API's resources call."""

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from app.config import Settings
from app.engine import memory
from app.engine.admission import HOPE, Kind
from app.engine.issuing import Issuing
from app.engine.scheduler import Scheduler
from app.engine.watch import Watch
from app.observe.metrics import Metrics
from cameo import codec
from cameo.cards import Card, ReadCard, read_picture, read_text
from cameo.coder.coder import Coder
from cameo.coder.device import Device, choose
from cameo.errors import NotReady, OverlongPayload, UnknownVersion
from cameo.jobs import Job, Operation, Timings
from cameo.nn.search import ROUNDS
from cameo.pictures.decode import Decoded, decode_scaled, megapixels
from cameo.pictures.encode import encode
from cameo.results import Comparison, Compressed, Verified
from cameo.store import Cache, Entry, Registry, open_store
from cameo.work import Pipeline

log = logging.getLogger("cameo.service")

T = TypeVar("T")

ROUND_SECONDS = 0.06  # of CPU time, for a round of a search, until some have been measured
VERIFY_SECONDS, FACE_SECONDS = 0.05, 0.01  # the same, of a verification and of a face
MOST_PAYLOAD_BYTES = 2**16  # far above any payload; the checksum of a whole upload would hold up other requests


LEAST_JSON_BYTES, JSON_TOKEN_BYTES = 2**16, 16


class Work(NamedTuple, Generic[T]):
    """A job for the scheduler, what it is like, and the operation that it calls first."""

    job: Job[T]
    kind: Kind
    first: Operation | None


class Service:
    """Everything that one process needs to serve, made once. No model is loaded before :meth:`start`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.device: Device = choose(settings.device)
        # One thread a picture: nets this small gain little from two, and a payload stays the same under load.
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        workers = settings.workers or -(-self.device.cpus // settings.processes)
        queue_seconds = settings.queue_seconds or HOPE * (
            settings.deadline_ms / 1e3
        )  # the same product as for a request, to the bit
        self.scheduler = Scheduler(workers, queue_seconds, metrics)
        self.registry: Registry[Coder] = Registry(
            open_store(settings.store, Cache(settings.cache, settings.cache_mb * 2**20)),
            lambda stored: Coder(stored, self.device.torch, settings.backend),
            settings.model_memory_mb * 2**20,
        )
        self.watch = Watch(self.registry, settings.store_poll_seconds, self._store_changed)
        self.pipeline = Pipeline(
            self.device.torch, detector=settings.detector, recogniser=settings.judge, effort=settings.effort
        )
        self.issuing = Issuing(settings.card_key, settings.card_issuers)
        self._looking: asyncio.Future[None] | None = None
        self.ready = False
        self.draining = False
        self.reason = "models are being loaded"
        metrics.track(metrics.ready, lambda: float(self.ready and not self.draining))
        metrics.device_info.labels(str(self.device.torch), self.device.reason, str(self.scheduler.workers)).set(1)

    def start(self) -> None:
        """Load the store in the background: the process answers ``/livez`` meanwhile, and ``/readyz`` with 503."""
        log.info("device %s: %s; %d workers", self.device.torch, self.device.reason, self.scheduler.workers)
        log.info("default effort %s: %s", *self.pipeline.usual_effort)
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
        if progressive and self.pipeline.searches and self.settings.effort != "fast":
            _ = self.pipeline.recogniser  # the first search should not wait for it
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

    def json_bytes(self) -> int:
        """The largest body of JSON: with the tokens of any version, written on as many lines as it has tokens."""
        tokens = max((math.prod(e.stored.manifest.tokens.shape) for e in self.registry.entries), default=0)
        return max(LEAST_JSON_BYTES, JSON_TOKEN_BYTES * tokens)

    def entry(self, name: str | None, version: int | None) -> Entry[Coder]:
        """The version that a request asks for; NotReady, UnknownModel, UnknownVersion or RefusedVersion."""
        self.require_ready()
        return self.registry.get(name, version)

    def require_ready(self) -> None:
        if not self.ready:
            raise NotReady(f"not ready: {self.reason}", reason=self.reason, retry_after=1)

    def compress(
        self, data: bytes, frame: str, face: str, coder: Coder, max_bytes: int | None, effort: str, judged: bool,
        timings: Timings,
    ) -> Work[Compressed]:  # fmt: skip
        """An uploaded picture to a payload of at most ``max_bytes``. ImageError or BudgetTooSmall, at once."""
        self.pipeline.require_framing(frame, face)
        pixels, rounds = megapixels(data, self.settings.max_pixels), ROUNDS[effort]
        name = f"compress {frame} {coder.size} {effort}{' judged' if judged else ''}"
        kind = Kind(name, pixels, 0.03 + ROUND_SECONDS * rounds)
        job = self.pipeline.compress(
            self._reader(data), coder, coder.budget(max_bytes), effort=effort, frame=frame, face=face, judged=judged,
            timings=timings,
        )  # fmt: skip
        return Work(job, kind, coder.searching if rounds else coder.encoding)

    def reconstruct(
        self, coder: Coder, read: Callable[[], NDArray[np.int64]], media_type: str, timings: Timings
    ) -> Work[bytes]:
        """What ``read`` gives, the tokens of a face, to a picture file."""

        def job() -> Job[bytes]:
            portrait = yield from self.pipeline.reconstruct(coder, read, timings)
            with timings.stage("encode"):
                return encode(portrait, media_type)

        return Work(job(), Kind(f"reconstruct {coder.manifest.name} {media_type}"), coder.decoding)

    def shorten(
        self, data: bytes, coder: Coder, payload: codec.Payload, max_bytes: int, timings: Timings
    ) -> Work[bytes]:
        """The payload of the same face in at most ``max_bytes``. PayloadError, or BudgetTooSmall."""
        return Work(self.pipeline.shorten(data, coder, payload, max_bytes, timings), Kind("shorten"), None)

    def print_card(
        self, face: Work[tuple[bytes, NDArray[np.int64]]], coder: Coder, sign: Callable[[Image.Image, bytes], Card],
        media_type: str, dpi: int, timings: Timings,
    ) -> Work[tuple[Card, bytes]]:  # fmt: skip
        """A card with this face, and its file. CardTooLarge, InvalidParameter."""

        def job() -> Job[tuple[Card, bytes]]:
            card = yield from self.pipeline.card(coder, face.job, sign, timings)
            with timings.stage("print"):
                return card, card.encode(media_type, dpi)

        return Work(job(), face.kind._replace(name=f"card {media_type} {dpi} {face.kind.name}"), face.first)

    def read_cards(self, data: bytes, timings: Timings) -> Work[list[ReadCard]]:
        """All cards in an uploaded picture. ImageError, at once; NoCard, NotACard or DamagedCard."""

        def job() -> Job[list[ReadCard]]:
            yield from ()
            with timings.stage("decode"):
                pixels = self._reader(data)().pixels
            with timings.stage("read"):
                return read_picture(pixels, self.issuing.trusted())

        return Work(job(), Kind("read card", megapixels(data, self.settings.max_pixels)), None)

    def read_card_text(self, text: str, timings: Timings) -> Work[list[ReadCard]]:
        """The card with this text. NotACard, or DamagedCard."""

        def job() -> Job[list[ReadCard]]:
            yield from ()
            with timings.stage("read"):
                return [read_text(text, self.issuing.trusted())]

        return Work(job(), Kind("read card text"), None)

    def verify(
        self, data: bytes, reference: bytes, coder: Coder, payload: codec.Payload, *, card: ReadCard | None,
        fmr: float, frame: str, face: str, timings: Timings,
    ) -> Work[Verified]:  # fmt: skip
        """An uploaded picture against a payload, maybe of a card. ImageError, NotCalibrated and the like, at once."""
        job = self.pipeline.verify(
            self._reader(data), reference, coder, payload, fmr, card=card, frame=frame, face=face, timings=timings
        )
        kind = Kind(f"verify {frame} {coder.size}", megapixels(data, self.settings.max_pixels), VERIFY_SECONDS)
        return Work(job, kind, coder.decoding)

    def interpolate(
        self, coder: Coder, ends: tuple[codec.Payload, codec.Payload], steps: int, timings: Timings
    ) -> Work[bytes]:
        """Faces from that of one payload to that of the other, as a strip in a PNG. PayloadError, InvalidParameter."""
        return self._strip(coder, self.pipeline.interpolate(coder, ends, steps, timings), steps, timings)

    def sample(self, coder: Coder, count: int, seed: int, timings: Timings) -> Work[bytes]:
        """Faces of nobody, as a strip in a PNG. InvalidParameter."""
        return self._strip(coder, self.pipeline.sample(coder, count, seed), count, timings)

    @staticmethod
    def _strip(coder: Coder, job: Job[list[NDArray[np.uint8]]], faces: int, timings: Timings) -> Work[bytes]:
        def strip() -> Job[bytes]:
            drawn = yield from job
            with timings.stage("encode"):
                return encode(np.ascontiguousarray(np.hstack(drawn)), "image/png")

        return Work(strip(), Kind(f"strip {coder.manifest.name} {faces}", seconds=FACE_SECONDS * faces), coder.drawing)

    def compare(
        self, data: bytes, coders: list[tuple[Coder, list[int | None]]], codecs: list[str], *,
        effort: str | None, frame: str, timings: Timings,
    ) -> Work[Comparison]:  # fmt: skip
        """Models and codecs on an uploaded picture. ImageError or InvalidParameter, at once."""
        job = self.pipeline.compare(self._reader(data), coders, codecs, effort=effort, frame=frame, timings=timings)
        lines = sum(len(at) for _, at in coders)
        efforts = [self.pipeline.effort(coder, effort if coder.searchable else None) for coder, _ in coders]
        hardest = max(efforts, key=ROUNDS.__getitem__, default="fast")
        # Few kinds, whatever clients ask for: what each takes is kept.
        kind = Kind(f"compare {lines} {hardest} {len(codecs)}", megapixels(data, self.settings.max_pixels))
        return Work(job, kind, None)

    def _reader(self, data: bytes) -> Callable[[], Decoded]:
        return partial(decode_scaled, data, self.settings.max_pixels)

    async def coder(self, name: str | None, version: int | None) -> Coder:
        """The version that a request asks for, loaded; raises as :meth:`entry` does."""
        return await self._loaded(self.entry(name, version))

    async def _look_again(self) -> None:
        """See :meth:`Watch.look_again`; one thread for all who wait."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(asyncio.to_thread(self.watch.look_again))
        await asyncio.shield(self._looking)

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
        if not self.registry.knows(payload.tag):
            await self._look_again()
        try:
            return await self._loaded(self.registry.by_tag(payload.tag)), payload
        except UnknownVersion:  # withdrawn since the last look at the store; nobody asked for it by name
            raise self.registry.unknown_tag(payload.tag) from None
