"""Command line: ``python -m training prepare | run | evaluate | publish | report | ...``."""

import argparse
import logging
import sys

import cv2

from cameo.errors import CameoError
from training import default, publish, run, weights, withdraw
from training.data import augmentations, prepare
from training.evaluation import calibrate_verification, evaluate, recognition
from training.experiments import report


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train Cameo's models and publish them.",
        epilog="In this order: prepare a data set from photos, run a recipe, evaluate the run, publish it as a new "
        "version. `python -m training COMMAND --help` has the details and an example.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (
        prepare, run, evaluate, recognition, publish, default, withdraw, calibrate_verification, report, augmentations,
        weights,
    ):  # fmt: skip
        module.add_command(commands)
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    # OpenCV warns at every start that its new engine chooses the target itself.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        code: int = options.act(options)
    except (CameoError, ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
