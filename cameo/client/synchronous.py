"""``cameo.Client``."""

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo.client.batches import compress_many
from cameo.client.calls import Calls, CardSettings, Settings
from cameo.client.connection import build, require_key
from cameo.client.exchange import Done, Emit, Exchange, Outcome, Pause, Read, Send, Step, Take, advance
from cameo.client.requests import photo_bytes
from cameo.faces.verification import DEFAULT_FMR
from cameo.latent import COUNT, STEPS
from cameo.pictures.read import Photo
from cameo.results import Comparison, Compressed, ModelVersion, Verified

if TYPE_CHECKING:
    from cameo.cards import Card, Claims, ReadCard

T = TypeVar("T")


class Client:
    """Compresses faces, and draws them again, by a service. Safe to use from several threads; a context manager.

    ``url``: of the service, as http://127.0.0.1:8000. ``key``: an API key. ``timeout``: seconds within which an answer
    is of use, retries included; the service is told, and begins nothing that would be late. None: as long as the
    service allows. ``tries``: how often a request is sent where connections fail. ``http``: an httpx.Client of your
    own, for proxies and certificates; you close it.

    A busy service says when to come again, and the client does, as long as there is time. Raises what
    :class:`cameo.Cameo` does, and what only a service has to say: Unauthorized, RateLimited, Overloaded,
    DeadlineExceeded, NotReady, BodyTooLarge; Unreachable where no service answers.
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float | None = 60.0, tries: int = 4,
        http: httpx.Client | None = None,
    ) -> None:  # fmt: skip
        self._calls, self._key = Calls(url, timeout, tries), require_key(key)
        self._owned, self._http = http is None, http or httpx.Client()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._calls.url}>"

    def close(self) -> None:
        """Close the connections. Results stay; calls after it raise ValueError."""
        if self._owned:
            self._http.close()

    @property
    def models(self) -> tuple[ModelVersion, ...]:
        """What the service has, by name and version; asked for each time."""
        return self._run(self._calls.models())

    def compress(self, photo: Photo, **settings: Unpack[Settings]) -> Compressed:
        """As :meth:`cameo.Cameo.compress`; ``settings``: model, version, max_bytes, effort, frame, face, likeness."""
        return self._run(self._calls.compress(photo, settings))

    @overload
    def compress_many(
        self, photos: Iterable[Photo], *, on_error: Literal["raise"] = ..., **settings: Unpack[Settings]
    ) -> Iterator[Compressed]: ...

    @overload
    def compress_many(
        self, photos: Iterable[Photo], *, on_error: Literal["return"], **settings: Unpack[Settings]
    ) -> Iterator[Outcome]: ...

    def compress_many(
        self, photos: Iterable[Photo], *, on_error: Literal["raise", "return"] = "raise", **settings: Unpack[Settings]
    ) -> Iterator[Outcome]:
        """As :meth:`cameo.Cameo.compress_many`: results in order, by batches of a few photos, of any number of them.

        The timeout is for each batch. With ``on_error="return"`` a photo that fails gives its error in its place;
        what is wrong with the service is always raised.
        """
        exchange = compress_many(self._calls, settings, returns_errors=on_error == "return")
        return _Driver(self._http, self._calls.url, self._key, photos).results(exchange)

    def reconstruct(self, payload: bytes) -> Image.Image:
        """As :meth:`cameo.Cameo.reconstruct`."""
        return self._run(self._calls.reconstruct(payload))

    def reconstruct_tokens(
        self, tokens: NDArray[np.int64], *, model: str | None = None, version: int | None = None
    ) -> Image.Image:
        """As :meth:`cameo.Cameo.reconstruct_tokens`."""
        return self._run(self._calls.reconstruct_tokens(tokens, model, version))

    def shorten(self, payload: bytes, max_bytes: int) -> bytes:
        """As :meth:`cameo.Cameo.shorten`."""
        return self._run(self._calls.shorten(payload, max_bytes))

    def verify(
        self, photo: Photo, reference: "Photo | ReadCard", *, fmr: float = DEFAULT_FMR,
        frame: Literal["auto", "asis"] = "auto", face: Literal["largest", "only"] = "largest",
    ) -> Verified:  # fmt: skip
        """As :meth:`cameo.Cameo.verify`; the service says which issuers are trusted."""
        return self._run(self._calls.verify(photo, reference, fmr, frame, face))

    def card(self, face: Photo, claims: "Claims | Mapping[str, Any]", **settings: Unpack[CardSettings]) -> "Card":
        """As :meth:`cameo.Cameo.card`, signed by the service; ``settings``: its other arguments.

        NoSigningKey where the service has no key.
        """
        return self._run(self._calls.card(face, claims, settings))

    def read_card(self, card: Photo) -> "ReadCard":
        """As :meth:`cameo.Cameo.read_card`; the service says which issuers are trusted."""
        return self._run(self._calls.read_card(card))

    def read_cards(self, card: Photo) -> "list[ReadCard]":
        """As :meth:`cameo.Cameo.read_cards`."""
        return self._run(self._calls.read_cards(card))

    def interpolate(self, a: bytes, b: bytes, *, steps: int = STEPS) -> list[Image.Image]:
        """As :meth:`cameo.Cameo.interpolate`."""
        return self._run(self._calls.interpolate(a, b, steps))

    def sample(
        self, count: int = COUNT, *, seed: int = 0, model: str | None = None, version: int | None = None
    ) -> list[Image.Image]:
        """As :meth:`cameo.Cameo.sample`."""
        return self._run(self._calls.sample(count, seed, model, version))

    def compare(
        self, photo: Photo, *, models: Iterable[str] | None = None, codecs: Iterable[str] | None = None,
        max_bytes: int | Iterable[int] = (), effort: Literal["fast", "good", "best"] | None = None,
        frame: Literal["auto", "asis"] = "auto", sheet: bool = False,
    ) -> Comparison:  # fmt: skip
        """As :meth:`cameo.Cameo.compare`, without pixels. ``sheet``: have the sheet drawn, too, by a second request."""
        return self._run(self._calls.compare(photo, models, codecs, max_bytes, effort, frame, sheet=sheet))

    def _run(self, exchange: Exchange[T]) -> T:
        return _Driver(self._http, self._calls.url, self._key).run(exchange)


class _Driver:
    """Does the steps of one exchange, in the caller's thread."""

    def __init__(self, http: httpx.Client, url: str, key: str | None, photos: Iterable[Photo] = ()) -> None:
        self._http, self._url, self._key, self._photos = http, url, key, iter(photos)
        self._stream: httpx.Response | None = None
        self._lines: Iterator[str] = iter(())

    def run(self, exchange: Exchange[T]) -> T:
        done = self._until_result(exchange)
        assert isinstance(done, Done), "only batches emit results"
        value: T = done.value
        return value

    def results(self, exchange: Exchange[None]) -> Iterator[Outcome]:
        try:
            while isinstance(step := self._until_result(exchange), Emit):
                yield step.result
        finally:
            exchange.close()
            self._close()

    def _until_result(self, exchange: Exchange[Any]) -> Emit | Done:
        step = advance(exchange)
        while not isinstance(step, Emit | Done):
            try:
                reply = self._perform(step)
            except Exception as error:  # the exchange knows what to do about it
                step = advance(exchange, error=error)
            else:
                step = advance(exchange, reply)
        return step

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Read):
            return photo_bytes(step.photo)
        if isinstance(step, Take):
            return self._take()
        if isinstance(step, Send):
            return self._send(step)
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        return next(self._lines, None)

    def _take(self) -> bytes | OSError | None:
        for photo in self._photos:
            try:
                return photo_bytes(photo)
            except OSError as error:
                return error
        return None

    def _send(self, step: Send) -> httpx.Response:
        self._close()
        request = build(self._http, self._url, self._key, step)
        response = self._http.send(request, stream=step.streamed)
        if step.streamed:
            self._stream, self._lines = response, response.iter_lines()
            if not response.is_success:
                response.read()
        return response

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream, self._lines = None, iter(())
