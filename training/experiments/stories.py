"""What became of a recipe: a finished run, its log, and its row in an evaluation."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.evaluate import FORMAT
from training.evaluation.trained import Run, Trained, from_run, read_run
from training.plots import Table, read_table

Row = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """A finished run. ``row`` is what ``python -m training evaluate`` found, see there."""

    run: Run
    log: Table
    row: Row

    @property
    def name(self) -> str:
        return str(self.run.recipe["name"])

    @property
    def kind(self) -> str:
        return str(self.run.recipe["model"]["kind"])

    @property
    def bytes(self) -> float:
        """Of a payload, everything counted."""
        return float(self.row["bytes"]["mean"])

    @property
    def raw(self) -> int:
        """Bytes of a portrait of the model's size, uncompressed."""
        return int(self.run.recipe["model"]["size"] ** 2 * 3)

    @property
    def epochs(self) -> float:
        """How often every portrait was seen."""
        portraits = sum(source["pictures"] for source in self.run.state["data"])
        return float(self.run.state["step"] * self.run.recipe["optimise"]["batch"] / portraits)

    @property
    def speed(self) -> float:
        """Pictures per second while training, the median over the log."""
        return float(np.median(self.log["images_per_second"]))

    @property
    def reconstruction(self) -> NDArray[np.float64]:
        """The terms of the loss that compare pixels."""
        return np.asarray(sum(self.log[name] for name in ("mse", "l1") if name in self.log), np.float64)

    def trained(self) -> Trained:
        return from_run(self.run)


@dataclass(frozen=True)
class Stories:
    """Finished runs by the name of their recipe; ``missing`` says of the others what to do."""

    found: dict[str, Story]
    missing: dict[str, str]

    def of(self, names: list[str]) -> list[Story]:
        return [self.found[name] for name in names if name in self.found]


def read_evaluation(path: Path) -> dict[str, Any]:
    """ValueError for a file that ``python -m training evaluate`` has not written, or without face verification."""
    try:
        evaluation: dict[str, Any] = json.loads(path.read_text())
        if evaluation["format"] != FORMAT:
            raise ValueError(f"format {evaluation['format']}")
        verified = bool(evaluation["pairs"]) and "sface" in evaluation["recognisers"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no evaluation ({error}); 'python -m training evaluate' makes one") from error
    if not verified:
        raise ValueError(f"{path} says nothing of identity: evaluate with --faces and --pairs, and sface for a --judge")
    return evaluation


def collect(names: list[str], runs: Path, evaluation: dict[str, Any]) -> Stories:
    """Look for runs below the folder ``runs`` and in the evaluation, by the names of their recipes.

    ValueError for a damaged run, or for an evaluation of other weights than the run has now.
    """
    rows = {row["name"]: row for row in evaluation["rows"] if row["kind"] == "model" and row["version"] is None}
    found, missing = {}, {}
    for name in dict.fromkeys(names):
        folder = runs / name
        if not (folder / "checkpoint.pt").is_file():
            missing[name] = f"train it: `python -m training run training/experiments/recipes/{name}.toml --data ...`"
            continue
        run, log = read_run(folder), read_table(folder / "log.csv")
        if "finished" not in run.state:
            missing[name] = f"it stands at step {run.state['step']:,}; the command that began it goes on"
        elif not len(log.get("total", ())):
            missing[name] = f"{folder / 'log.csv'} is empty, for a run too short to be told of"
        elif name not in rows:
            missing[name] = f"it is trained, not evaluated: `python -m training evaluate {folder} ...`"
        elif rows[name]["sha256"] != from_run(run).digest:
            raise ValueError(f"{folder} has other weights now than those that were evaluated: evaluate it again")
        else:
            found[name] = Story(run, log, rows[name])
    return Stories(found, missing)
