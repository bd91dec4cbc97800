"""A new kind of model is its own files and a line in each of two tables: it trains, publishes and serves."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cameo import nn
from cameo.codec import unwrap
from cameo.coder.coder import Coder
from cameo.pictures.decode import decode
from cameo.pictures.encode import encode
from tests.service.server import ROOT, serve
from tests.unit.training.kinds.thumbnail import Thumbnail, ThumbnailConfig
from tests.unit.training.kinds.thumbnail_kind import ThumbnailKind
from training import kinds
from training.data.portraits import Portraits
from training.evaluation import bootstrap
from training.evaluation.evaluate import Setting
from training.loop import train
from training.publish import finished, publish_run
from training.recipe import Recipe, read_recipe

# What a line in ``cameo/nn/__init__.py`` would do in the service's process.
PLUGIN = """
from cameo import nn
from tests.unit.training.kinds.thumbnail import Thumbnail, ThumbnailConfig
nn.KINDS["thumbnail"] = (Thumbnail, ThumbnailConfig)
"""
CPU = torch.device("cpu")
BYTES = 4 + 3 * 8 * 8 * 4 // 8
RECIPE = """
name = "thumbnail-64"
description = "for tests"

[model]
kind = "thumbnail"
size = 64
side = 8
values = 16

[optimise]
steps = 12
batch = 8
warmup = 2
"""


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(nn.KINDS, "thumbnail", (Thumbnail, ThumbnailConfig))
    monkeypatch.setitem(kinds.KINDS, "thumbnail", ThumbnailKind)
    monkeypatch.setattr(bootstrap, "SAMPLES", 30)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return read_recipe(tmp_path / "recipe.toml")


def test_a_new_kind_trains_publishes_and_serves(
    recipe: Recipe, data: Portraits, validation: Portraits, prepared: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert train(recipe, tmp_path / "run", data, validation, device=CPU)
    store = tmp_path / "store"
    store.mkdir()
    stored = publish_run(finished(tmp_path / "run"), store, Setting.of([prepared], "val", judge=[]), "for tests")
    manifest = stored.manifest
    assert (manifest.name, manifest.rates, manifest.default_rate) == ("thumbnail-64", (BYTES,), None)
    assert (manifest.tokens.shape, manifest.tokens.codebook_size, manifest.tokens.bits) == ((192,), 16, 4 * 192)

    portrait = validation.centres(64, np.array([0]))[0].permute(1, 2, 0).contiguous().numpy()
    coder = Coder(stored, CPU)
    assert not coder.searchable
    payload = coder.pack(coder.tokens(portrait))
    face = coder.reconstruct(coder.unpack(unwrap(payload)))

    png = encode(portrait, "image/png")
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "sitecustomize.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", f"{plugin}{os.pathsep}{ROOT}")
    with serve(tmp_path / "log", store=store, workers=1) as server:
        headers = {"Content-Type": "image/png", "Accept": "application/vnd.cameo"}
        answer = server.client.post("/compress?frame=asis", content=png, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.content == payload
        drawn = server.client.post("/reconstruct", content=payload, headers={"Content-Type": "application/vnd.cameo"})
        assert drawn.status_code == 200, drawn.text
        np.testing.assert_array_equal(decode(drawn.content, 64 * 64), face)


def test_the_same_seed_gives_a_new_kind_the_same_weights(
    recipe: Recipe, data: Portraits, validation: Portraits, tmp_path: Path
) -> None:
    assert train(recipe, tmp_path / "one", data, validation, device=CPU)
    assert train(recipe, tmp_path / "other", data, validation, device=CPU)
    one, other = (torch.load(tmp_path / name / "checkpoint.pt")["model"] for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    before = nn.build(recipe.model).state_dict()
    assert not all(torch.equal(one[name], before[name]) for name in before), "nothing was learnt"


def test_a_kind_that_training_does_not_know_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(kinds.KINDS, "thumbnail")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    with pytest.raises(ValueError, match=r"'thumbnail', which training does not know; .*training/kinds/__init__\.py"):
        read_recipe(tmp_path / "recipe.toml")
