"""Priors for tests."""

import numpy as np

from cameo.codec import Prior


def random_prior(seed: int, tokens: int, latents: int = 20, units: int = 8, nats: float = 2.0) -> Prior:
    """Weights and biases such that logits of ``nats`` are usual; a random order of ``latents`` latents."""
    random = np.random.default_rng(seed)
    embed = random.integers(-40, 60, (tokens, 3, units))
    output = np.rint(random.normal(0, 8 * nats, (tokens, 3, units)))
    bias = np.rint(random.normal(-500, 1000 * nats, (tokens, 3)))
    return Prior(
        random.integers(0, latents, tokens).astype(np.int32),
        embed.astype(np.int16),
        output.astype(np.int16),
        bias.astype(np.int32),
    )


def fixed_prior() -> Prior:
    """The same for ever, whatever becomes of numpy's random numbers: 100 tokens of 30 latents."""
    t, d, h = np.indices((100, 3, 5))
    return Prior(
        np.arange(100) * 7 % 30,
        (t * 31 + d * 17 + h * 53) % 97 - 40,
        (t * 13 + d * 29 + h * 41) % 17 - 8,
        (t * 211 + d * 1009)[:, :, 0] % 4001 - 2300,
    )
