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

from cameo import codec
from cameo.coder import answer
from cameo.coder.runtime import MOST, Arrays, runtime, stack
from cameo.errors import BudgetTooSmall
from cameo.faces.recogniser import Recogniser
from cameo.faces.verification import read_calibration
from cameo.jobs import Operation
from cameo.nn import Model, build
from cameo.nn.blocks import Encoder
from cameo.nn.search import ROUNDS, Search, improve, searchable
from cameo.store.reader import StoredVersion


class Coder:
    """One loaded version. Safe to use from several threads: nothing changes after construction.

    Neither tokens nor faces depend on what else is in the batch, see :mod:`cameo.coder.runtime`. ``coding`` turns
    tokens into payloads. Where it has several rates, the first tokens of a portrait are a coarser face, and a payload
    holds as many as fit.

    ``encoding`` and ``decoding`` are what jobs call; they and the methods give the same. ``searching``
    takes what :meth:`search` gives, for a round of it, and ``drawing`` what :meth:`values` gives.

    ``calibration`` has the thresholds for verification, or says why there are none.
    """

    def __init__(self, stored: StoredVersion, device: torch.device, backend: str = "auto") -> None:
        self.stored = stored
        self.manifest = stored.manifest
        self.size: int = stored.manifest.portrait
        self.calibration = read_calibration(stored)
        self._model = model = load_model(stored)
        self._on_device = model if device.type == "cpu" else deepcopy(model).to(device)
        self._runtime = runtime(self._on_device, device, backend)
        self.coding = model.coding()
        self.levels = self.coding.levels
        self._searched = searchable(self._on_device)
        self._rounds = 1 if device.type == "cpu" else MOST  # searches in a batch
        picture = answer.synthetic_picture(self.size)
        payload = self._prove(picture)
        labels = self.manifest.name, str(self.manifest.version)
        self.encoding = Operation.measured((*labels, "encode"), _weak(self.encode), self._runtime.encoder.most, picture)
        self.decoding = Operation.measured(
            (*labels, "decode"), _weak(self.decode), self._runtime.decoder.most, self.unpack(codec.unwrap(payload))
        )
        self.drawing = Operation((*labels, "draw"), _weak(self.draw), self._runtime.decoder.most)
        self.searching = Operation((*labels, "search"), _weak(self._improve), self._rounds, recurring=True)

    @torch.inference_mode()
    def _prove(self, portrait_HWC: NDArray[np.uint8]) -> bytes:
        """The payload of a portrait; ValueError where the model is not the one that the manifest describes."""
        z_1L = self._runtime.encoder.run(portrait_HWC.transpose(2, 0, 1).copy()[None])
        if not np.isfinite(z_1L).all():
            raise ValueError("its encoder gives what is not finite")
        tokens = self.tokens(portrait_HWC)
        payload = self.pack(tokens, self.manifest.rates[0])
        if not self.coding.several_rates and self.manifest.rates != (len(payload),):
            raise ValueError(f"payloads have {len(payload)} bytes, the manifest says {self.manifest.rates}")
        held = self.unpack(codec.unwrap(payload))
        if not self._model.decoder(*self._model.dequantise(torch.from_numpy(held)[None])).isfinite().all():
            raise ValueError("its decoder gives what is not finite")
        if known := self.manifest.known_answer:
            held = answer.tokens(known, self.coding)
            answer.require(known, tokens, held, self.reconstruct(held))
        return payload

    @property
    def searchable(self) -> bool:
        """Whether tokens can be searched for: what an effort above ``fast`` does."""
        return self._searched is not None

    @torch.inference_mode()
    def encode(self, portraits: list[NDArray[np.uint8]]) -> list[NDArray[np.int64]]:
        """Portraits H W 3 of ``size`` pixels -> all tokens of each, in the shape of the manifest."""
        pixels_BCHW = np.ascontiguousarray(np.stack(portraits).transpose(0, 3, 1, 2))
        z_BL = torch.from_numpy(self._runtime.encoder.run(pixels_BCHW))
        together = 1 if self._model.alone else len(portraits)
        return [idx.numpy() for rows_BL in z_BL.split(together) for idx in self._model.quantise(rows_BL)]

    def decode(self, tokens: list[NDArray[np.int64]]) -> list[NDArray[np.uint8]]:
        """Tokens -> portraits H W 3. Where there are several rates, the first few tokens of each are enough."""
        return self.draw([self.values(each) for each in tokens])

    def values(self, tokens: NDArray[np.int64]) -> Arrays:
        """What the decoder takes for a portrait's tokens; of a VAE latents z_1L."""
        with torch.inference_mode():
            return tuple(x.numpy() for x in self._model.dequantise(torch.from_numpy(tokens)[None]))

    def draw(self, rows: list[Arrays]) -> list[NDArray[np.uint8]]:
        """What the decoder takes -> portraits H W 3."""
        pixels_BHWC = self._runtime.decoder.run(*stack(rows)).transpose(0, 2, 3, 1)
        return list(np.ascontiguousarray(pixels_BHWC))

    def search(
        self, recogniser: Recogniser, portrait_HWC: NDArray[np.uint8], max_bytes: int | None, effort: str
    ) -> Search:
        """A search for better tokens of a portrait, for a payload of this budget. ``searchable`` only."""
        assert self._searched is not None
        budget = self.budget(max_bytes)
        pixels_CHW = torch.from_numpy(portrait_HWC.transpose(2, 0, 1).copy())

        def held(idx_T: Tensor) -> int:
            return len(self.pack_first(idx_T.numpy(), budget)[1])

        return Search(self._searched, recogniser, pixels_CHW, held, ROUNDS[effort])

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
                f"payloads of {self.manifest.name} take {rates[0]} bytes at least, max_bytes is {max_bytes}",
                max_bytes=max_bytes, least=rates[0],
            )  # fmt: skip
        return min(max_bytes, rates[-1])

    def pack(self, tokens: NDArray[np.int64], max_bytes: int | None = None) -> bytes:
        """The payload of a portrait's tokens, or of as many as fit into the budget."""
        return self.pack_first(tokens, self.budget(max_bytes))[0]

    def pack_first(self, tokens: NDArray[np.int64], budget: int) -> tuple[bytes, NDArray[np.int64]]:
        """The payload for a :meth:`budget`, and the tokens that it found room for: those that :meth:`unpack` gives."""
        return self.coding.pack(tokens, self.stored.tag, budget)

    def unpack(self, payload: codec.Payload) -> NDArray[np.int64]:
        """The tokens that a payload holds; PayloadError where the body is not one of this version's."""
        return self.coding.unpack(payload)

    def shorten(self, payload: codec.Payload, max_bytes: int) -> bytes:
        """The payload that :meth:`pack` makes of the same portrait for this budget. Only with several rates."""
        return self.coding.shorten(payload, self.budget(max_bytes))

    def check(self, nested: Any) -> NDArray[np.int64]:
        """Tokens that came as nested lists -> an array; WrongTokenShape or TokenOutOfRange."""
        return self.coding.check(nested)


def _weak(method: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
    """The method, without a reference to the coder: a version that is no longer served leaves memory at once."""
    held = weakref.WeakMethod(method)

    def call(items: list[Any]) -> list[Any]:
        bound = held()
        assert bound is not None  # who calls it has the coder
        return bound(items)

    return call


def load_model(stored: StoredVersion) -> Model:
    """The network of a verified version, in float32 and evaluation mode.

    ValueError where the weights are not those of the manifest's model, before it takes any memory, or not finite.
    """
    weights = load_file(stored.weights)
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build(stored.manifest.model).state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        first = wrong[0]
        there, wanted = (list(each[first]) if first in each else "missing" for each in (found, expected))
        raise ValueError(f"the weights are not the model's: {first} is {there}, and should be {wanted}")
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"the weights {name} are not finite")
    model = build(stored.manifest.model)
    model.load_state_dict(weights)
    for part in model.modules():
        if isinstance(part, Encoder):
            part.drop_idle()
    return model.eval().requires_grad_(False)
