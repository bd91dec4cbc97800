"""A model of the store as the service uses it: portraits to tokens and back, in numpy, several at a time."""

import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from app import codec
from app.codec import progressive
from app.engine.jobs import Lane
from app.engine.runtime import MOST, runtime, stack
from app.errors import BudgetTooSmall, TokenOutOfRange, WrongTokenShape
from app.nn import Model, build
from app.nn.blocks import Encoder
from app.nn.progressive import Progressive
from app.nn.recogniser import Recogniser
from app.nn.search import ROUNDS, Search, improve
from app.store.reader import StoredVersion


class Coder:
    """One loaded version. Safe to use from several threads: nothing changes after construction.

    A portrait's tokens do not depend on what they are worked out together with, nor does a face on its neighbours,
    see :mod:`app.engine.runtime`. ``prior`` is None for a model with one rate; with a prior, the first tokens of a
    portrait stand for a coarser face, and a payload holds as many as fit.

    ``encoding`` and ``decoding`` are for :mod:`app.engine.scheduler`; they and the methods give the same. ``searching``
    takes what :meth:`search` gives, for a round of it.
    """

    def __init__(self, stored: StoredVersion, device: torch.device, backend: str = "auto") -> None:
        self.stored = stored
        self.manifest = stored.manifest
        self.size: int = stored.manifest.portrait
        self._model = model = load_model(stored)
        self._there = model if device.type == "cpu" else deepcopy(model).to(device)
        self._runtime = runtime(self._there, device, backend)
        self.levels = model.levels
        self.prior = codec.Prior(**model.prior) if isinstance(model, Progressive) else None
        labels = self.manifest.name, str(self.manifest.version)
        self.encoding = Lane((*labels, "encode"), _weak(self.encode), self._runtime.encoder.most)
        self.decoding = Lane((*labels, "decode"), _weak(self.decode), self._runtime.decoder.most)
        self._rounds = 1 if device.type == "cpu" else MOST  # searches that are one batch
        self.searching = Lane((*labels, "search"), _weak(self._improve), self._rounds, patient=True)
        self._prove()

    def _prove(self) -> None:
        """Warm up, and see a portrait through every step; ValueError where the manifest says another size."""
        grey = np.full((self.size, self.size, 3), 128, np.uint8)
        payload = self.pack(self.tokens(grey), self.manifest.rates[0])
        if self.prior is None and self.manifest.rates != (len(payload),):
            raise ValueError(f"payloads have {len(payload)} bytes, the manifest says {self.manifest.rates}")
        self.encoding.warm(grey)
        self.decoding.warm(self.unpack(codec.unwrap(payload)))

    @torch.inference_mode()
    def encode(self, portraits: list[NDArray[np.uint8]]) -> list[NDArray[np.int64]]:
        """Portraits H W 3 of ``size`` pixels -> all tokens of each, in the shape of the manifest."""
        pixels_BCHW = np.ascontiguousarray(np.stack(portraits).transpose(0, 3, 1, 2))
        z_BL = torch.from_numpy(self._runtime.encoder.run(pixels_BCHW))
        together = 1 if self._model.alone else len(portraits)
        return [idx.numpy() for rows_BL in z_BL.split(together) for idx in self._model.quantise(rows_BL)]

    @torch.inference_mode()
    def decode(self, tokens: list[NDArray[np.int64]]) -> list[NDArray[np.uint8]]:
        """Tokens -> portraits H W 3. With a prior, the first few tokens of each are enough."""
        rows = [tuple(x.numpy() for x in self._model.dequantise(torch.from_numpy(each)[None])) for each in tokens]
        pixels_BHWC = self._runtime.decoder.run(*stack(rows)).transpose(0, 2, 3, 1)
        return list(np.ascontiguousarray(pixels_BHWC))

    def search(
        self, recogniser: Recogniser, portrait_HWC: NDArray[np.uint8], max_bytes: int | None, effort: str
    ) -> Search:
        """A search for better tokens of a portrait, for a payload of this budget. Only with a prior."""
        assert isinstance(self._there, Progressive)
        pixels_CHW = torch.from_numpy(portrait_HWC.transpose(2, 0, 1).copy())

        def held(idx_T: Tensor) -> int:
            return len(self.pack_first(idx_T.numpy(), max_bytes)[1])

        return Search(self._there, recogniser, pixels_CHW, held, ROUNDS[effort])

    def _improve(self, searches: list[Search]) -> list[Search]:
        improve(searches, self._rounds)
        return searches

    def tokens(self, portrait_HWC: NDArray[np.uint8]) -> NDArray[np.int64]:
        """:meth:`encode` of one portrait."""
        return self.encode([portrait_HWC])[0]

    def reconstruct(self, tokens: NDArray[np.int64]) -> NDArray[np.uint8]:
        """:meth:`decode` of one portrait's tokens."""
        return self.decode([tokens])[0]

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
        return self.pack_first(tokens, max_bytes)[0]

    def pack_first(self, tokens: NDArray[np.int64], max_bytes: int | None = None) -> tuple[bytes, NDArray[np.int64]]:
        """:meth:`pack`, and the tokens that it found room for: those that :meth:`unpack` gives."""
        budget = self.budget(max_bytes)
        if self.prior is None:
            return codec.encode(tokens, self.levels, self.stored.tag), tokens
        payload, count = codec.encode_first(tokens, self.prior, self.stored.tag, budget)
        return payload, tokens[:count]

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


def _weak(method: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
    """The method of a coder, without holding the coder: so a version that is served no more goes at once."""
    held = weakref.WeakMethod(method)

    def call(items: list[Any]) -> list[Any]:
        bound = held()
        assert bound is not None  # who calls it has the coder
        return bound(items)

    return call


def load_model(stored: StoredVersion) -> Model:
    """The network of a verified version, in float32 and evaluation mode."""
    model = build(stored.manifest.model)
    model.load_state_dict(load_file(stored.weights))
    for part in model.modules():
        if isinstance(part, Encoder):
            part.drop_idle()
    return model.eval().requires_grad_(False)
