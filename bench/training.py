"""How much of the machine does the training loop use? Its images per second beside those of a bare loop.

    python -m bench.training training/recipes/vqvae-64.toml --data data/faces

The bare loop has the same model, terms of the loss and optimiser, and always the same batch, which is ready: no data,
no averages, no log. So it does less: it clips no gradients, learns at one rate, searches for tokens once, before it
starts, where a recipe searches, and is too short for terms that a recipe has late. It runs before and after the real
one, which is timed over its last rows of the log; ratios are of one run. Validation, ten times in a run of any length,
is left out.
"""

import argparse
import csv
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from cameo.nn.blocks import to_signal
from training import loop
from training.data.portraits import Portraits, open_portraits
from training.loop import build_parts, train
from training.losses import Networks
from training.ranks import ALONE
from training.recipe import Recipe, read_recipe
from training.run import add_networks, networks

STEPS_LEFT_OUT = 4  # of the bare loop: they warm up
ROWS_LEFT_OUT = 1  # of the log


def bare(recipe: Recipe, data: Portraits, device: torch.device, run: Path, steps: int, given: Networks) -> float:
    """Images per second of forward, loss, backward and a step of the optimiser."""
    o = recipe.optimise
    model, _, kind, criterion = build_parts(
        recipe, run, data, device=device, ranks=ALONE, networks=given, start=None, begin=False
    )
    for name, parameter in model.named_parameters():
        if name.endswith("codebook_TKD"):  # else all latents would have one nearest code
            nn.init.normal_(parameter)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)
    pixels = data.sample(recipe.model["size"], o.batch, seed=0)
    x_BCHW = to_signal(pixels.to(device))
    inputs = kind.inputs(x_BCHW, torch.Generator().manual_seed(0))
    times = []
    for step in range(steps):
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=o.precision == "bfloat16"):
            out = model(x_BCHW, *inputs)
            own = kind.terms(out, x_BCHW[0].numel(), step)
            loss = torch.stack(list(criterion(out.picture_BCHW, x_BCHW, own, step).values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss.item()
        times.append(time.perf_counter() - began)
    # As the log has it: a mean of rates, which favours quick steps where two recognisers take turns.
    return statistics.fmean(o.batch / seconds for seconds in times[STEPS_LEFT_OUT:])


def looped(recipe: Recipe, data: Portraits, device: torch.device, run: Path, given: Networks) -> float:
    """Images per second of :func:`training.loop.train`, by its own log."""
    loop.VALIDATIONS = 1
    train(recipe, run, data, data, device=device, networks=given, save_seconds=3600)
    with (run / "log.csv").open(newline="") as file:
        rows = [float(row["images_per_second"]) for row in csv.DictReader(file)]
    return statistics.median(rows[ROWS_LEFT_OUT:])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", type=Path, nargs="+", help="TOML files")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="prepared data sets")
    parser.add_argument("--steps", type=int, default=100, help="of the real loop; default: 100")
    add_networks(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device, data = torch.device(options.device), open_portraits(options.data, "train")
    for path in options.recipes:
        recipe = read_recipe(path)
        short = recipe.optimise.model_copy(update={"steps": options.steps, "epochs": None})
        # How many faces the metric is measured on makes no difference to a step.
        losses = recipe.losses.model_copy(update={"identity_faces": recipe.losses.identity_rank})
        recipe = recipe.model_copy(update={"optimise": short, "losses": losses})
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            run.mkdir()
            before = bare(recipe, data, device, run, options.steps // 4, networks(options))
            real = looped(recipe, data, device, run, networks(options))
            after = bare(recipe, data, device, run, options.steps // 4, networks(options))
        row = {"recipe": recipe.name, "bare": round((before + after) / 2, 1), "loop": round(real, 1)}
        print(json.dumps(row | {"share": round(2 * real / (before + after), 3)}), flush=True)


if __name__ == "__main__":
    main()
