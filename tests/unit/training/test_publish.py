"""From a run to the store, and what may not go there."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cameo.codec import unwrap
from cameo.coder.coder import Coder
from cameo.errors import StoreError
from cameo.nn import Model
from cameo.store import forever
from cameo.store.reader import read_version
from tests.tiny import CONFIGS, PROGRESSIVE, tiny_model
from tests.unit.training.evaluation.test_trained import GRID, grid_model, make_run
from training.data.portraits import Portraits
from training.evaluation import bootstrap
from training.evaluation.evaluate import Setting
from training.evaluation.measure import Measured
from training.evaluation.trained import Trained, from_store
from training.kinds.progressive import RATES
from training.publish import finished, publish_run, worse

MODELS: dict[str, tuple[Model, dict[str, Any]]] = {
    "grid": (grid_model(), GRID),
    "vae": (tiny_model("tiny-vae"), CONFIGS["tiny-vae"]),
    "vqvae": (tiny_model("tiny-vqvae"), CONFIGS["tiny-vqvae"]),
}


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SAMPLES", 30)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def setting(prepared: Path) -> Setting:
    return Setting.of([prepared], "val", judge=[])


@pytest.mark.parametrize("kind", MODELS)
def test_a_published_run_serves(kind: str, tmp_path: Path, store: Path, setting: Setting, data: Portraits) -> None:
    run = finished(make_run(tmp_path / "run", *MODELS[kind]))
    stored = publish_run(run, store, setting, "for tests")
    assert read_version(stored.folder) == stored
    manifest = stored.manifest
    assert manifest.training.data[0].licence == "made up"
    assert (manifest.training.steps, manifest.training.images_seen) == (12, 96)
    assert manifest.quality["psnr"]["mean"] > 5  # type: ignore[index, call-overload, operator]
    assert manifest.quality["bytes"]["max"] == manifest.rates[0]  # type: ignore[index, call-overload]
    coder = Coder(stored, torch.device("cpu"))
    portrait = data.centres(manifest.portrait, np.array([0]))[0].permute(1, 2, 0).numpy()
    payload = coder.pack(coder.tokens(portrait))
    assert [len(payload)] == list(manifest.rates)
    assert (coder.unpack(unwrap(payload)) == coder.tokens(portrait)).all()
    card = (stored.folder / "card.md").read_text()
    assert "for tests" in card
    assert "blobs: 24 pictures of 24 people; licence: made up" in card
    assert "- PSNR, dB: " in card


def test_what_reads_differently_from_the_store_is_not_published(
    tmp_path: Path, store: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*given: Any) -> Trained:
        read = from_store(*given)
        with torch.no_grad():
            next(read.model.decoder.parameters()).add_(1e-4)
        return read

    monkeypatch.setattr("training.publish.from_store", changed)
    run = finished(make_run(tmp_path / "run", tiny_model("tiny-progressive"), PROGRESSIVE))
    with pytest.raises(ValueError, match="reads differently"):
        publish_run(run, store, setting, "for tests")
    assert not list(store.glob("*/*/manifest.json"))


def test_a_progressive_code_is_measured_at_its_rates(
    tmp_path: Path, store: Path, setting: Setting, data: Portraits
) -> None:
    run = finished(make_run(tmp_path / "run", tiny_model("tiny-progressive"), PROGRESSIVE))
    stored = publish_run(run, store, setting, "for tests")
    manifest = stored.manifest
    assert (manifest.rates, manifest.default_rate) == (RATES, 96)
    rows: Any = manifest.quality["rates"]
    assert all(rate - 1 <= row["bytes"]["max"] <= rate for rate, row in zip(RATES, rows, strict=True))
    tokens = [row["tokens"]["mean"] for row in rows]
    assert tokens == sorted(tokens)
    assert manifest.quality["psnr"] == rows[RATES.index(96)]["psnr"]
    coder = Coder(stored, torch.device("cpu"))
    portrait = data.centres(64, np.array([0]))[0].permute(1, 2, 0).numpy()
    # One is left out where a prefix could pass for the whole.
    assert len(coder.pack(coder.tokens(portrait))) in {95, 96}
    card = (stored.folder / "card.md").read_text()
    assert "any number of bytes from 32 to 320, by default 96" in card
    assert "| 320 | " in card


def test_a_published_version_is_on_the_list_of_those_that_stay(tmp_path: Path, store: Path, setting: Setting) -> None:
    (store / "FOREVER").touch()
    publish_run(finished(make_run(tmp_path / "run", *MODELS["grid"])), store, setting, "for tests")
    assert forever.problems(store) == []
    assert len(forever.versions(store)) == 1


def test_the_same_model_again_is_the_next_version(tmp_path: Path, store: Path, setting: Setting) -> None:
    run = finished(make_run(tmp_path / "run", *MODELS["grid"]))
    versions = [publish_run(run, store, setting, "for tests").manifest.version for _ in range(2)]
    assert versions == [1, 2]


def test_a_worse_version_is_refused_unless_told_so(tmp_path: Path, store: Path, setting: Setting) -> None:
    publish_run(finished(make_run(tmp_path / "good", *MODELS["grid"])), store, setting, "for tests")
    model = grid_model()
    with torch.no_grad():
        model.decoder[-1].bias += 2.0  # type: ignore[index]
    run = finished(make_run(tmp_path / "bad", model, GRID))
    before = sorted(store.rglob("*"))
    with pytest.raises(ValueError, match=r"bad is worse than tiny/1.*PSNR \d+\.\d+ instead of .*--even-if-worse"):
        publish_run(run, store, setting, "for tests")
    assert sorted(store.rglob("*")) == before
    assert publish_run(run, store, setting, "for tests", even_if_worse=True).manifest.version == 2


def test_a_version_that_cannot_be_used_is_not_compared_with(
    tmp_path: Path, store: Path, setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    run = finished(make_run(tmp_path / "run", *MODELS["grid"]))
    first = publish_run(run, store, setting, "for tests")
    first.weights.write_bytes(b"damaged")
    assert publish_run(run, store, setting, "for tests").manifest.version == 2
    assert "not compared with tiny/1" in caplog.text


def test_what_is_not_finished_or_no_run_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stands at step 12: let it finish first"):
        finished(make_run(tmp_path / "run", *MODELS["grid"], finished=False))
    with pytest.raises(ValueError, match="no run folder"):
        finished(tmp_path)


def test_a_missing_store_is_named(tmp_path: Path, setting: Setting) -> None:
    run = finished(make_run(tmp_path / "run", *MODELS["grid"]))
    with pytest.raises(StoreError, match=r"The model store cannot be read: .*nowhere"):
        publish_run(run, tmp_path / "nowhere", setting, "for tests")


def test_a_full_disk_leaves_the_store_as_it_was(
    tmp_path: Path, store: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(make_run(tmp_path / "run", *MODELS["grid"]))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        StoreError, match=r"cannot be written into .*: No space left on device\. The store is as it was"
    ):
        publish_run(run, store, setting, "for tests")
    assert list(store.iterdir()) == []


def test_the_manifest_says_what_a_run_began_with_and_knows_old_checkpoints(
    tmp_path: Path, store: Path, setting: Setting
) -> None:
    folder = make_run(tmp_path / "run", *MODELS["grid"])
    claim = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(claim | {"from": "tiny/7, tag 0a0b"}))
    saved = torch.load(folder / "checkpoint.pt")
    saved["state"]["data"] = [
        {"name": "faces", "pictures": 3, "people": None, "sha256": "1" * 64, "licence": "not stated"}
    ]
    torch.save(saved, folder / "checkpoint.pt")
    manifest = publish_run(finished(folder), store, setting, "for tests").manifest
    assert manifest.training.recipe["from"] == "tiny/7, tag 0a0b"
    assert manifest.training.data[0].people is None


def measured(bytes_: float, **values: float) -> Measured:
    """Forty portraits with figures near these."""
    spread = np.linspace(-0.2, 0.2, 40)
    figures = {name: value + spread for name, value in values.items()}
    return Measured({"bytes": np.full(40, bytes_)} | figures, {}, [])


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (measured(260, identity=0.80, psnr=27), None),
        (measured(260, identity=0.81, psnr=20), None),
        (measured(260, identity=0.79, psnr=30), "identity (SFace) 0.79"),
        (measured(300, identity=0.80, psnr=27), "300.0 bytes instead of 260.0, and no better for it"),
        (measured(300, identity=0.82, psnr=27), None),
        (measured(200, identity=0.80, psnr=27), None),
    ],
)
def test_which_version_is_worse(new: Measured, reason: str | None) -> None:
    found = worse(new, measured(260, identity=0.80, psnr=27), np.arange(40))
    assert found is None if reason is None else reason in (found or "")


def test_without_a_recogniser_psnr_decides() -> None:
    old, person_N = measured(260, psnr=27), np.arange(40)
    assert worse(measured(260, psnr=27.1), old, person_N) is None
    assert "PSNR" in (worse(measured(260, psnr=26.9), old, person_N) or "")


def test_a_difference_within_chance_is_none() -> None:
    rng = np.random.default_rng(3)
    old = Measured({"bytes": np.full(40, 260.0), "identity": rng.normal(0.80, 0.1, 40)}, {}, [])
    new = Measured({"bytes": np.full(40, 260.0), "identity": rng.normal(0.79, 0.1, 40)}, {}, [])
    assert new.value_N["identity"].mean() < old.value_N["identity"].mean()
    assert worse(new, old, np.arange(40)) is None
