"""The codings of payloads, one class each: how the tokens of one model become a payload, and a payload tokens.

:class:`Fixed` gives every token its own bits, so a model has one rate. :class:`Progressive` codes tokens from the most
to the least telling, so any budget holds the first of them. A new coding is a class here and a member of
:class:`cameo.codec.container.Coding`.
"""

import sys
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from cameo.codec import fixed, progressive
from cameo.codec.container import OVERHEAD, Coding, Payload, unwrap, wrap
from cameo.codec.prior import VALUES, Prior
from cameo.errors import QUOTED_CHARACTERS, DamagedPayload, TokenOutOfRange, WrongTokenShape

Integer = TypeVar("Integer", bound=np.integer[Any])


class TokenCoding(ABC):
    """How one model's tokens are coded.

    ``levels`` has the shape of all tokens of a portrait, and at each place the size of the alphabet there: tokens are
    integers in [0, levels).
    """

    number: ClassVar[Coding]
    """What a payload's first byte says of it."""
    several_rates: ClassVar[bool]
    """Whether a payload may hold the first tokens alone, so that there is one for every budget."""

    def __init__(self, levels: NDArray[np.int64]) -> None:
        self.levels = levels

    @property
    def bits(self) -> int:
        """Bits of all tokens, where each takes ceil(log2(its levels))."""
        return fixed.body_bits(self.levels)

    @property
    @abstractmethod
    def payload_bytes(self) -> int | None:
        """Bytes of every payload, frame included; None where payloads have any length."""

    @abstractmethod
    def pack(
        self, tokens: NDArray[Integer], tag: bytes, max_bytes: int | None = None
    ) -> tuple[bytes, NDArray[Integer]]:
        """The payload of ``tokens`` under the two-byte ``tag``, and those of them that it holds.

        It has at most ``max_bytes`` bytes, frame included. Raises WrongTokenShape or TokenOutOfRange, and ValueError
        where no payload is so short.
        """

    @abstractmethod
    def _unpack(self, body: bytes) -> NDArray[np.int64]: ...

    def unpack(self, payload: Payload) -> NDArray[np.int64]:
        """The tokens that a payload holds: the inverse of :meth:`pack`.

        Raises TruncatedPayload, OverlongPayload or DamagedPayload, the last also where the coding is another one.
        """
        if payload.coding is not self.number:
            raise DamagedPayload(
                f"The payload's coding is {payload.coding.name.lower()}, its model's is {self.number.name.lower()}.",
                coding=int(payload.coding),
                expected=int(self.number),
            )
        return self._unpack(payload.body)

    def shorten(self, payload: Payload, max_bytes: int) -> bytes:
        """:func:`shorten`, which only a coding with several rates can do."""
        return shorten(payload, max_bytes)

    def check(self, nested: Any) -> NDArray[np.int64]:
        """Tokens that came as nested lists -> an array. Raises WrongTokenShape or TokenOutOfRange."""
        expected = list(self.levels.shape)
        # As objects: another dtype would turn true into 1 and round what does not fit 64 bits.
        tokens = np.asarray(nested, object)
        found = list(tokens.shape)
        if found != expected and not (self.several_rates and len(found) == 1 and found <= expected):
            most = " at most" if self.several_rates else ""
            raise WrongTokenShape(
                f"the tokens have the shape {found}, expected {expected}{most}", shape=found, expected=expected
            )
        if not all(type(token) is int for token in tokens.flat):
            raise TokenOutOfRange("every token must be a whole number", expected=expected)
        levels = self.levels[: len(tokens)]
        wrong = np.argwhere((tokens < 0) | (tokens >= levels))
        if len(wrong):
            at = wrong[0].tolist()
            value, limit = int(tokens[tuple(at)]), int(levels[tuple(at)]) - 1
            raise TokenOutOfRange(
                f"the token at {at} is {str(value)[:QUOTED_CHARACTERS]}; it must lie in 0 to {limit}",
                position=at, value=value, limit=limit,
            )  # fmt: skip
        return tokens.astype(np.int64)


class Fixed(TokenCoding):
    """Every token takes ceil(log2(levels)) bits, see :mod:`cameo.codec.fixed`: all payloads have one length."""

    number = Coding.FIXED
    several_rates = False

    @property
    def payload_bytes(self) -> int:
        return OVERHEAD + fixed.body_bytes(self.levels)

    def pack(
        self, tokens: NDArray[Integer], tag: bytes, max_bytes: int | None = None
    ) -> tuple[bytes, NDArray[Integer]]:
        data = wrap(Payload(self.number, tag, fixed.pack(tokens, self.levels)))
        if max_bytes is not None and len(data) > max_bytes:
            raise ValueError(f"These payloads have {len(data)} bytes, which is more than {max_bytes}.")
        return data, tokens

    def _unpack(self, body: bytes) -> NDArray[np.int64]:
        return fixed.unpack(body, self.levels)


class Progressive(TokenCoding):
    """A range coder with an integer prior, see :mod:`cameo.codec.progressive`.

    A payload has ``max_bytes`` bytes unless its tokens take less, or ``wrap`` had to leave one out.
    """

    number = Coding.PROGRESSIVE
    several_rates = True
    payload_bytes = None

    def __init__(self, prior: Prior) -> None:
        super().__init__(np.full(len(prior), VALUES, np.int64))
        self.prior = prior

    def pack(
        self, tokens: NDArray[Integer], tag: bytes, max_bytes: int | None = None
    ) -> tuple[bytes, NDArray[Integer]]:
        stream = progressive.Stream(tokens, self.prior)
        body = stream.body(sys.maxsize if max_bytes is None else _body_bytes(max_bytes))
        data = wrap(Payload(self.number, tag, body))
        return data, tokens[: stream.held(unwrap(data).body)]

    def _unpack(self, body: bytes) -> NDArray[np.int64]:
        return progressive.unpack(body, self.prior)

    def check(self, nested: Any) -> NDArray[np.int64]:
        tokens = super().check(nested)
        progressive.check(tokens, self.prior)
        return tokens


def shorten(payload: Payload, max_bytes: int) -> bytes:
    """A progressive payload cut to ``max_bytes`` bytes, frame included, or as it is where it has no more.

    No model is needed: the first bytes are the payload of the first tokens. Raises ValueError for another coding, or
    for less than OVERHEAD + 1 bytes.
    """
    if payload.coding is not Coding.PROGRESSIVE:
        raise ValueError("Only progressive payloads can be shortened.")
    return wrap(replace(payload, body=payload.body[: _body_bytes(max_bytes)]))


def _body_bytes(max_bytes: int) -> int:
    if max_bytes <= OVERHEAD:
        raise ValueError(f"A progressive payload has at least {OVERHEAD + 1} bytes, not {max_bytes}.")
    return max_bytes - OVERHEAD
