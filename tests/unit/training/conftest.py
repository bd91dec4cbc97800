"""Folders of small pictures that train in no time."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from training.data.portraits import Portraits, open_portraits
from training.data.prepare import Settings, prepare

RECIPE = """
name = "tiny-{kind}"
description = "for tests"
seed = 3

[model]
kind = "{kind}"
size = 64
width = 8
depth = 1
{model}

[losses]
identity = 0
kl = 0.1
rate = 0.1

[quantiser]
least_bytes = 8
most_bytes = 40
prior_steps = 20

[optimise]
steps = 12
batch = 8
warmup = 2
"""
LINEAR = "patch = 16\nbands = 8\nlatents = [20, 4]\nrefine = 4\n"
MODELS = {
    "vae": LINEAR + "bits = 64",
    "vqvae": LINEAR + "tokens = 12\ncodes = 16\ncode_dim = 2",
    "vqvae-grid": "codes = 16\ncode_dim = 2",
    "progressive": LINEAR + "planes = 6\ntokens = 90\ncontext = 4\nfeatures = 2",
}


def picture(seed: int, side: int = 144) -> Image.Image:
    """Coloured blobs that differ in everything."""
    noise = np.random.default_rng(seed).uniform(0, 255, (6, 6, 3)).astype(np.float32)
    smooth = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(smooth.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 36 pictures of 144 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(36):
        picture(seed).save(folder / f"{seed:02}.png")
    return folder


@pytest.fixture(scope="session")
def prepared(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of those, not to be changed: 24 to train on and 12 to validate on."""
    out = tmp_path_factory.mktemp("data") / "blobs"
    prepare(pictures, out, Settings("blobs", "made up", val=0.25, test=0))
    return out


@pytest.fixture
def data(prepared: Path) -> Portraits:
    return open_portraits([prepared], "train")


@pytest.fixture
def validation(prepared: Path) -> Portraits:
    return open_portraits([prepared], "val")


@pytest.fixture(params=sorted(MODELS))
def recipe_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(kind=request.param, model=MODELS[request.param]))
    return path
