"""Fixed-width coding: a token takes ceil(log2(levels)) bits, whatever its value.

``levels`` describes the tokens of a model: an integer array of the tokens' shape with the alphabet size at
each position, from 1 (the token is always 0 and takes no bits) to 2**32. Tokens follow each other in C
order, most significant bit first, without gaps; zero bits fill up the last byte. So each token array has
exactly one body.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cameo.errors import DamagedPayload, OverlongPayload, TokenOutOfRange, TruncatedPayload, WrongTokenShape

MAX_LEVELS = 2**32


def body_bits(levels: NDArray[np.integer[Any]]) -> int:
    """Bits that the tokens take, before the last byte is filled up."""
    return int(_widths(levels).sum())


def body_bytes(levels: NDArray[np.integer[Any]]) -> int:
    """Bytes of every body of these levels."""
    return -(-body_bits(levels) // 8)


def pack(tokens: NDArray[np.integer[Any]], levels: NDArray[np.integer[Any]]) -> bytes:
    """Code tokens, each in [0, levels), as ``body_bytes(levels)`` bytes.

    Raises WrongTokenShape, or TokenOutOfRange for the first token outside its alphabet; TypeError if the
    tokens are not integers.
    """
    if not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(f"Tokens are integers, these are {tokens.dtype}.")
    if tokens.shape != levels.shape:
        raise WrongTokenShape(
            f"The tokens have the shape {list(tokens.shape)}, the model's have {list(levels.shape)}.",
            shape=list(tokens.shape),
            expected=list(levels.shape),
        )
    widths = _widths(levels)
    outside = (tokens < 0) | (tokens >= levels)
    if outside.any():
        position, value, size = _first(outside, tokens, levels)
        raise TokenOutOfRange(
            f"The token at {position} is {value}, outside 0 to {size - 1}.",
            position=position,
            value=value,
            levels=size,
        )
    places, used = _bit_matrix(widths)
    bits = (tokens.astype(np.int64).reshape(-1, 1) >> places) & 1
    return np.packbits(bits[used].astype(np.uint8)).tobytes()


def unpack(body: bytes, levels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Decode the tokens, in the shape of ``levels``: the inverse of :func:`pack`.

    Raises TruncatedPayload or OverlongPayload for a body of the wrong length, and DamagedPayload for one
    that no tokens have: filled up with other than zeros, or with a token outside its alphabet.
    """
    widths = _widths(levels)
    size = int(widths.sum())
    expected = -(-size // 8)
    if len(body) != expected:
        error = TruncatedPayload if len(body) < expected else OverlongPayload
        raise error(
            f"The payload's body has {len(body)} bytes, the model's tokens take {expected}.",
            body_bytes=len(body),
            expected=expected,
        )
    bits = np.unpackbits(np.frombuffer(body, np.uint8))
    if bits[size:].any():
        raise DamagedPayload(f"The last {len(bits) - size} bits of the payload's body are not all zero.")
    places, used = _bit_matrix(widths)
    matrix = np.zeros(used.shape, np.int64)
    matrix[used] = bits[:size]
    tokens: NDArray[np.int64] = (matrix << places).sum(axis=1).reshape(levels.shape)
    outside = tokens >= levels
    if outside.any():
        position, value, size = _first(outside, tokens, levels)
        raise DamagedPayload(
            f"The payload's body holds the token {value} at {position}, outside 0 to {size - 1}.",
            position=position,
            value=value,
            levels=size,
        )
    return tokens


def _widths(levels: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Bits of each token, flat: the bit length of its highest value."""
    if levels.size and not 1 <= levels.min() <= levels.max() <= MAX_LEVELS:
        raise ValueError(f"Levels range over {levels.min()} to {levels.max()}, outside 1 to {MAX_LEVELS}.")
    # Exact: a float64 holds every integer up to 2**53, and its exponent is the bit length.
    return np.frexp((levels.reshape(-1) - 1).astype(np.float64))[1]


def _bit_matrix(widths: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The place value (a shift) of each column, and which cells of (token, column) carry a bit."""
    places = np.arange(int(widths.max(initial=0)) - 1, -1, -1, dtype=np.int64)
    return places, places < widths[:, None]


def _first(
    outside: NDArray[np.bool_], tokens: NDArray[np.integer[Any]], levels: NDArray[np.integer[Any]]
) -> tuple[list[int], int, int]:
    position = tuple(np.argwhere(outside)[0].tolist())
    return list(position), int(tokens[position]), int(levels[position])
