"""Folders of small pictures that train in no time."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

RECIPE = """
name = "tiny-{kind}"
description = "for tests"
seed = 3

[model]
kind = "{kind}"
size = 64
patch = 16
bands = 8
latents = [20, 4]
width = 8
depth = 1
refine = 4
{quantiser}

[losses]
identity = 0
kl = 0.1

[optimise]
steps = 12
batch = 8
warmup = 2
"""
QUANTISER = {"vae": "bits = 64", "vqvae": "tokens = 12\ncodes = 16\ncode_dim = 2"}


def picture(seed: int, side: int = 144) -> Image.Image:
    """Coloured blobs that differ in everything."""
    noise = np.random.default_rng(seed).uniform(0, 255, (6, 6, 3)).astype(np.float32)
    smooth = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(smooth.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 pictures of 144 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(24):
        picture(seed).save(folder / f"{seed:02}.png")
    return folder


@pytest.fixture(params=["vae", "vqvae"])
def recipe_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(kind=request.param, quantiser=QUANTISER[request.param]))
    return path
