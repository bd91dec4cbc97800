"""The library: what a service does, done here, in one process."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cameo import codec
from cameo.coder.coder import Coder
from cameo.coder.device import choose
from cameo.comparison import budgets, parse_version, require_codecs
from cameo.errors import CameoError, UnknownModel
from cameo.jobs import Job, Timings, run
from cameo.pictures.classical import CODECS
from cameo.pictures.read import Photo, read
from cameo.results import Comparison, Compressed, ModelVersion
from cameo.store import Registry
from cameo.work import Pipeline

T = TypeVar("T")

Effort = Literal["fast", "good", "best"]
FrameMethod = Literal["auto", "asis"]

MAX_PIXELS = 50_000_000
AHEAD = 2  # photos for each thread that are read, or done, before they are asked for


class Cameo:
    """Compresses faces, and draws them again. Safe to use from several threads; a context manager.

    ``store`` is the folder of a model store, by default the one that comes with the package. ``device``: auto, cpu,
    cuda or cuda:N; ``backend``: auto, torch or onnx. ``effort`` is the default of all calls: by default ``good`` for
    one photo and ``fast`` for many. ``detector`` and ``recogniser`` name ONNX files of your own, YuNet and SFace.
    ``max_pixels`` bounds what a photo may have.

    Models are loaded when they are first asked for. Whatever a method is given, it raises
    :class:`cameo.CameoError` with a sentence that says what to do; ValueError where a setting cannot be met.
    """

    def __init__(
        self, store: str | os.PathLike[str] | None = None, *, device: str = "auto", backend: str = "auto",
        effort: Effort | None = None, detector: Path | None = None, recogniser: Path | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:  # fmt: skip
        self.store = Path(store) if store is not None else shipped_store()
        self.device = choose(device)
        self._max_pixels = max_pixels
        self._pipeline = Pipeline(self.device.torch, detector=detector, recogniser=recogniser, effort=effort)
        registry: Registry[Coder] = Registry(
            self.store, lambda stored: Coder(stored, self.device.torch, backend), eager=False
        )
        registry.open()
        if not registry.entries:
            reasons = "".join(f"; {each.name}/{each.version}: {each.reason}" for each in registry.refused)
            raise UnknownModel(f"the model store {self.store} has no usable version{reasons}", name=None, known=[])
        self._registry: Registry[Coder] | None = registry

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Cameo on {self.store}, {self.device.torch}>"

    def close(self) -> None:
        """Drop the models. Results stay; calls after it raise ValueError."""
        self._registry = None

    @property
    def _versions(self) -> Registry[Coder]:
        if self._registry is None:
            raise ValueError("this Cameo is closed")
        return self._registry

    @property
    def models(self) -> tuple[ModelVersion, ...]:
        """What is in the store and usable, by name and version."""
        default = self._versions.snapshot.default
        return tuple(
            ModelVersion(
                m.name, m.version, m.version == default(m.name), m.portrait, m.rates, m.default_rate,
                m.model_dump(mode="json"),
            )
            for m in (entry.stored.manifest for entry in self._versions.entries)
        )  # fmt: skip

    def compress(
        self, photo: Photo, *, model: str | None = None, version: int | None = None, max_bytes: int | None = None,
        effort: Effort | None = None, frame: FrameMethod = "auto", likeness: bool | None = None,
    ) -> Compressed:  # fmt: skip
        """The face in a photo, as a payload of at most ``max_bytes``; by default the model's default rate.

        ``frame="auto"`` finds the face and warps it to the canonical portrait, ``"asis"`` takes the centre square.
        ``likeness=False`` leaves out the comparison of the face with the portrait.
        ImageError, UnknownModel, UnknownVersion, RefusedVersion, BudgetTooSmall or InvalidParameter.
        """
        coder = self._versions.get(model, version).model
        return self._compressor(coder, max_bytes, effort, frame, likeness, many=False)(photo)

    @overload
    def compress_many(
        self, photos: Iterable[Photo], *, model: str | None = ..., version: int | None = ...,
        max_bytes: int | None = ..., effort: Effort | None = ..., frame: FrameMethod = ...,
        likeness: bool | None = ..., threads: int | None = ...,
        on_error: Literal["raise"] = ...,
    ) -> Iterator[Compressed]: ...  # fmt: skip

    @overload
    def compress_many(
        self, photos: Iterable[Photo], *, model: str | None = ..., version: int | None = ...,
        max_bytes: int | None = ..., effort: Effort | None = ..., frame: FrameMethod = ...,
        likeness: bool | None = ..., threads: int | None = ...,
        on_error: Literal["return"],
    ) -> Iterator[Compressed | CameoError | OSError]: ...  # fmt: skip

    def compress_many(
        self, photos: Iterable[Photo], *, model: str | None = None, version: int | None = None,
        max_bytes: int | None = None, effort: Effort | None = None, frame: FrameMethod = "auto",
        likeness: bool | None = None, threads: int | None = None, on_error: Literal["raise", "return"] = "raise",
    ) -> Iterator[Compressed | CameoError | OSError]:  # fmt: skip
        """:meth:`compress` of any number of photos, in their order, on every core.

        Photos are taken as results are asked for, a few ahead, so ``photos`` may be endless. ``threads``: by default
        one a CPU. With ``on_error="return"`` a photo that fails gives its error in its place; by default it is raised.
        Without ``effort`` this is ``fast``, unless the default is another. Faces are then not compared with their
        portraits, unless ``likeness=True``.
        """
        coder = self._versions.get(model, version).model
        compress = self._compressor(coder, max_bytes, effort, frame, likeness, many=True)
        return _in_order(compress, photos, threads or self.device.cpus, returns_errors=on_error == "return")

    def reconstruct(self, payload: bytes) -> Image.Image:
        """The portrait that a payload stands for. PayloadError, or RefusedVersion."""
        coder, parts = self._opened(payload)
        return Image.fromarray(_alone(self._pipeline.reconstruct(coder, lambda: coder.unpack(parts), Timings())))

    def reconstruct_tokens(
        self, tokens: NDArray[np.int64], *, model: str | None = None, version: int | None = None
    ) -> Image.Image:
        """The portrait that a model's tokens stand for. TokensError, or UnknownModel and the like."""
        coder = self._versions.get(model, version).model
        checked = coder.check(np.asarray(tokens).tolist())
        return Image.fromarray(_alone(self._pipeline.reconstruct(coder, lambda: checked, Timings())))

    def shorten(self, payload: bytes, max_bytes: int) -> bytes:
        """The payload of a coarser face, made without the photo; itself where it is no longer than ``max_bytes``.

        PayloadError, or BudgetTooSmall: a model with one rate never shrinks.
        """
        coder, parts = self._opened(payload)
        return run(self._pipeline.shorten(payload, coder, parts, max_bytes, Timings()))

    def compare(
        self, photo: Photo, *, models: Iterable[str] | None = None, codecs: Iterable[str] = CODECS,
        max_bytes: int | Iterable[int] = (), effort: Effort | None = None, frame: FrameMethod = "auto",
    ) -> Comparison:  # fmt: skip
        """Models at their rates, or at each of ``max_bytes``, and codecs at the best quality within as many bytes.

        ``models``: names, each with /version if wanted; by default all. ImageError, InvalidParameter and the like.
        """
        wanted = list(codecs)
        require_codecs(wanted)
        asked = [max_bytes] if isinstance(max_bytes, int) else list(max_bytes)
        coders = []
        for name in models or self._versions.names():
            coder = self._versions.get(*parse_version(name)).model
            coders.append((coder, budgets(coder, asked)))
        pixels = partial(read, photo, self._max_pixels)
        return _alone(self._pipeline.compare(pixels, coders, wanted, effort=effort, frame=frame, timings=Timings()))

    def _compressor(
        self, coder: Coder, max_bytes: int | None, wanted: str | None, frame: str, likeness: bool | None, *, many: bool
    ) -> Callable[[Photo], Compressed]:
        budget, effort = coder.budget(max_bytes), self._pipeline.effort(coder, wanted, many=many)
        judged = self._pipeline.judges(likeness, effort, many=many)

        def compress(photo: Photo) -> Compressed:
            pixels = partial(read, photo, self._max_pixels)
            return _alone(
                self._pipeline.compress(
                    pixels, coder, budget, effort=effort, frame=frame, judged=judged, timings=Timings()
                )
            )

        return compress

    def _opened(self, payload: bytes) -> tuple[Coder, codec.Payload]:
        parts = codec.unwrap(payload)
        return self._versions.by_tag(parts.tag).model, parts


open = Cameo  # noqa: A001 - cameo.open(), as gzip.open() and PIL's Image.open()


def shipped_store() -> Path:
    """The model store that comes with the package: in a wheel inside it, in the repository beside it."""
    package = Path(__file__).parent
    inside = package / "model_store"
    return inside if inside.is_dir() else package.parent / "model_store"


def _alone(job: Job[T]) -> T:
    """The result of a job, with one thread: its sums, and so its bytes, are those of every other driver."""
    with _one_thread():
        return run(job)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Of torch's, in this thread, for a while; others keep what they have."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_order(
    work: Callable[[Photo], Compressed], photos: Iterable[Photo], threads: int, *, returns_errors: bool
) -> Iterator[Compressed | CameoError | OSError]:
    """Results in the order of ``photos``. Leaving early drops what has not begun."""
    waiting = iter(photos)
    window: deque[Future[Compressed]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="cameo") as pool:
        try:
            while True:
                window.extend(pool.submit(work, photo) for photo in islice(waiting, AHEAD * threads - len(window)))
                if not window:
                    return
                try:
                    done: Compressed | CameoError | OSError = window.popleft().result()
                except (CameoError, OSError) as error:
                    if not returns_errors:
                        raise
                    done = error
                yield done
        finally:
            for future in window:
                future.cancel()
