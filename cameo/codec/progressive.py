"""Progressive coding: a list of tokens, the most important first; any first part of it is a coarser portrait.

Tokens are steps of bit planes. Each belongs to a latent and takes a value of three:

    while all earlier tokens of its latent are 0    0 the latent is still zero, 1 it became positive, 2 negative
    afterwards (a refinement)                       0 or 1: the lower or upper half of what is left

A token is one or two yes-or-no decisions, numbered by what they ask: 0 "is it not zero?", and only then
1 "is it negative?"; a refinement asks 2 "the upper half?". How likely a yes is comes from ``Prior``, which sees all
tokens of the blocks of 32 before the token's own.

A range coder turns decisions into bytes. A stream is a number in [0, 1), most significant byte first, and every
decision narrows the interval in which the number lies; yes is its lower part. A body is the first bytes of a
stream: the bytes that were cut off are unknown, so decoding continues while all numbers that begin with the body
lead to the same decision. Nothing marks the end, and no bit of a body is wasted on it.

    T, t  tokens of the whole list, one of them    K  tokens of a first part    B  blocks of 32 tokens
    H     units of the context                     R  rows: 3 t + value         D  rows of a block: 3 t + decision

All sums are of whole numbers and exact, so bodies and tokens are the same on every machine.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cameo.codec.prior import BLOCK, PROBABILITY_BITS, VALUES, Prior
from cameo.errors import TokenOutOfRange, WrongTokenShape

_REGISTER_BYTES = 4
_ONE = 2**32  # the interval's width at the start
_LEAST_RANGE = 2**24  # below it, a byte is out
_LOW_BYTES = 2**24 - 1
_PART = 40 * BLOCK  # tokens whose decisions are worked out at once
_FINER = 16  # the most bits by which two decisions in a row shift the interval


class Stream:
    """The stream of K <= T tokens, as a list of decisions that :meth:`body` works out as far as it needs them.

    One call of :meth:`body` each; it remembers for :meth:`held` how far the decisions were at every byte.

    Raises WrongTokenShape for more than T tokens, TokenOutOfRange for the first impossible one, TypeError where
    they are not integers.
    """

    def __init__(self, tokens_K: NDArray[np.integer[Any]], prior: Prior) -> None:
        self._refines_K = check(tokens_K, prior)
        self._tokens, self._prior = tokens_K, prior
        self._probabilities: list[int] = []
        self._answers: list[bool] = []
        self._counts: list[NDArray[np.int64]] = []  # of the decisions of each token
        self._shifts: list[tuple[int, int, int]] = []
        self._context_1H = np.zeros((1, prior.rows.shape[1]))  # of the block after the decisions so far

    def body(self, most_bytes: int) -> bytes:
        """The first ``most_bytes`` bytes; all of the stream where it is no longer than that.

        The whole stream is the shortest from which :func:`unpack` reads these tokens and no more. Of a few first
        parts in ten thousand (never of one that ``unpack`` gave, never of all T tokens) no bytes can say that it
        ends there; then a few more tokens than K are read.
        """
        return _encode(self._decisions(), self._following, most_bytes, self._shifts)

    def held(self, body: bytes) -> int:
        """How many of these tokens :func:`unpack` reads from a ``body`` that :meth:`body` gave, or its first bytes.

        It repeats the last steps of ``unpack`` only: before them no decision needed a byte beyond the body.

        With a prior that gives every yes a probability of about one half, a yes is the bit 0 and a no the bit 1. The
        tokens 0, 1, 2, 0, 0, 0 are then the bits 1 01 00 1 1 1 = 0xA7:

        >>> fair = Prior(np.arange(8), *2 * [np.zeros((8, 3, 0), int)], np.zeros((8, 3), int))
        >>> stream = Stream(np.array([0, 1, 2, 0, 0, 0, 1, 0]), fair)
        >>> stream.body(2).hex()
        'a7b4'
        >>> stream.held(bytes.fromhex("a7b4")), stream.held(bytes.fromhex("a7"))
        (8, 5)

        The first byte holds five tokens, not six. The probability is 0.501, not 0.5, so the boundary between yes and
        no of the sixth token lies a little inside the numbers that begin with 0xA7: some of them say yes.
        """
        position = min(max(0, len(body) - _REGISTER_BYTES), len(self._shifts))
        decided, low, width = self._shifts[position - 1] if position else (0, 0, _ONE)
        # Where the number lies within the interval. What was carried into the bytes before is a multiple of _ONE.
        low, high = ((end - low) % _ONE for end in _ends(body[position:]))
        position += _REGISTER_BYTES
        for probability, yes in zip(self._probabilities[decided:], self._answers[decided:], strict=True):
            split = (width >> PROBABILITY_BITS) * probability
            if yes:
                if high >= split:
                    break
                width = split
            else:
                if low < split:
                    break
                low, high, width = low - split, high - split, width - split
            while width < _LEAST_RANGE:
                width <<= 8
                byte = body[position : position + 1]
                low, high = low << 8 | (byte[0] if byte else 0), high << 8 | (byte[0] if byte else 0xFF)
                position += 1
            decided += 1
        return int(np.searchsorted(np.concatenate(self._counts).cumsum(), decided, "right"))

    def _decisions(self) -> Iterator[tuple[int, bool]]:
        """Probability and answer of each decision, kept for :meth:`held`."""
        prior = self._prior
        for start in range(0, len(self._tokens), _PART):
            part = slice(start, start + _PART)
            token_K, refine_K = self._tokens[part], self._refines_K[part]
            h_BH = _contexts(token_K, prior, self._context_1H, start)
            self._context_1H = h_BH[-1:]
            K = len(token_K)
            probability_D = prior.probabilities(h_BH[: -(-K // BLOCK)], start // BLOCK).ravel()
            # A token's first decision and, where the token has one, its second.
            asked_K2 = np.ones((K, 2), np.bool_)
            asked_K2[:, 1] = ~refine_K & (token_K > 0)
            answer_K2 = np.stack([token_K > 0, token_K == VALUES - 1], 1)
            decision_K2 = VALUES * np.arange(K)[:, None] + [0, 1]
            decision_K2[refine_K, 0] += 2
            probabilities, answers = probability_D[decision_K2[asked_K2]].tolist(), answer_K2[asked_K2].tolist()
            self._probabilities += probabilities
            self._answers += answers
            self._counts.append(asked_K2.sum(1))
            yield from zip(probabilities, answers, strict=True)

    def _following(self) -> list[int]:
        """Probabilities of the decisions of the token after these: none, one, or one and that after a yes."""
        K, prior = len(self._tokens), self._prior
        if len(prior) == K:
            return []
        block = K // BLOCK
        probability_T3 = prior.probabilities(self._context_1H, block).reshape(-1, VALUES)
        refines = bool(((prior.latents[:K] == prior.latents[K]) & (self._tokens > 0)).any())
        next_3: list[int] = probability_T3[K % BLOCK].tolist()
        return next_3[2:] if refines else next_3[:2]


def pack(tokens_K: NDArray[np.integer[Any]], prior: Prior, most_bytes: int) -> bytes:
    """:meth:`Stream.body` of a new stream."""
    return Stream(tokens_K, prior).body(most_bytes)


def unpack(body: bytes, prior: Prior) -> NDArray[np.int64]:
    """The tokens that all streams beginning with ``body`` share: K of them, from 0 to T.

    Any bytes are the body of some tokens, so nothing is refused here.
    """
    tokens: list[int] = []
    latents = prior.latents.tolist()
    refines = [False] * len(latents)
    h_1H = np.zeros((1, prior.rows.shape[1]))
    # The lowest and highest place within the interval that a stream can have which begins with these bytes.
    low, high = _ends(body)
    width, position, size = _ONE, _REGISTER_BYTES, len(body)
    for start in range(0, len(latents), BLOCK):
        probabilities = prior.probabilities(h_1H, start // BLOCK)[0].tolist()
        for number, latent in enumerate(latents[start : start + BLOCK]):
            decision = 2 if refines[latent] else 0
            while True:
                split = (width >> PROBABILITY_BITS) * probabilities[VALUES * number + decision]
                yes = high < split
                if yes:
                    width = split
                elif low >= split:
                    low, high, width = low - split, high - split, width - split
                else:
                    return np.array(tokens, np.int64)
                while width < _LEAST_RANGE:
                    width <<= 8
                    if position < size:
                        low, high = low << 8 | body[position], high << 8 | body[position]
                    else:
                        low, high = low << 8, high << 8 | 0xFF
                    position += 1
                if decision or not yes:
                    break
                decision = 1
            if decision == 1:
                refines[latent] = True
                tokens.append(1 + yes)
            else:
                tokens.append(int(yes))
        rows = np.arange(start, len(tokens)) * VALUES + tokens[start:]
        h_1H += prior.rows.take(rows, 0).sum(0)
    return np.array(tokens, np.int64)


def _ends(body: bytes) -> tuple[int, int]:
    """The lowest and the highest number that a stream can begin with which begins with these bytes."""
    first = body[:_REGISTER_BYTES]
    return int.from_bytes(first.ljust(_REGISTER_BYTES, b"\0")), int.from_bytes(first.ljust(_REGISTER_BYTES, b"\xff"))


def check(tokens_K: NDArray[np.integer[Any]], prior: Prior) -> NDArray[np.bool_]:
    """Which tokens refine; raises what :func:`pack` raises where these cannot be the first tokens of a list."""
    if not np.issubdtype(tokens_K.dtype, np.integer):
        raise TypeError(f"Tokens are integers, these are {tokens_K.dtype}.")
    if tokens_K.ndim != 1 or len(tokens_K) > len(prior):
        raise WrongTokenShape(
            f"The tokens have the shape {list(tokens_K.shape)}, the model's are a list of at most {len(prior)}.",
            shape=list(tokens_K.shape),
            most=[len(prior)],
        )
    refines_K = _refinements(tokens_K, prior)
    levels_K = VALUES - refines_K
    outside = np.flatnonzero((tokens_K < 0) | (tokens_K >= levels_K))
    if len(outside):
        at = int(outside[0])
        value, levels = int(tokens_K[at]), int(levels_K[at])
        raise TokenOutOfRange(
            f"The token at [{at}] is {value}, outside 0 to {levels - 1}.", position=[at], value=value, levels=levels
        )
    return refines_K


def _refinements(tokens_K: NDArray[np.integer[Any]], prior: Prior) -> NDArray[np.bool_]:
    """Which tokens refine: those whose latents have a token other than 0 before them."""
    K, T = len(tokens_K), len(prior)
    latents_K = prior.latents[:K]
    began_L = np.full(T, T)
    backwards = np.flatnonzero(tokens_K)[::-1]
    began_L[latents_K[backwards]] = backwards  # of several tokens of a latent the last in this order stays: the first
    refines: NDArray[np.bool_] = began_L[latents_K] < np.arange(K)
    return refines


def _contexts(
    tokens_K: NDArray[np.integer[Any]], prior: Prior, h_1H: NDArray[np.float64], start: int
) -> NDArray[np.float64]:
    """h_BH of every block that has a token of these K, the ``start``-th and on, or the one after them.

    ``h_1H`` is the first.
    """
    K, H = len(tokens_K), prior.rows.shape[1]
    whole = K // BLOCK
    rows = np.arange(start, start + whole * BLOCK) * VALUES + tokens_K[: whole * BLOCK].astype(np.int64)
    sums_BH = prior.rows.take(rows, 0).reshape(whole, BLOCK, H).sum(1)
    h_BH = np.concatenate([h_1H, h_1H + sums_BH.cumsum(0)])
    return h_BH[: len(prior.above_least) - start // BLOCK]


def _encode(
    decisions: Iterator[tuple[int, bool]],
    following: Callable[[], list[int]],
    most_bytes: int,
    shifts: list[tuple[int, int, int]],
) -> bytes:
    """The first bytes of the stream of these decisions, which ends where ``following``, if any, cannot be decided.

    ``shifts`` gets for each byte that is out how many decisions there were, and low end and width of the interval.
    """
    out = bytearray()
    low, width = 0, _ONE  # the interval behind the bytes in ``out``; ``low`` may be over 1 until it is carried
    for decided, (probability, yes) in enumerate(decisions, 1):
        split = (width >> PROBABILITY_BITS) * probability
        if yes:
            width = split
        else:
            low += split
            width -= split
        while width < _LEAST_RANGE:
            if low >= _ONE:
                _carry(out)
                low -= _ONE
            out.append(low >> 24)
            low, width = (low & _LOW_BYTES) << 8, width << 8
            shifts.append((decided, low, width))
            # A carry comes to a byte at most once, and passes through 0xFF alone.
            if len(out) > most_bytes and out[-1] != 0xFF:
                return bytes(out[:most_bytes])
    number, size = _ending(low, width, following())
    if number >> 8 * size:
        _carry(out)
        number -= 1 << 8 * size
    return bytes((out + number.to_bytes(size))[:most_bytes])


def _carry(out: bytearray) -> None:
    at = len(out) - 1
    while out[at] == 0xFF:
        out[at] = 0
        at -= 1
    out[at] += 1


def _ending(low: int, width: int, following: list[int]) -> tuple[int, int]:
    """The fewest bytes that end a stream: a number, which may carry into the byte before, and how many bytes it has.

    ``low`` and ``width`` are the interval of the last decision, 32 bits; ``following`` are the probabilities of the
    decisions of the next token. All numbers that begin with these bytes must lie within the interval, so that the last
    token is read; and on both sides of a following decision, so that the next token is not read.

    >>> number, size = _ending(0x12345678, 0x01000000, following=[])
    >>> f"{number:#x}", size
    ('0x1235', 2)

    The interval is 0x12345678 to 0x13345678. One byte is too few: what begins with 0x12 may lie below it, and with
    0x13 above it. The least number of two bytes is 0x1235. Let now another decision follow, with a probability of one
    half: its yes is the interval below 0x12B45678, and what begins with 0x1235 lies in there. So another token would
    be read. 0x12B4 is on both sides of the boundary:

    >>> number, size = _ending(0x12345678, 0x01000000, following=[0x8000])
    >>> f"{number:#x}", size
    ('0x12b4', 2)
    """
    splits = []
    base = low << _FINER
    part, shift = width, _FINER
    for probability in following:
        while part < _LEAST_RANGE:
            part, shift = part << 8, shift - 8
        part = (part >> PROBABILITY_BITS) * probability
        splits.append(base + (part << shift))
    end = base + (width << _FINER)
    sizes = range((32 + _FINER) // 8)
    for size in sizes:
        bits = 32 + _FINER - 8 * size
        for split in splits:
            number = split >> bits
            if base <= number << bits < split and number + 1 << bits <= end:
                return number, size
    for size in sizes:
        bits = 32 + _FINER - 8 * size
        number = -(-base >> bits)
        if number + 1 << bits <= end:
            return number, size
    raise AssertionError("the interval is at least 2**-8 wide, so two bytes name a part of it")
