"""Many random streams there and back. A few hundred take a second; for the proof, by hand:

CAMEO_TEST_STREAMS=100000 python -m pytest tests/fuzz/test_streams.py
"""

import os

import numpy as np

from cameo.codec.progressive import pack, unpack
from tests.unit.codec.priors import random_prior

STREAMS = int(os.environ.get("CAMEO_TEST_STREAMS", "300"))
STREAMS_OF_A_PRIOR = 20


def test_streams_there_and_back() -> None:
    """Tokens are drawn from the prior itself, which is to decode random bytes; so every budget has its prefix."""
    random = np.random.default_rng(20)
    for stream_number in range(STREAMS):
        if stream_number % STREAMS_OF_A_PRIOR == 0:
            size = int(2400 ** random.random())
            units, nats = int(random.integers(1, 33)), 5 * random.random()
            prior = random_prior(stream_number, size, 1 + size // int(random.integers(1, 5)), units, nats)
        body = random.bytes(int(random.integers(0, 4 + size // 3)))
        if stream_number % 2:  # runs that carries pass through
            body = body.translate(bytes(0xFF if byte & 1 else 0x00 for byte in range(256)))
        tokens = unpack(body, prior)
        stream = pack(tokens, prior, len(body))
        assert np.array_equal(unpack(stream, prior), tokens), (stream_number, body.hex())
        cut = int(random.integers(0, len(stream) + 1))
        assert pack(tokens, prior, cut) == stream[:cut], (stream_number, body.hex(), cut)
        first = unpack(stream[:cut], prior)
        assert np.array_equal(first, tokens[: len(first)]), (stream_number, body.hex(), cut)
