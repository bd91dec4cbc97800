"""Models to evaluate and to publish: out of a run folder, or out of the store."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from cameo import codec
from cameo.faces.framing import asis
from cameo.faces.recogniser import Recogniser, SFace
from cameo.nn import Model, build
from cameo.nn.search import ROUNDS, Search, searchable
from cameo.store import Store, open_store
from cameo.store.reader import Key, StoredVersion
from training.checkpoint import read
from training.evaluation.contenders import Coded, Pixels
from training.evaluation.verification import sface_weights
from training.kinds import kind_of

Weights = dict[str, Tensor]

NO_TAG = b"\0\0"  # in the payloads of a run, which no manifest names
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """A run folder, read. ``start`` is the version that it began with, if it did.

    ``weights`` are the averaged ones, in the half precision that the store holds.
    """

    folder: Path
    recipe: dict[str, Any]
    commit: str
    start: str | None
    state: dict[str, Any]
    weights: Weights


def read_run(folder: Path) -> Run:
    """ValueError for a folder that holds no run, or a damaged one."""
    for name in ("recipe.json", "checkpoint.pt"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is no run folder: it has no {name}; 'python -m training run' makes one")
    saved = read(folder / "checkpoint.pt", CPU)
    try:
        claim = json.loads((folder / "recipe.json").read_text())
        recipe = claim["recipe"]
        with torch.device("meta"):
            names = build(recipe["model"]).state_dict().keys()
        weights = {name: _half(saved["average"][name]) for name in names}
        return Run(folder, recipe, claim["commit"], claim.get("from"), saved["state"], weights)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no run that this version of the code reads: {error}") from error


def _half(tensor: Tensor) -> Tensor:
    return (tensor.half() if tensor.is_floating_point() else tensor).detach().contiguous()


@dataclass(frozen=True)
class Trained:
    """A contender: a model, used as the service uses it. ``version`` is None for that of a run.

    ``budget`` is what a payload may have in bytes; None for models of one rate. Tokens are searched for as the service
    does with this ``effort``, through the ``recogniser``.
    """

    what: str
    name: str
    version: int | None
    digest: str
    model: Model
    tag: bytes
    device: torch.device
    budget: int | None = None
    effort: str = "fast"
    recogniser: Recogniser | None = None
    suffix: ClassVar[str] = ".cameo"

    @property
    def label(self) -> str:
        return self._series if self.budget is None else f"{self._series}, {self.budget} bytes"

    @property
    def _series(self) -> str:
        return self.what if self.recogniser is None else f"{self.what}, {self.effort}"

    def facts(self) -> dict[str, Any]:
        return {
            "kind": "model", "name": self.name, "version": self.version, "sha256": self.digest,
            "portrait": self.model.config.size, "series": self._series,
        }  # fmt: skip

    @cached_property
    def coding(self) -> codec.TokenCoding:
        return self.model.coding()

    def code(self, portraits: list[Pixels]) -> list[Coded]:
        pixels_BHWC = np.stack([asis(portrait, self.model.config.size).portrait for portrait in portraits])
        pixels_BCHW = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).to(self.device)
        if self.recogniser is None:
            rows = list(self.model.encode(pixels_BCHW).numpy(force=True))
        else:
            rows = [self._search(pixels_CHW) for pixels_CHW in pixels_BCHW]
        payloads = [self.coding.pack(row, self.tag, self.budget)[0] for row in rows]
        return [Coded(payload, len(payload)) for payload in payloads]

    def _search(self, pixels_CHW: Tensor) -> NDArray[np.int64]:
        model = searchable(self.model)
        assert model is not None
        assert self.recogniser is not None
        search = Search(model, self.recogniser, pixels_CHW, self._held, ROUNDS[self.effort])
        return search.finish().numpy(force=True)

    def _held(self, idx_T: Tensor) -> int:
        return len(self.coding.pack(idx_T.numpy(force=True), self.tag, self.budget)[1])

    def tokens(self, files: list[bytes]) -> list[NDArray[np.int64]]:
        """The tokens in payloads, by portrait. PayloadError for a damaged one."""
        return [self.coding.unpack(codec.unwrap(payload)) for payload in files]

    def show(self, files: list[bytes]) -> list[Pixels]:
        tokens = self.tokens(files)
        if not self.coding.several_rates:
            return self._draw(np.stack(tokens))
        return [picture for row in tokens for picture in self._draw(row[None])]  # each has as many as went in

    def _draw(self, idx: NDArray[np.int64]) -> list[Pixels]:
        pixels_BCHW = self.model.decode(torch.from_numpy(idx).to(self.device))
        return list(pixels_BCHW.permute(0, 2, 3, 1).contiguous().numpy(force=True))


def at_rates(trained: Trained, budgets: Sequence[int] = ()) -> list[Trained]:
    """A model with several rates at each of the budgets, or at its usual ones; any other model as it is."""
    if not trained.coding.several_rates:
        return [trained]
    return [replace(trained, budget=budget) for budget in budgets or kind_of(trained.model).rates(trained.model)]


def at_default_rate(trained: Trained) -> Trained:
    """What is measured where one measurement has to do."""
    return replace(trained, budget=kind_of(trained.model).default_rate)


def load(config: dict[str, Any], weights: Weights, device: torch.device = CPU) -> Model:
    """A model in evaluation mode with the given weights, in float32. ValueError where they do not fit."""
    model = build(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the model: {error}") from error
    return model.eval().requires_grad_(False).to(device)


def from_run(run: Run, device: torch.device = CPU) -> Trained:
    """The model of a run. ValueError for one whose training has not ended, where it has tokens only then."""
    model = load(run.recipe["model"], run.weights, device)
    if reason := kind_of(model).unfinished(model, finished="finished" in run.state):
        raise ValueError(f"{run.folder} stands at step {run.state['step']}, and {reason}")
    digest = hashlib.sha256()
    for name, tensor in sorted(run.weights.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return Trained(str(run.folder), run.recipe["name"], None, digest.hexdigest(), model, NO_TAG, device)


def from_store(stored: StoredVersion, device: torch.device = CPU) -> Trained:
    """The model of a verified version. ValueError when its weights do not load."""
    name, version = stored.key
    model = load(stored.manifest.model, load_file(stored.weights), device)
    return Trained(f"{name}/{version}", name, version, stored.digest, model, stored.tag, device)


def at(store: Store, key: Key, device: torch.device = CPU) -> Trained:
    """A version of a store. RefusedVersion; ValueError when its weights do not load."""
    stored = store.read(key)
    with store.local(stored, None) as here:
        return from_store(here, device)


def find(what: str, store: Path | str, device: torch.device = CPU) -> list[Trained]:
    """A run folder, or NAME/VERSION, or NAME for its highest version. ValueError or RefusedVersion.

    A model with several rates is found once for each of its usual ones, or for those that follow as @BYTES,BYTES; with
    :good or :best after that its tokens are searched for.
    """
    place, _, effort = what.rpartition(":")
    if effort not in ROUNDS:
        place, effort = what, "fast"
    name, _, rates = place.partition("@")
    if not all(rate.isdecimal() and int(rate) > codec.OVERHEAD for rate in rates.split(",") if rates):
        raise ValueError(f"{what}: the rates are whole numbers of bytes, e.g. @48,96")
    found = _find(name, store, device)
    if rates and not found.coding.several_rates:
        raise ValueError(f"{what}: {name} has one rate")
    if ROUNDS[effort] and searchable(found.model) is None:
        raise ValueError(f"{what}: {name} has one rate, so there is nothing to search for")
    if ROUNDS[effort]:
        found = replace(found, effort=effort, recogniser=SFace(sface_weights()).to(device))
    return at_rates(found, [int(rate) for rate in rates.split(",") if rate])


def _find(what: str, store: Path | str, device: torch.device) -> Trained:
    if (Path(what) / "checkpoint.pt").exists():
        return from_run(read_run(Path(what)), device)
    opened = open_store(store)
    keys = list(opened.look()[0])
    chosen = [(name, version) for name, version in keys if what in (name, f"{name}/{version}")]
    if not chosen:
        known = ", ".join(f"{name}/{version}" for name, version in keys) or "nothing"
        raise ValueError(f"{what} is neither a run folder nor in the store {store}, which holds {known}")
    return at(opened, chosen[-1], device)
