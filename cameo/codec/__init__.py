"""Tokens to payload and back. numpy only; nothing here knows models, files or HTTP.

``encode`` and ``encode_progressive`` make a payload, ``shorten`` cuts a progressive one. Reading one takes two
steps, since its tag says which model's levels or prior decode the body: ``unwrap``, then ``decode_body``.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cameo.codec import fixed, progressive
from cameo.codec.container import OVERHEAD, Coding, Payload, crc8, unwrap, wrap
from cameo.codec.prior import Prior
from cameo.errors import DamagedPayload

__all__ = [
    "OVERHEAD",
    "Coding",
    "Payload",
    "Prior",
    "crc8",
    "decode_body",
    "encode",
    "encode_first",
    "encode_progressive",
    "shorten",
    "unwrap",
    "wrap",
]


def encode(tokens: NDArray[np.integer[Any]], levels: NDArray[np.integer[Any]], tag: bytes) -> bytes:
    """The payload of ``tokens``, each in [0, levels), under the two-byte ``tag``.

    Raises WrongTokenShape or TokenOutOfRange.
    """
    return wrap(Payload(Coding.FIXED, tag, fixed.pack(tokens, levels)))


def encode_progressive(tokens_K: NDArray[np.integer[Any]], prior: Prior, tag: bytes, max_bytes: int) -> bytes:
    """The payload of as many of ``tokens_K`` as go into ``max_bytes`` bytes, frame included.

    It has ``max_bytes`` bytes unless the tokens take less, or ``wrap`` had to leave one out.

    Raises WrongTokenShape or TokenOutOfRange, and ValueError for less than OVERHEAD + 1 bytes or without tokens.
    """
    return encode_first(tokens_K, prior, tag, max_bytes)[0]


def encode_first(tokens_K: NDArray[np.integer[Any]], prior: Prior, tag: bytes, max_bytes: int) -> tuple[bytes, int]:
    """:func:`encode_progressive`, and how many tokens went in."""
    stream = progressive.Stream(tokens_K, prior)
    data = wrap(Payload(Coding.PROGRESSIVE, tag, stream.body(_body_bytes(max_bytes))))
    return data, stream.held(unwrap(data).body)


def shorten(payload: Payload, max_bytes: int) -> bytes:
    """A progressive payload cut to ``max_bytes`` bytes, frame included, or as it is where it has no more.

    Raises ValueError for another coding, or for less than OVERHEAD + 1 bytes.
    """
    if payload.coding is not Coding.PROGRESSIVE:
        raise ValueError("Only progressive payloads can be shortened.")
    return wrap(replace(payload, body=payload.body[: _body_bytes(max_bytes)]))


def decode_body(payload: Payload, levels: NDArray[np.integer[Any]] | Prior) -> NDArray[np.int64]:
    """The tokens of a payload: by levels in their shape, by a prior a list of up to T.

    Raises TruncatedPayload, OverlongPayload or DamagedPayload, the last also where the coding is not the model's.
    """
    coding = Coding.PROGRESSIVE if isinstance(levels, Prior) else Coding.FIXED
    if payload.coding is not coding:
        raise DamagedPayload(
            f"The payload's coding is {payload.coding.name.lower()}, its model's is {coding.name.lower()}.",
            coding=int(payload.coding),
            expected=int(coding),
        )
    if isinstance(levels, Prior):
        return progressive.unpack(payload.body, levels)
    return fixed.unpack(payload.body, levels)


def _body_bytes(max_bytes: int) -> int:
    if max_bytes <= OVERHEAD:
        raise ValueError(f"A progressive payload has at least {OVERHEAD + 1} bytes, not {max_bytes}.")
    return max_bytes - OVERHEAD
