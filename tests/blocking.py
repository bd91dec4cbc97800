"""``cameo.AsyncClient`` for tests that are written for ``cameo.Client``: the same tests for both."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Self, TypeVar

import cameo

T = TypeVar("T")


class Blocking:
    """Every call of an AsyncClient, waited for."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = self._wait(self._open(*arguments, **options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._wait(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if name == "compress_many":
            return lambda *arguments, **options: self._each(value(*arguments, **options))
        if inspect.iscoroutine(value):
            return self._wait(value)
        return lambda *arguments, **options: self._wait(value(*arguments, **options))

    @staticmethod
    async def _open(*arguments: Any, **options: Any) -> cameo.AsyncClient:
        return cameo.AsyncClient(*arguments, **options)

    def _each(self, results: AsyncIterator[T]) -> Iterator[T]:
        end: Any = object()

        async def following() -> T:
            return await anext(results, end)

        while (result := self._wait(following())) is not end:
            yield result

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


CLIENTS = (cameo.Client, Blocking)
