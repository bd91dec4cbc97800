"""A model of the store as the service uses it: portraits to payloads and back, in numpy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from app import codec
from app.codec import progressive
from app.errors import BudgetTooSmall, TokenOutOfRange, WrongTokenShape
from app.nn import Model, build
from app.nn.progressive import Progressive
from app.store.reader import StoredVersion


class Coder:
    """One loaded version. Safe to use from several threads: nothing changes after construction.

    Portraits are coded one at a time with one thread each, so a portrait's payload does not depend on what
    else the service is doing. ``prior`` is None for a model with one rate; with a prior, the first tokens of a
    portrait stand for a coarser face, and a payload holds as many as fit.
    """

    def __init__(self, stored: StoredVersion, device: torch.device) -> None:
        self.stored = stored
        self.manifest = stored.manifest
        self.size: int = stored.manifest.portrait
        self._device = device
        self._model = load_model(stored, device)
        self.levels = self._model.levels
        self.prior = codec.Prior(**self._model.prior) if isinstance(self._model, Progressive) else None
        self._prove()

    def _prove(self) -> None:
        """Warm up, and see a portrait through every step; ValueError where the manifest says another size."""
        grey = np.full((self.size, self.size, 3), 128, np.uint8)
        payload = self.pack(self.tokens(grey), self.manifest.rates[0])
        if self.prior is None and self.manifest.rates != (len(payload),):
            raise ValueError(f"payloads have {len(payload)} bytes, the manifest says {self.manifest.rates}")
        self.reconstruct(self.unpack(codec.unwrap(payload)))

    def tokens(self, portrait_HWC: NDArray[np.uint8]) -> NDArray[np.int64]:
        """A portrait of ``size`` pixels -> all its tokens, in the shape of the manifest."""
        pixels = torch.from_numpy(portrait_HWC).permute(2, 0, 1)[None].to(self._device)
        tokens: NDArray[np.int64] = self._model.encode(pixels)[0].numpy(force=True)
        return tokens

    def reconstruct(self, tokens: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Tokens -> a portrait H W 3. With a prior, the first few tokens are enough."""
        pixels = self._model.decode(torch.from_numpy(tokens)[None].to(self._device))[0]
        portrait: NDArray[np.uint8] = pixels.permute(1, 2, 0).contiguous().numpy(force=True)
        return portrait

    def budget(self, max_bytes: int | None) -> int:
        """The most bytes of a payload where a request allows ``max_bytes``, or does not say.

        BudgetTooSmall below the least rate.
        """
        rates = self.manifest.rates
        if max_bytes is None:
            return self.manifest.default_rate or rates[-1]
        if max_bytes < rates[0]:
            raise BudgetTooSmall(
                f"payloads of {self.manifest.name} take {rates[0]} bytes at least, {max_bytes} are allowed",
                max_bytes=max_bytes, least=rates[0],
            )  # fmt: skip
        return min(max_bytes, rates[-1])

    def pack(self, tokens: NDArray[np.int64], max_bytes: int | None = None) -> bytes:
        """The payload of a portrait's tokens, or of as many as fit into the budget."""
        budget = self.budget(max_bytes)
        if self.prior is None:
            return codec.encode(tokens, self.levels, self.stored.tag)
        return codec.encode_progressive(tokens, self.prior, self.stored.tag, budget)

    def unpack(self, payload: codec.Payload) -> NDArray[np.int64]:
        """The tokens that a payload holds; PayloadError where the body is not one of this version's."""
        return codec.decode_body(payload, self.levels if self.prior is None else self.prior)

    def shorten(self, payload: codec.Payload, max_bytes: int) -> bytes:
        """The payload that :meth:`pack` makes of the same portrait for this budget. Only with a prior."""
        return codec.shorten(payload, self.budget(max_bytes))

    def check(self, nested: Any) -> NDArray[np.int64]:
        """Tokens that came as nested lists -> an array; WrongTokenShape or TokenOutOfRange."""
        expected = list(self.levels.shape)
        # As objects: another dtype would turn true into 1 and round what does not fit 64 bits.
        tokens = np.asarray(nested, object)
        found = list(tokens.shape)
        few = self.prior is not None and len(found) == 1 and found <= expected
        if found != expected and not few:
            most = "" if self.prior is None else " at most"
            raise WrongTokenShape(
                f"the tokens have the shape {found}, expected {expected}{most}", shape=found, expected=expected
            )
        if not all(type(token) is int for token in tokens.flat):
            raise TokenOutOfRange("every token must be a whole number", expected=expected)
        levels = self.levels[: len(tokens)]
        wrong = np.argwhere((tokens < 0) | (tokens >= levels))
        if len(wrong):
            at = wrong[0].tolist()
            value, limit = int(tokens[tuple(at)]), int(levels[tuple(at)]) - 1
            raise TokenOutOfRange(
                f"the token at {at} is {value}; it must lie in 0 to {limit}", position=at, value=value, limit=limit
            )
        checked = tokens.astype(np.int64)
        if self.prior is not None:
            progressive.check(checked, self.prior)
        return checked


def load_model(stored: StoredVersion, device: torch.device) -> Model:
    """The network of a verified version, in float32 and evaluation mode."""
    model = build(stored.manifest.model)
    model.load_state_dict(load_file(stored.weights))
    return model.eval().requires_grad_(False).to(device)
