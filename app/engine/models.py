"""A model of the store as the service uses it: portraits to payloads and back, in numpy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from app import codec
from app.codec.fixed import body_bytes
from app.errors import TokenOutOfRange, WrongTokenShape
from app.nn import Model, build
from app.store.reader import StoredVersion


class Coder:
    """One loaded version. Safe to use from several threads: nothing changes after construction.

    Portraits are coded one at a time with one thread each, so a portrait's payload does not depend on what
    else the service is doing.
    """

    def __init__(self, stored: StoredVersion, device: torch.device) -> None:
        self.stored = stored
        self.manifest = stored.manifest
        self.size: int = stored.manifest.portrait
        self._device = device
        self._model = load_model(stored, device)
        self.levels = self._model.levels
        self.payload_bytes = codec.OVERHEAD + body_bytes(self.levels)
        if self.payload_bytes not in stored.manifest.rates:
            raise ValueError(f"payloads have {self.payload_bytes} bytes, the manifest says {stored.manifest.rates}")
        self.reconstruct(self.tokens(np.full((self.size, self.size, 3), 128, np.uint8)))  # warm up, prove it runs

    def tokens(self, portrait_HWC: NDArray[np.uint8]) -> NDArray[np.int64]:
        """A portrait of ``size`` pixels -> its tokens, in the shape of the manifest."""
        pixels = torch.from_numpy(portrait_HWC).permute(2, 0, 1)[None].to(self._device)
        tokens: NDArray[np.int64] = self._model.encode(pixels)[0].numpy(force=True)
        return tokens

    def reconstruct(self, tokens: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Tokens -> a portrait H W 3."""
        pixels = self._model.decode(torch.from_numpy(tokens)[None].to(self._device))[0]
        portrait: NDArray[np.uint8] = pixels.permute(1, 2, 0).contiguous().numpy(force=True)
        return portrait

    def pack(self, tokens: NDArray[np.int64]) -> bytes:
        return codec.encode(tokens, self.levels, self.stored.tag)

    def unpack(self, payload: codec.Payload) -> NDArray[np.int64]:
        """PayloadError where the body is not one of this version's."""
        return codec.decode_body(payload, self.levels)

    def check(self, nested: Any) -> NDArray[np.int64]:
        """Tokens that came as nested lists -> an array; WrongTokenShape or TokenOutOfRange."""
        expected = list(self.levels.shape)
        # As objects: another dtype would turn true into 1 and round what does not fit 64 bits.
        tokens = np.asarray(nested, object)
        found = list(tokens.shape)
        if found != expected:
            raise WrongTokenShape(
                f"the tokens have the shape {found}, expected {expected}", shape=found, expected=expected
            )
        if not all(type(token) is int for token in tokens.flat):
            raise TokenOutOfRange("every token must be a whole number", expected=expected)
        wrong = np.argwhere((tokens < 0) | (tokens >= self.levels))
        if len(wrong):
            at = wrong[0].tolist()
            value, limit = int(tokens[tuple(at)]), int(self.levels[tuple(at)]) - 1
            raise TokenOutOfRange(
                f"the token at {at} is {value}; it must lie in 0 to {limit}", position=at, value=value, limit=limit
            )
        return tokens.astype(np.int64)


def load_model(stored: StoredVersion, device: torch.device) -> Model:
    """The network of a verified version, in float32 and evaluation mode."""
    model = build(stored.manifest.model)
    model.load_state_dict(load_file(stored.weights))
    return model.eval().requires_grad_(False).to(device)
