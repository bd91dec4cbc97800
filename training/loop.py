"""The training loop: one process, resumable at any step.

A run folder holds ``recipe.json``, ``checkpoint.pt`` (replaced atomically), ``log.csv``, and pictures. Every
step draws its batch and its noise from the seed and the step number alone, so a run that was killed and
resumed walks the path of one that was not.
"""

import csv
import json
import logging
import math
import os
import platform
import shutil
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from app.nn import Model, build
from app.nn.blocks import to_pixels, to_signal
from app.nn.vae import VAE
from training.data import Portraits
from training.identity import SFace, identity_metric
from training.initialise import initialise
from training.losses import terms
from training.recipe import Recipe

log = logging.getLogger("cameo.training")


class Stop(AbstractContextManager["Stop"]):
    """Turns SIGTERM and SIGINT into a flag, so that the step in hand is finished and saved."""

    requested = False

    def __enter__(self) -> Self:
        self._before = {s: signal.signal(s, self._set) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def train(
    recipe: Recipe, run: Path, data: Portraits, validation: Portraits, sface: Path | None, device: torch.device,
    save_seconds: float = 60.0,
) -> bool:  # fmt: skip
    """Train until the recipe's last step; True when it was reached, False when a signal came first.

    Raises ValueError when the run folder holds another recipe, FloatingPointError when the loss is not finite.
    """
    run.mkdir(parents=True, exist_ok=True)
    _claim(recipe, run)
    o, size = recipe.optimise, recipe.model["size"]
    torch.manual_seed(recipe.seed)
    checkpoint = run / "checkpoint.pt"
    metric_RP = _metric(recipe, run, data, sface)
    model = build(recipe.model)
    if not checkpoint.exists():
        initialise(model, recipe, data, metric_RP)
    model.to(device)
    average = deepcopy(model).eval()
    metric_RP = None if metric_RP is None else metric_RP.to(device)
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=o.learning_rate, weight_decay=o.weight_decay, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip
    state: dict[str, Any] = {
        "step": 0, "seconds": 0.0, "started": datetime.now(UTC).isoformat(), "machine": machine(device),
        "partial": {}, "data": data.sources,
    }  # fmt: skip
    if not checkpoint.exists():
        save(checkpoint, model, average, optimiser, state)
        log.info(_glance(average, validation, size, run, 0))
    else:
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        _restore(model, saved["model"])
        _restore(average, saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        state |= saved["state"]
        log.info("resumed at step %d", state["step"])
    began, saved_at = time.monotonic() - state["seconds"], time.monotonic()
    batches = data.batches(
        size, o.batch, flip=recipe.augment.flip, shift=recipe.augment.shift, seed=recipe.seed, first_step=state["step"]
    )
    bar = tqdm(total=o.steps, initial=state["step"], unit="step", smoothing=0.05)
    with Stop() as stop, _Log(run / "log.csv", state["step"], state["partial"]) as rows, bar:
        while state["step"] < o.steps and not stop.requested:
            step = state["step"]
            torch.manual_seed(recipe.seed * 1_000_003 + step)
            x_BCHW = to_signal(next(batches).to(device))
            for group in optimiser.param_groups:
                group["lr"] = o.learning_rate * schedule(step, o.warmup, o.steps)
            model.train()
            named = terms(model(x_BCHW), x_BCHW, recipe.losses, metric_RP)
            loss = torch.stack(list(named.values())).sum()
            if not math.isfinite(loss.item()):
                raise FloatingPointError(
                    f"the loss is not finite at step {step}: { {k: v.item() for k, v in named.items()} }; "
                    f"{checkpoint} holds the last good state"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), o.clip)
            optimiser.step()
            _average(average, model, min(o.ema, (step + 1) / (step + 10)))
            state |= {"step": step + 1, "seconds": time.monotonic() - began}
            rows.add(step, named, bar)
            bar.update()
            if time.monotonic() - saved_at > save_seconds:
                save(checkpoint, model, average, optimiser, state)
                saved_at = time.monotonic()
            if state["step"] % 500 == 0 or state["step"] == o.steps:
                bar.write(_glance(average, validation, size, run, state["step"]))
    finished = bool(state["step"] == o.steps)
    if finished and "finished" not in state:
        _finish(average, data, size, device)
        state["finished"] = datetime.now(UTC).isoformat()
    save(checkpoint, model, average, optimiser, state)
    return finished


@torch.no_grad()
def _finish(average: Model, data: Portraits, size: int, device: torch.device) -> None:
    """Fit the quantiser to the averaged encoder, on the training portraits.

    A VAE's bits are divided by the posterior that training ended with; a VQ-VAE's codes, which lag behind the
    encoder by their moving average, move to the centres of what is assigned to them.
    """
    parts = torch.split(data.centres(size), 256)
    z_ML = torch.cat([average.encoder(to_signal(part.to(device))).cpu() for part in parts])
    average.cpu()
    if isinstance(average, VAE):
        average.quantiser.calibrate(z_ML, (0.5 * average.logvar_L).exp(), average.config.bits)
    else:
        average.quantiser.refit(z_ML, rounds=3)
    average.to(device)


def machine(device: torch.device) -> str:
    """What a manifest says of the hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads, {platform.machine()}"


def schedule(step: int, warmup: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def save(path: Path, model: Model, average: Model, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Replace the checkpoint by the state of now."""
    contents = {
        "model": _tensors(model), "average": _tensors(average), "optimiser": optimiser.state_dict(),
        "state": state,
    }  # fmt: skip
    _write(path, contents)


def _write(path: Path, contents: object) -> None:
    """Write beside the old file, then replace it: whoever reads never sees half a file."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(contents, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _tensors(model: Model) -> dict[str, Tensor]:
    """All that a model is, with the buffers that only training needs and a state dict leaves out."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


@torch.no_grad()
def _restore(model: Model, saved: dict[str, Tensor]) -> None:
    for name, tensor in _tensors(model).items():
        tensor.copy_(saved[name])


def _claim(recipe: Recipe, run: Path) -> None:
    path, text = run / "recipe.json", recipe.model_dump_json(indent=1)
    if path.exists():
        if json.loads(path.read_text())["recipe"] != json.loads(text):
            raise ValueError(f"{run} holds a run of another recipe; choose another --run folder")
        return
    path.write_text(json.dumps({"recipe": json.loads(text), "commit": _commit()}, indent=1))


def _commit() -> str:
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


def _metric(recipe: Recipe, run: Path, data: Portraits, sface: Path | None) -> Tensor | None:
    """The identity metric of the recipe, measured once and kept in the run folder."""
    if not recipe.losses.identity:
        return None
    path = run / "identity_metric.pt"
    if not path.exists():
        if sface is None:
            raise ValueError("the recipe has an identity loss: give the recogniser's weights with --sface FILE")
        x_BCHW = to_signal(data.sample(recipe.model["size"], recipe.losses.identity_faces, recipe.seed))
        _write(path, identity_metric(SFace(sface), x_BCHW, recipe.losses.identity_rank, recipe.seed))
    metric: Tensor = torch.load(path, weights_only=True)
    return metric


@torch.no_grad()
def _average(average: Model, model: Model, decay: float) -> None:
    """Exponential moving average of every parameter and floating-point buffer; the rest is copied."""
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _glance(average: Model, validation: Portraits, size: int, run: Path, step: int) -> str:
    """PSNR on validation portraits through the averaged weights, and a sheet of originals over reconstructions."""
    pixels = validation.sample(size, 256, seed=0).to(next(average.parameters()).device)
    if isinstance(average, VAE):  # its means as they are: bits are divided at the end only
        with torch.inference_mode():
            out = to_pixels(average.decoder(average.encoder(to_signal(pixels)))).float()
    else:
        out = average.decode(average.encode(pixels)).float()
    mse = (pixels.float() - out).square().mean((1, 2, 3))
    rows = torch.stack([pixels[:10], out[:10].to(torch.uint8)]).permute(0, 3, 1, 4, 2)  # pair H portrait W C
    sheet = rows.reshape(2 * size, -1, 3).numpy(force=True)
    Image.fromarray(sheet).save(run / "sample.png")
    return f"step {step}: validation PSNR {(10 * torch.log10(255**2 / mse)).mean():.2f} dB, {run / 'sample.png'}"


class _Log(AbstractContextManager["_Log"]):
    """``log.csv``: the mean of each term over twenty steps. Rows after the step resumed from are cut off.

    ``partial`` holds the sums since the last row, and belongs into the checkpoint.
    """

    EVERY = 20

    def __init__(self, path: Path, step: int, partial: dict[str, float]) -> None:
        kept = []
        if path.exists():
            with path.open(newline="") as file:
                kept = [row for row in csv.reader(file) if row and (row[0] == "step" or int(row[0]) <= step)]
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerows(kept)
        self._header = bool(kept)
        self._partial = partial

    def add(self, step: int, named: dict[str, Tensor], bar: "tqdm[Any]") -> None:
        for name, value in named.items():
            self._partial[name] = self._partial.get(name, 0.0) + value.item()
        if (step + 1) % self.EVERY:
            return
        means = {name: total / self.EVERY for name, total in self._partial.items()}
        if not self._header:
            self._writer.writerow(["step", *means])
            self._header = True
        self._writer.writerow([step + 1, *(f"{value:.6g}" for value in means.values())])
        self._file.flush()
        bar.set_postfix({name: f"{value:.5f}" for name, value in means.items()})
        self._partial.clear()

    def __exit__(self, *_: object) -> None:
        self._file.close()
