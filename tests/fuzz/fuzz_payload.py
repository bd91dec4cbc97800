"""Any bytes as a payload, led through the code by its coverage (libFuzzer by way of atheris, which no test needs):

    pip install atheris
    python -m tests.fuzz.fuzz_payload -max_total_time=180 -max_len=400 -len_control=0

It ends with a traceback, and the bytes in a file, where anything but a PayloadError is raised or an assertion fails.
"""

import contextlib
import sys

import numpy as np
from numpy.typing import NDArray

try:
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:
    sys.exit("pip install atheris")

with atheris.instrument_imports(include=["cameo.codec"]):
    from cameo import codec
    from cameo.codec import Coding, Payload, fixed, progressive

from cameo.errors import PayloadError
from tests.unit.codec.priors import random_prior

PRIORS = [random_prior(seed, size, 1 + size // 4, nats=seed) for seed, size in enumerate((1, 40, 250))]
LEVELS = [np.array([1000, 3, 1, 2**32]), np.full(100, 2), np.full((8, 8), 1000)]


def unwrapped(data: bytes) -> None:
    """The bytes as they are, which seldom get past the checksum, and with their checksum put right."""
    for candidate in (data, sealed(data)):
        try:
            payload = codec.unwrap(candidate)
        except PayloadError:
            continue
        # A payload, from wherever, is what wrap makes of it, or a byte or more longer.
        assert candidate[:-1].startswith(codec.wrap(payload)[1:-1], 1)
        decoded(payload)


def sealed(data: bytes) -> bytes:
    """With the first byte and the checksum of a payload."""
    coding = Coding(data[0] & 1) if data else Coding.FIXED
    body = data[3:] or b"\0"
    return codec.wrap(Payload(coding, data[1:3].ljust(2), body))


def decoded(payload: Payload) -> None:
    for levels in LEVELS:
        with contextlib.suppress(PayloadError):
            tokens = codec.decode_body(payload, levels)
            assert codec.encode(tokens, levels, payload.tag) == codec.wrap(payload)
            assert fixed.body_bytes(levels) == len(payload.body)
    for prior in PRIORS:
        with contextlib.suppress(PayloadError):
            listed(payload, codec.decode_body(payload, prior), prior)


def listed(payload: Payload, tokens: NDArray[np.int64], prior: codec.Prior) -> None:
    size = len(payload.body)
    stream = progressive.pack(tokens, prior, size + 1)
    assert len(stream) <= size
    assert np.array_equal(progressive.unpack(stream, prior), tokens)
    for most in {codec.OVERHEAD + 1, codec.OVERHEAD + 1 + size // 2}:
        short = codec.unwrap(codec.shorten(payload, most))
        assert len(short.body) <= most - codec.OVERHEAD
        first = codec.decode_body(short, prior)
        assert np.array_equal(first, tokens[: len(first)])
    if len(tokens):
        budget = codec.OVERHEAD + max(1, size // 2)
        first = codec.decode_body(codec.unwrap(codec.encode_progressive(tokens, prior, payload.tag, budget)), prior)
        assert np.array_equal(first, tokens[: len(first)])


if __name__ == "__main__":
    atheris.Setup(sys.argv, unwrapped)
    atheris.Fuzz()
