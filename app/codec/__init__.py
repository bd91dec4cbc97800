"""Tokens to payload and back. numpy only; nothing here knows models, files or HTTP.

``encode`` makes a payload. Reading one takes two steps, since its tag says which model's levels decode the
body: ``unwrap``, then ``decode_body``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.codec import fixed
from app.codec.container import OVERHEAD, Coding, Payload, crc8, unwrap, wrap

__all__ = ["OVERHEAD", "Coding", "Payload", "crc8", "decode_body", "encode", "unwrap", "wrap"]


def encode(tokens: NDArray[np.integer[Any]], levels: NDArray[np.integer[Any]], tag: bytes) -> bytes:
    """The payload of ``tokens``, each in [0, levels), under the two-byte ``tag``.

    Raises WrongTokenShape or TokenOutOfRange.
    """
    return wrap(Payload(Coding.FIXED, tag, fixed.pack(tokens, levels)))


def decode_body(payload: Payload, levels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The tokens of a payload, in the shape of ``levels``.

    Raises TruncatedPayload, OverlongPayload or DamagedPayload.
    """
    return fixed.unpack(payload.body, levels)
