"""The library: what a service does, done here, in one process."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo import cards, codec, latent
from cameo.coder.coder import Coder
from cameo.coder.device import choose
from cameo.comparison import budgets, parse_version, require_codecs
from cameo.driver import alone, in_order
from cameo.errors import CameoError, UnknownModel
from cameo.faces.verification import DEFAULT_FMR
from cameo.jobs import Timings, run
from cameo.pictures.classical import CODECS
from cameo.pictures.read import Photo, bytes_of_no_picture, read
from cameo.results import Comparison, Compressed, ModelVersion, Verified
from cameo.store import Cache, Registry, open_store
from cameo.work import Pipeline, compressed, require_one_vae, require_vae, unpacked

if TYPE_CHECKING:
    from cameo.cards import Card, Claims, ReadCard, SigningKey

Effort = Literal["fast", "good", "best"]
FrameMethod = Literal["auto", "asis"]
FaceChoice = Literal["largest", "only"]

MAX_PIXELS = 50_000_000


class Cameo:
    """Compresses faces, and draws them again. Safe to use from several threads; a context manager.

    ``store`` is the folder of a model store, or the URL of one in an object store, as ``s3://bucket/store``; by default
    the one that comes with the package. ``cache`` keeps what comes from object stores. ``device``: auto, cpu,
    cuda or cuda:N; ``backend``: auto, torch or onnx. ``effort`` is the default of all calls: by default ``good`` for
    one photo and ``fast`` for many. ``detector`` and ``recogniser`` name ONNX files of your own, YuNet and SFace.
    ``max_pixels`` bounds what a photo may have.

    Models are loaded when they are first asked for. Whatever a method is given, it raises
    :class:`cameo.CameoError` with a sentence that says what to do; ValueError where a setting cannot be met.
    """

    def __init__(
        self, store: str | os.PathLike[str] | None = None, *, device: str = "auto", backend: str = "auto",
        effort: Effort | None = None, detector: Path | None = None, recogniser: Path | None = None,
        max_pixels: int = MAX_PIXELS, cache: Cache | None = None,
    ) -> None:  # fmt: skip
        self.store = open_store(shipped_store() if store is None else store, cache)
        self.device = choose(device)
        self._max_pixels = max_pixels
        self._pipeline = Pipeline(self.device.torch, detector=detector, recogniser=recogniser, effort=effort)
        registry: Registry[Coder] = Registry(
            self.store, lambda stored: Coder(stored, self.device.torch, backend), eager=False
        )
        registry.open()
        if not registry.entries:
            reasons = "".join(f"; {each.name}/{each.version}: {each.reason}" for each in registry.refused)
            wanted = reasons or "; publish one there, or copy a store: see model_store/README.md"
            raise UnknownModel(f"the model store {self.store} has no usable version{wanted}", name=None, known=[])
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
        effort: Effort | None = None, frame: FrameMethod = "auto", face: FaceChoice = "largest",
        likeness: bool | None = None,
    ) -> Compressed:  # fmt: skip
        """The face in a photo, as a payload of at most ``max_bytes``; by default the model's default rate.

        ``frame="auto"`` finds the face and warps it to the canonical portrait, ``"asis"`` takes the centre square.
        Of several faces it takes the most prominent one; with ``face="only"`` it refuses the photo.
        ``likeness=False`` leaves out the comparison of the face with the portrait.
        ImageError, UnknownModel, UnknownVersion, RefusedVersion, BudgetTooSmall or InvalidParameter.
        """
        coder = self._versions.get(model, version).model
        return self._compressor(coder, max_bytes, effort, frame, face, likeness, many=False)(photo)

    @overload
    def compress_many(
        self, photos: Iterable[Photo], *, model: str | None = ..., version: int | None = ...,
        max_bytes: int | None = ..., effort: Effort | None = ..., frame: FrameMethod = ...,
        face: FaceChoice = ..., likeness: bool | None = ..., threads: int | None = ...,
        on_error: Literal["raise"] = ...,
    ) -> Iterator[Compressed]: ...  # fmt: skip

    @overload
    def compress_many(
        self, photos: Iterable[Photo], *, model: str | None = ..., version: int | None = ...,
        max_bytes: int | None = ..., effort: Effort | None = ..., frame: FrameMethod = ...,
        face: FaceChoice = ..., likeness: bool | None = ..., threads: int | None = ...,
        on_error: Literal["return"],
    ) -> Iterator[Compressed | CameoError | OSError]: ...  # fmt: skip

    def compress_many(
        self, photos: Iterable[Photo], *, model: str | None = None, version: int | None = None,
        max_bytes: int | None = None, effort: Effort | None = None, frame: FrameMethod = "auto",
        face: FaceChoice = "largest",
        likeness: bool | None = None, threads: int | None = None, on_error: Literal["raise", "return"] = "raise",
    ) -> Iterator[Compressed | CameoError | OSError]:  # fmt: skip
        """:meth:`compress` of any number of photos, in their order, on every core.

        Photos are taken as results are asked for, a few ahead, so ``photos`` may be endless. ``threads``: by default
        one a CPU. With ``on_error="return"`` a photo that fails gives its error in its place; by default it is raised.
        Without ``effort`` this is ``fast``, unless the default is another. Faces are then not compared with their
        portraits, unless ``likeness=True``.
        """
        coder = self._versions.get(model, version).model
        compress = self._compressor(coder, max_bytes, effort, frame, face, likeness, many=True)
        return in_order(compress, photos, threads or self.device.cpus, returns_errors=on_error == "return")

    def reconstruct(self, payload: bytes) -> Image.Image:
        """The portrait that a payload stands for. PayloadError, or RefusedVersion."""
        coder, parts = self._opened(payload)
        return Image.fromarray(alone(self._pipeline.reconstruct(coder, lambda: coder.unpack(parts), Timings())))

    def reconstruct_tokens(
        self, tokens: NDArray[np.int64], *, model: str | None = None, version: int | None = None
    ) -> Image.Image:
        """The portrait that a model's tokens stand for. TokensError, or UnknownModel and the like."""
        coder = self._versions.get(model, version).model
        checked = coder.check(np.asarray(tokens).tolist())
        return Image.fromarray(alone(self._pipeline.reconstruct(coder, lambda: checked, Timings())))

    def shorten(self, payload: bytes, max_bytes: int) -> bytes:
        """The payload of a coarser face, made without the photo; itself where it is no longer than ``max_bytes``.

        PayloadError, or BudgetTooSmall: a model with one rate never shrinks.
        """
        coder, parts = self._opened(payload)
        return run(self._pipeline.shorten(payload, coder, parts, max_bytes, Timings()))

    def verify(
        self, photo: Photo, reference: "Photo | ReadCard", *, issuers: str | os.PathLike[str] | None = None,
        fmr: float = DEFAULT_FMR, frame: FrameMethod = "auto", face: FaceChoice = "largest",
    ) -> Verified:  # fmt: skip
        """Whether a photo shows the person of ``reference``: a score, and a decision by a calibrated threshold.

        ``reference`` is the bytes of a payload, or a card: one that was read, or what :meth:`read_card` takes, with
        ``issuers`` for the folder of public keys that are trusted. A card that is not valid never matches. ``fmr`` is
        the false match rate that is tolerated: 0.01, 0.001 or 0.0001, the share of other people who would match.
        ``frame`` and ``face``: as for :meth:`compress`. ImageError, PayloadError, CardError, InvalidParameter, or
        NotCalibrated where there is no threshold for the payload's version and this recogniser.
        """
        payload, card = bytes_of_no_picture(reference), None
        if payload is None:
            card = reference if isinstance(reference, cards.ReadCard) else self.read_card(reference, issuers=issuers)
            payload = card.require_payload()
        coder, parts = self._opened(payload)
        pixels = partial(read, photo, self._max_pixels)
        return alone(
            self._pipeline.verify(
                pixels, payload, coder, parts, fmr, card=card, frame=frame, face=face, timings=Timings()
            )
        )

    def interpolate(self, a: bytes, b: bytes, *, steps: int = latent.STEPS) -> list[Image.Image]:
        """``steps`` faces from that of payload ``a`` to that of ``b``, both of one version of a VAE.

        PayloadError, or InvalidParameter for other models.
        """
        coder, first = self._opened(a)
        other, last = self._opened(b)
        require_one_vae(coder, other)
        return _pictures(alone(self._pipeline.interpolate(coder, (first, last), steps, Timings())))

    def sample(
        self, count: int = latent.COUNT, *, seed: int = 0, model: str | None = None, version: int | None = None
    ) -> list[Image.Image]:
        """``count`` faces of nobody, drawn by ``seed`` from what a VAE has learnt; by default the first in the store.

        InvalidParameter for a model that is no VAE; UnknownModel and the like.
        """
        coder = self._versions.get(model or latent.first_vae(self._versions.entries), version).model
        require_vae(coder)
        return _pictures(alone(self._pipeline.sample(coder, count, seed)))

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
        return alone(self._pipeline.compare(pixels, coders, wanted, effort=effort, frame=frame, timings=Timings()))

    def card(
        self, face: Photo, claims: "Claims | Mapping[str, Any]", key: "SigningKey | str | os.PathLike[str]", *,
        expires: date | None = None, not_before: date | None = None, max_bytes: int | None = None,
        model: str | None = None, version: int | None = None, effort: Effort | None = None,
        frame: FrameMethod = "auto",
    ) -> "Card":  # fmt: skip
        """A signed card with a face: a photo, which is compressed, or the bytes of a payload.

        ``claims`` are the attributes of :class:`cameo.Claims`, ``key`` the private key of the issuer or its file. The
        card is valid to the end of the day ``expires``; a datetime, with its time zone, is meant as it is. The other
        arguments are for a photo, see :meth:`compress`. CardTooLarge where all this does not fit on a card; InvalidKey,
        InvalidParameter, ImageError, PayloadError.
        """
        signing = key if isinstance(key, cards.SigningKey) else cards.SigningKey.load(key)
        sign = partial(
            cards.make_card, claims=cards.Claims.of(claims), key=signing, expires=expires, not_before=not_before
        )
        payload = bytes_of_no_picture(face)
        if payload is not None:
            coder, parts = self._opened(payload)
            source = unpacked(payload, coder, parts)
        else:
            coder = self._versions.get(model, version).model
            budget, wanted = coder.budget(max_bytes), self._pipeline.effort(coder, effort)
            photo = self._pipeline.compress(
                partial(read, face, self._max_pixels), coder, budget, effort=wanted, frame=frame, face="largest",
                judged=False, timings=Timings(),
            )  # fmt: skip
            source = compressed(photo)
        return alone(self._pipeline.card(coder, source, sign, Timings()))

    def read_card(self, card: Photo, *, issuers: str | os.PathLike[str] | None = None) -> "ReadCard":
        """What a card says, and whether a trusted issuer says it: ``issuers`` is a folder of their public keys.

        ``card`` is a photo or scan, or the text of the QR code as a str. NoCard, NotACard, DamagedCard, InvalidKey;
        SeveralCards, for which there is :meth:`read_cards`.
        """
        return cards.only_card(self.read_cards(card, issuers=issuers))

    def read_cards(self, card: Photo, *, issuers: str | os.PathLike[str] | None = None) -> "list[ReadCard]":
        """All cards in a picture, each once, as :meth:`read_card` gives one."""
        trusted = {} if issuers is None else cards.load_issuers(issuers)
        if isinstance(card, str) and cards.is_text(card):
            return [cards.read_text(card, trusted)]
        return cards.read_picture(read(card, self._max_pixels).pixels, trusted)

    def _compressor(
        self, coder: Coder, max_bytes: int | None, wanted: str | None, frame: str, face: str, likeness: bool | None, *,
        many: bool,
    ) -> Callable[[Photo], Compressed]:  # fmt: skip
        self._pipeline.require_framing(frame, face)
        budget, effort = coder.budget(max_bytes), self._pipeline.effort(coder, wanted, many=many)
        judged = self._pipeline.judges(likeness, effort, many=many)

        def compress(photo: Photo) -> Compressed:
            job = self._pipeline.compress(
                partial(read, photo, self._max_pixels), coder, budget, effort=effort, frame=frame, face=face,
                judged=judged, timings=Timings(),
            )  # fmt: skip
            return alone(job)

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


def _pictures(faces: list[NDArray[np.uint8]]) -> list[Image.Image]:
    return [Image.fromarray(face) for face in faces]
