"""Tokens to payload and back. numpy only; nothing here knows models, files or HTTP.

A model's coding, :class:`Fixed` or :class:`Progressive`, packs and unpacks. Reading takes two steps, since a payload's
tag says which model's coding reads the body: :func:`unwrap`, then ``coding.unpack``.
"""

from cameo.codec.coding import Fixed, Progressive, TokenCoding, shorten
from cameo.codec.container import OVERHEAD, Coding, Payload, crc8, unwrap, wrap
from cameo.codec.prior import Prior

__all__ = [
    "OVERHEAD",
    "Coding",
    "Fixed",
    "Payload",
    "Prior",
    "Progressive",
    "TokenCoding",
    "crc8",
    "shorten",
    "unwrap",
    "wrap",
]
