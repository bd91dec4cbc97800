"""``cameo.AsyncClient``: :mod:`cameo.client.synchronous` with await."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Mapping
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


class AsyncClient:
    """:class:`cameo.Client` for asyncio: the same calls, each with ``await``; ``async with``, ``async for``.

    ``http``: an httpx.AsyncClient of your own; you close it.
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float | None = 60.0, tries: int = 4,
        http: httpx.AsyncClient | None = None,
    ) -> None:  # fmt: skip
        self._calls, self._key = Calls(url, timeout, tries), require_key(key)
        self._owned, self._http = http is None, http or httpx.AsyncClient()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._calls.url}>"

    async def close(self) -> None:
        """Close the connections. Results stay; calls after it raise ValueError."""
        if self._owned:
            await self._http.aclose()

    @property
    def models(self) -> Coroutine[Any, Any, tuple[ModelVersion, ...]]:
        """``await client.models``: what the service has, by name and version."""
        return self._run(self._calls.models())

    async def compress(self, photo: Photo, **settings: Unpack[Settings]) -> Compressed:
        """As :meth:`cameo.Cameo.compress`; ``settings``: model, version, max_bytes, effort, frame, face, likeness."""
        return await self._run(self._calls.compress(photo, settings))

    @overload
    def compress_many(
        self, photos: Iterable[Photo] | AsyncIterable[Photo], *, on_error: Literal["raise"] = ...,
        **settings: Unpack[Settings],
    ) -> AsyncIterator[Compressed]: ...  # fmt: skip

    @overload
    def compress_many(
        self, photos: Iterable[Photo] | AsyncIterable[Photo], *, on_error: Literal["return"],
        **settings: Unpack[Settings],
    ) -> AsyncIterator[Outcome]: ...  # fmt: skip

    def compress_many(
        self, photos: Iterable[Photo] | AsyncIterable[Photo], *, on_error: Literal["raise", "return"] = "raise",
        **settings: Unpack[Settings],
    ) -> AsyncIterator[Outcome]:  # fmt: skip
        """``async for``, as :meth:`cameo.Client.compress_many`; photos may come asynchronously."""
        exchange = compress_many(self._calls, settings, returns_errors=on_error == "return")
        return _Driver(self._http, self._calls.url, self._key, photos).results(exchange)

    async def reconstruct(self, payload: bytes) -> Image.Image:
        """As :meth:`cameo.Cameo.reconstruct`."""
        return await self._run(self._calls.reconstruct(payload))

    async def reconstruct_tokens(
        self, tokens: NDArray[np.int64], *, model: str | None = None, version: int | None = None
    ) -> Image.Image:
        """As :meth:`cameo.Cameo.reconstruct_tokens`."""
        return await self._run(self._calls.reconstruct_tokens(tokens, model, version))

    async def shorten(self, payload: bytes, max_bytes: int) -> bytes:
        """As :meth:`cameo.Cameo.shorten`."""
        return await self._run(self._calls.shorten(payload, max_bytes))

    async def verify(
        self, photo: Photo, reference: "Photo | ReadCard", *, fmr: float = DEFAULT_FMR,
        frame: Literal["auto", "asis"] = "auto", face: Literal["largest", "only"] = "largest",
    ) -> Verified:  # fmt: skip
        """As :meth:`cameo.Cameo.verify`; the service says which issuers are trusted."""
        return await self._run(self._calls.verify(photo, reference, fmr, frame, face))

    async def card(self, face: Photo, claims: "Claims | Mapping[str, Any]", **settings: Unpack[CardSettings]) -> "Card":
        """As :meth:`cameo.Cameo.card`, signed by the service; ``settings``: its other arguments.

        NoSigningKey where the service has no key.
        """
        return await self._run(self._calls.card(face, claims, settings))

    async def read_card(self, card: Photo) -> "ReadCard":
        """As :meth:`cameo.Cameo.read_card`; the service says which issuers are trusted."""
        return await self._run(self._calls.read_card(card))

    async def read_cards(self, card: Photo) -> "list[ReadCard]":
        """As :meth:`cameo.Cameo.read_cards`."""
        return await self._run(self._calls.read_cards(card))

    async def interpolate(self, a: bytes, b: bytes, *, steps: int = STEPS) -> list[Image.Image]:
        """As :meth:`cameo.Cameo.interpolate`."""
        return await self._run(self._calls.interpolate(a, b, steps))

    async def sample(
        self, count: int = COUNT, *, seed: int = 0, model: str | None = None, version: int | None = None
    ) -> list[Image.Image]:
        """As :meth:`cameo.Cameo.sample`."""
        return await self._run(self._calls.sample(count, seed, model, version))

    async def compare(
        self, photo: Photo, *, models: Iterable[str] | None = None, codecs: Iterable[str] | None = None,
        max_bytes: int | Iterable[int] = (), effort: Literal["fast", "good", "best"] | None = None,
        frame: Literal["auto", "asis"] = "auto", sheet: bool = False,
    ) -> Comparison:  # fmt: skip
        """As :meth:`cameo.Cameo.compare`, without pixels. ``sheet``: have the sheet drawn, too, by a second request."""
        return await self._run(self._calls.compare(photo, models, codecs, max_bytes, effort, frame, sheet=sheet))

    async def _run(self, exchange: Exchange[T]) -> T:
        return await _Driver(self._http, self._calls.url, self._key).run(exchange)


class _Driver:
    """Does the steps of one exchange, with await."""

    def __init__(
        self, http: httpx.AsyncClient, url: str, key: str | None, photos: Iterable[Photo] | AsyncIterable[Photo] = ()
    ) -> None:
        self._http, self._url, self._key = http, url, key
        self._photos = aiter(photos if isinstance(photos, AsyncIterable) else _each(photos))
        self._stream: httpx.Response | None = None
        self._lines: AsyncIterator[str] = _each(())

    async def run(self, exchange: Exchange[T]) -> T:
        done = await self._until_result(exchange)
        assert isinstance(done, Done), "only batches emit results"
        value: T = done.value
        return value

    async def results(self, exchange: Exchange[None]) -> AsyncIterator[Outcome]:
        try:
            while isinstance(step := await self._until_result(exchange), Emit):
                yield step.result
        finally:
            exchange.close()
            await self._close()

    async def _until_result(self, exchange: Exchange[Any]) -> Emit | Done:
        step = advance(exchange)
        while not isinstance(step, Emit | Done):
            try:
                reply = await self._perform(step)
            except Exception as error:  # the exchange knows what to do about it
                step = advance(exchange, error=error)
            else:
                step = advance(exchange, reply)
        return step

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Read):
            return await asyncio.to_thread(photo_bytes, step.photo)
        if isinstance(step, Take):
            return await self._take()
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await anext(self._lines, None)

    async def _take(self) -> bytes | OSError | None:
        async for photo in self._photos:
            try:
                return await asyncio.to_thread(photo_bytes, photo)
            except OSError as error:
                return error
        return None

    async def _send(self, step: Send) -> httpx.Response:
        await self._close()
        request = build(self._http, self._url, self._key, step)
        response = await self._http.send(request, stream=step.streamed)
        if step.streamed:
            self._stream, self._lines = response, response.aiter_lines()
            if not response.is_success:
                await response.aread()
        return response

    async def _close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream, self._lines = None, _each(())


async def _each(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
