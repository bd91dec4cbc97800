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
    from cameo.codec import Coding, Payload, progressive

from cameo.errors import PayloadError
from tests.unit.codec.priors import random_prior

LISTS = [codec.Progressive(random_prior(seed, n, 1 + n // 4, nats=seed)) for seed, n in enumerate((1, 40, 250))]
FIXED = [codec.Fixed(levels) for levels in (np.array([1000, 3, 1, 2**32]), np.full(100, 2), np.full((8, 8), 1000))]


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
    for fixed in FIXED:
        with contextlib.suppress(PayloadError):
            tokens = fixed.unpack(payload)
            assert fixed.pack(tokens, payload.tag)[0] == codec.wrap(payload)
            assert fixed.payload_bytes == codec.OVERHEAD + len(payload.body)
    for coding in LISTS:
        with contextlib.suppress(PayloadError):
            listed(payload, coding.unpack(payload), coding)


def listed(payload: Payload, tokens: NDArray[np.int64], coding: codec.Progressive) -> None:
    size = len(payload.body)
    stream = progressive.pack(tokens, coding.prior, size + 1)
    assert len(stream) <= size
    assert np.array_equal(progressive.unpack(stream, coding.prior), tokens)
    for most in {codec.OVERHEAD + 1, codec.OVERHEAD + 1 + size // 2}:
        short = codec.unwrap(coding.shorten(payload, most))
        assert len(short.body) <= most - codec.OVERHEAD
        first = coding.unpack(short)
        assert np.array_equal(first, tokens[: len(first)])
    if len(tokens):
        data, held = coding.pack(tokens, payload.tag, codec.OVERHEAD + max(1, size // 2))
        first = coding.unpack(codec.unwrap(data))
        assert np.array_equal(first, tokens[: len(first)])
        assert np.array_equal(first, held)


if __name__ == "__main__":
    atheris.Setup(sys.argv, unwrapped)
    atheris.Fuzz()
