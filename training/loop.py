"""The training loop: resumable at any step, in one process or several.

Every step draws its batch and its noise from the seed and the step number alone, so a run that was killed and
resumed walks the path of one that was not, and several processes walk, up to rounding, the path of one.
"""

import logging
import math
import platform
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from cameo.nn import Model, build
from cameo.nn.blocks import to_signal
from cameo.store.reader import read_version
from training.checkpoint import Checkpoint, claim
from training.data.portraits import Portraits
from training.initialise import metric
from training.kinds import Kind, kind_named
from training.losses import RIVALS, Criterion, Networks
from training.ranks import ALONE, Ranks
from training.recipe import Optimise, Recipe
from training.record import Record

log = logging.getLogger("cameo.training")

NONE = Networks()
VALIDATIONS = 10  # times in a run that it is validated
VALIDATED = 256  # validation portraits


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
    recipe: Recipe, run: Path, data: Portraits, validation: Portraits, *, device: torch.device,
    ranks: Ranks = ALONE, networks: Networks = NONE, start: Path | None = None,
    save_seconds: float = 60.0, saved: Callable[[int, bool], object] = lambda step, last: None,
) -> bool:  # fmt: skip
    """Train until the recipe's last step; True when it was reached, False when a signal came first.

    ``start`` is the folder of a published version to begin with. ``saved`` is called after each checkpoint, by the
    process that writes, with the step and whether it is the last one. Only that process needs ``run``. Raises
    ValueError when the run folder holds another run or a damaged checkpoint, FloatingPointError when the loss is not
    finite, OSError when the disk is full.
    """
    o, size, checkpoint = recipe.optimise, recipe.model["size"], run / "checkpoint.pt"
    steps = o.length(len(data))
    if ranks.writer:
        run.mkdir(parents=True, exist_ok=True)
        claim(recipe, run, start)
    # Others may be on machines that do not see the run folder.
    before = ranks.give(checkpoint.read_bytes() if ranks.writer and checkpoint.exists() else None)
    begin = before is None
    torch.manual_seed(recipe.seed)
    model, average, kind, criterion = build_parts(
        recipe, run, data, device=device, ranks=ranks, networks=networks, start=start, begin=begin
    )
    optimiser = torch.optim.AdamW(
        groups(model, o), lr=o.learning_rate, weight_decay=o.weight_decay, betas=(0.9, 0.98), fused=True
    )
    state: dict[str, Any] = {
        "step": 0, "seconds": 0.0, "started": datetime.now(UTC).isoformat(), "machine": machine(device, ranks),
        "partial": {}, "data": data.sources,
    }  # fmt: skip
    kept = Checkpoint(checkpoint, model, average, kind, optimiser, state)
    if before is not None:
        kept.restore(before, device)
        log.info("resumed at step %d", state["step"])
    forward = DistributedDataParallel(model) if ranks.world > 1 else model
    batches = prefetch(
        data.batches(
            size, o.batch, recipe.augment, seed=recipe.seed, first_step=state["step"], shard=(ranks.rank, ranks.world)
        )
    )
    bar = tqdm(total=steps, initial=state["step"], unit="step", smoothing=0.05, disable=not ranks.writer)
    record = Record(run, state["step"], state["partial"], writes=ranks.writer)
    began = time.monotonic() - state["seconds"]
    saved_at = shown_at = time.monotonic()
    stopping = False

    def save(*, last: bool = False) -> None:
        kept.save()
        saved(state["step"], last)

    with Stop() as stop, record, bar:
        if begin and ranks.writer:
            validate(record, kind, average, validation, 0)
            save()
        while state["step"] < steps and not stopping:
            step = state["step"]
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
            x_BCHW = to_signal(next(batches).to(device))
            rate = o.learning_rate * schedule(step, o.warmup, steps)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
            kind.before_step(step, steps, average, data)
            with torch.autocast(device.type, torch.bfloat16, enabled=o.precision == "bfloat16"):
                out = forward(x_BCHW, *kind.inputs(x_BCHW, generator))
                own = kind.terms(out, x_BCHW[0].numel(), step)
                named = criterion(out.picture_BCHW, x_BCHW, own, step)
            terms = torch.stack(list(named.values()))
            # One transfer from the device a step, and one exchange between processes.
            *figures, stopped = ranks.mean([*terms.tolist(), float(stop.requested)], device)
            if not math.isfinite(sum(figures)):
                raise FloatingPointError(
                    f"the loss is not finite at step {step}: {dict(zip(named, figures, strict=True))}; {checkpoint} "
                    "holds the last good state. A lower optimise.learning_rate may help"
                )
            optimiser.zero_grad(set_to_none=True)
            terms.sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), o.clip)
            optimiser.step()
            kind.after_step(out, generator)
            update_ema(average, model, min(o.ema, (step + 1) / (step + 10)))
            now = time.monotonic()
            state |= {"step": step + 1, "seconds": now - began}
            shown = dict(zip(named, figures, strict=True)) | {"total": sum(figures), "learning_rate": rate}
            shown["images_per_second"] = o.batch / (now - shown_at)
            shown |= kind.figures()
            shown_at, stopping = now, stopped > 0
            if means := record.add(step, shown):
                bar.set_postfix({name: f"{means[name]:.4g}" for name in ("total", "images_per_second")})
            bar.update()
            if ranks.writer and (state["step"] % max(1, steps // VALIDATIONS) == 0 or state["step"] == steps):
                validate(record, kind, average, validation, state["step"])
            if ranks.writer and now - saved_at > save_seconds:  # after what it goes with was written down
                save()
                saved_at = time.monotonic()
    finished = bool(state["step"] == steps)
    if finished and "finished" not in state:
        if ranks.writer:
            save()  # finishing takes minutes, and would have to begin where the last save was
        kind.finish(average, data)
        state["finished"] = datetime.now(UTC).isoformat()
    if ranks.writer:
        save(last=True)
    ranks.wait()
    return finished


def prefetch(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """The same, the next one made by a thread meanwhile: a GPU should not wait for a batch."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches)
        while True:
            batch = coming.result()
            coming = pool.submit(next, batches)
            yield batch


def build_parts(
    recipe: Recipe, run: Path, data: Portraits, *, device: torch.device, ranks: Ranks, networks: Networks,
    start: Path | None, begin: bool,
) -> tuple[Model, Model, Kind[Any], Criterion]:  # fmt: skip
    """The model, its average, the steps of its kind and the loss, on the device; at their beginning if it is one."""
    metric_RP = ranks.give(metric(recipe, run, data, networks, device) if ranks.writer else None)
    model = build(recipe.model)
    kind = kind_named(recipe.model)(model, recipe, ranks)
    refit = recipe.optimise.refit
    if begin and ranks.writer and (refit or not start):
        kind.initialise(data, metric_RP)
    if begin and start:
        load_version(model, recipe, start, networks=refit)
    model.to(device)
    if recipe.optimise.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ranks.share(model)
    kind.begin(networks, device)
    average = deepcopy(model).eval().requires_grad_(False)
    criterion = Criterion(recipe, metric_RP, networks).to(device)
    if criterion.recognisers:
        criterion.centre(to_signal(data.sample(recipe.model["size"], RIVALS, recipe.seed)))
    if recipe.optimise.channels_last:
        criterion.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.train(), average, kind, criterion


def groups(model: Model, o: Optimise) -> list[dict[str, Any]]:
    """What the optimiser learns: the networks, and the linear transform at a ``share`` of their rate, or not at all."""
    # Of the networks only: codes are frozen, too, and learnt by their averages.
    parts = [model.encoder, model.decoder] if o.encoder else [model.decoder]
    frozen = [p for part in parts for p in part.parameters() if not p.requires_grad]
    if not o.encoder:
        model.encoder.requires_grad_(False)
    learnt = [{"params": [p for p in model.parameters() if p.requires_grad], "share": 1.0}]
    if not o.transform:
        return learnt
    for parameter in frozen:
        parameter.requires_grad_(True)
    return [*learnt, {"params": frozen, "share": o.transform, "weight_decay": 0.0}]


def load_version(model: Model, recipe: Recipe, folder: Path, *, networks: bool) -> None:
    """Weights of a published version into a model that has the same ones; ValueError for another architecture.

    Of the ``networks`` alone: not the linear transform, nor what quantises its latents.
    """
    stored = read_version(folder)
    weights = load_file(stored.weights)
    if {k: w.shape for k, w in weights.items()} != {k: w.shape for k, w in model.state_dict().items()}:
        raise ValueError(f"{folder} has another architecture than the recipe {recipe.name}: {stored.manifest.model}")
    if networks:
        weights = {name: weights[name] for name, p in model.named_parameters() if p.requires_grad}
    model.load_state_dict(weights, strict=not networks)


def validate(record: Record, kind: Kind[Any], average: Model, validation: Portraits, step: int) -> None:
    """PSNR on validation portraits through the averaged weights, and a sheet of originals over reconstructions."""
    pixels = validation.sample(average.config.size, VALIDATED, seed=0).to(next(average.parameters()).device)
    out = kind.reconstruct(average, pixels)
    mse = (pixels.float() - out.float()).square().mean((1, 2, 3)).clamp(min=1e-6)
    psnr = float((10 * torch.log10(255**2 / mse)).mean())
    record.validate(step, {"psnr": psnr}, pixels, out)


def machine(device: torch.device, ranks: Ranks) -> str:
    """What a manifest says of the hardware."""
    one = f"{torch.get_num_threads()} CPU threads, {platform.machine()}"
    if device.type == "cuda":
        one = torch.cuda.get_device_name(device)
    return one if ranks.world == 1 else f"{ranks.world} processes, each: {one}"


def schedule(step: int, warmup: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def update_ema(average: Model, model: Model, decay: float) -> None:
    """Exponential moving average of every parameter and floating-point buffer; the rest is copied."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    means = [(a, m) for a, m in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in means], [m for _, m in means], 1 - decay)
    for copy, value in pairs:
        if not copy.is_floating_point():
            copy.copy_(value)
