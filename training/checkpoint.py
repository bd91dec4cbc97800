"""What a run is on disk: ``checkpoint.pt``, all of its state, and ``recipe.json``, what it is for."""

import io
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cameo.errors import StoreError
from cameo.nn import Model
from cameo.store.reader import read_version
from training.files import replace
from training.recipe import Recipe


class Stateful(Protocol):
    """What a run has besides the weights: the steps of its kind, see :mod:`training.kinds.base`."""

    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    """All that a run is, in one file that is replaced atomically."""

    path: Path
    model: Model
    average: Model
    kind: Stateful
    optimiser: torch.optim.Optimizer
    state: dict[str, Any]

    def save(self) -> None:
        contents = {
            "model": tensors(self.model), "average": tensors(self.average), "optimiser": self.optimiser.state_dict(),
            "kind": self.kind.state_dict(), "state": self.state,
        }  # fmt: skip
        write(self.path, contents)

    @torch.no_grad()
    def restore(self, data: bytes, device: torch.device) -> None:
        """Go back to what was saved, by the bytes of its file: ValueError where they are damaged or of another run."""
        saved = read(self.path, device, data)
        try:
            for model, name in ((self.model, "model"), (self.average, "average")):
                for key, tensor in tensors(model).items():
                    tensor.copy_(saved[name][key])
            self.optimiser.load_state_dict(saved["optimiser"])
            # Runs that began before there were kinds call it the codebook.
            self.kind.load_state_dict(saved["kind"] if "kind" in saved else saved["codebook"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self.path} is of another architecture than the recipe's: {error}") from error
        if saved["state"]["data"] != self.state["data"]:
            names = ", ".join(source["name"] for source in saved["state"]["data"])
            raise ValueError(
                f"{self.path.parent} was begun on other data: {names}. Go on with those, or choose another --out folder"
            )
        self.state.update(saved["state"])


def read(path: Path, device: torch.device, data: bytes | None = None) -> dict[str, Any]:
    """A file of :func:`write`, or its bytes where somebody has read them. ValueError where it is damaged."""
    source = path if data is None else io.BytesIO(data)
    try:
        saved: dict[str, Any] = torch.load(source, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except (RuntimeError, EOFError, ValueError, OSError, UnpicklingError) as error:  # a file cut short gives any
        raise ValueError(
            f"{path} is damaged ({error}); bring it back from a copy, or delete the run folder and begin again"
        ) from error
    return saved


def write(path: Path, contents: object) -> None:
    """A file for :func:`read`. OSError, with the old file untouched, when the disk is full."""
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    replace(path, buffer.getbuffer())


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """All that a model is."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def claim(recipe: Recipe, run: Path, start: Path | None) -> None:
    """Write into a new run folder what it is for; ValueError if it holds another run."""
    path = run / "recipe.json"
    said = {"recipe": json.loads(recipe.model_dump_json()), "from": origin(start)}
    if path.exists():
        there = json.loads(path.read_text())
        if {key: there.get(key) for key in said} != said:
            raise ValueError(f"{run} holds a run of another recipe or beginning; choose another --out folder")
        return
    path.write_text(json.dumps(said | {"commit": commit()}, indent=1))


def origin(start: Path | None) -> str | None:
    """The version that a run begins with, as name/number and tag."""
    if start is None:
        return None
    try:
        stored = read_version(start)
    except StoreError as error:
        raise ValueError(f"--from {start}: {error.detail}") from error
    return f"{stored.manifest.name}/{stored.manifest.version}, tag {stored.tag.hex()}"


def commit() -> str:
    """The revision of the code: the image's, where it runs in one, else git's."""
    if revision := os.environ.get("CAMEO_REVISION"):
        return revision
    here = Path(__file__).parent
    if shutil.which("git") is None:
        return "unknown"
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
