"""The loop on small pictures: it learns, stops, resumes to the same curve, and fails clearly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from app.codec import decode_body, unwrap
from app.engine.models import Coder
from app.store.reader import read_version
from training import loop
from training.data import Portraits, load_portraits
from training.loop import schedule, train
from training.losses import terms
from training.publish import perplexity, publish_run
from training.recipe import Recipe, read_recipe

CPU = torch.device("cpu")


def run(recipe: Recipe, folder: Path, data: Portraits, seconds: float = 60.0) -> bool:
    return train(recipe, folder, data, data, None, CPU, save_seconds=seconds)


def curve(folder: Path) -> str:
    return (folder / "log.csv").read_text()


def averaged(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder / "checkpoint.pt", weights_only=True)["average"]
    return weights


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in the log after every three steps: the run stops between two of them."""
    monkeypatch.setattr(loop._Log, "EVERY", 3)


@pytest.mark.usefixtures("often")
def test_a_stopped_run_goes_on_to_the_same_curve(
    recipe_file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, data = read_recipe(recipe_file), load_portraits([pictures])
    assert run(recipe, tmp_path / "whole", data)

    real_terms, calls = terms, 0

    def stop_at_five(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return real_terms(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "terms", stop_at_five)
    assert not run(recipe, tmp_path / "parts", data)
    assert run(recipe, tmp_path / "parts", data)
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")
    whole, parts = averaged(tmp_path / "whole"), averaged(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_killed_process_resumes_from_its_last_checkpoint(pictures: Path, tmp_path: Path, recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text().replace("steps = 12", "steps = 100000"))
    command = [sys.executable, "-m", "training", "run", str(recipe_file), "--run", str(tmp_path / "run")]
    command += ["--data", str(pictures), "--validation", str(pictures), "--save-seconds", "0.2", "--threads", "1"]
    checkpoint = tmp_path / "run" / "checkpoint.pt"

    def until_saved(process: "subprocess.Popen[bytes]", before: int) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                return
            time.sleep(0.05)
        raise AssertionError("no checkpoint was written")

    with (tmp_path / "log").open("wb") as log:
        first = subprocess.Popen(command, stderr=log, stdout=log)
        until_saved(first, 0)
        first.kill()
        first.wait()
        steps = torch.load(checkpoint, weights_only=True)["state"]["step"]
        second = subprocess.Popen(command, stderr=log, stdout=log)
        until_saved(second, checkpoint.stat().st_mtime_ns)
        second.terminate()
        assert second.wait(30) == 0
    assert f"resumed at step {steps}" in (tmp_path / "log").read_text()
    assert torch.load(checkpoint, weights_only=True)["state"]["step"] > steps


def test_training_lowers_the_loss(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    recipe, data = read_recipe(recipe_file), load_portraits([pictures])
    optimise = recipe.optimise.model_copy(update={"steps": 200, "learning_rate": 3e-3})
    assert run(recipe.model_copy(update={"optimise": optimise}), tmp_path / "run", data)
    rows = [row.split(",") for row in curve(tmp_path / "run").split()]
    mse = rows[0].index("mse")
    assert float(rows[-1][mse]) < 0.9 * float(rows[1][mse])
    assert (tmp_path / "run" / "sample.png").exists()


def test_another_recipe_is_refused(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    recipe, data = read_recipe(recipe_file), load_portraits([pictures])
    run(recipe, tmp_path / "run", data)
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        run(recipe.model_copy(update={"seed": 9}), tmp_path / "run", data)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    recipe_file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, data = read_recipe(recipe_file), load_portraits([pictures])
    calls = 0

    def nan_at_five(*arguments: object) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        named = terms(*arguments)  # type: ignore[arg-type]
        return {name: value * (float("nan") if calls == 6 else 1) for name, value in named.items()}

    monkeypatch.setattr(loop, "terms", nan_at_five)
    with pytest.raises(FloatingPointError, match="not finite at step 5"):
        run(recipe, tmp_path / "run", data, seconds=0)
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["state"]["step"] == 5
    assert all(weights.isfinite().all() for weights in averaged(tmp_path / "run").values())
    assert run(recipe, tmp_path / "run", data)


def test_publishing_gives_a_version_that_serves(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    recipe, data = read_recipe(recipe_file), load_portraits([pictures])
    run(recipe, tmp_path / "run", data)
    (tmp_path / "store").mkdir()
    stored = publish_run(tmp_path / "run", tmp_path / "store", data, "for tests", {pictures.name: "made up"})
    assert read_version(stored.folder) == stored
    assert stored.manifest.training.data[0].licence == "made up"
    assert stored.manifest.training.steps == 12
    coder = Coder(stored, CPU)
    portrait = data.centres(64, slice(0, 1))[0].permute(1, 2, 0).numpy()
    payload = coder.pack(coder.tokens(portrait))
    assert [len(payload)] == list(stored.manifest.rates)
    assert (decode_body(unwrap(payload), coder.levels) == coder.tokens(portrait)).all()
    again = publish_run(tmp_path / "run", tmp_path / "store", data, "for tests", {})
    assert again.manifest.version == 2
    assert "for tests" in (stored.folder / "card.md").read_text()


def test_an_unfinished_run_is_not_published(
    recipe_file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, data = read_recipe(recipe_file), load_portraits([pictures])
    monkeypatch.setattr(loop.Stop, "requested", True)
    assert not run(recipe, tmp_path / "run", data)
    (tmp_path / "store").mkdir()
    with pytest.raises(ValueError, match="let it finish first"):
        publish_run(tmp_path / "run", tmp_path / "store", data, "for tests", {})
    assert list((tmp_path / "store").iterdir()) == []


def test_schedule_rises_and_falls() -> None:
    rates = [schedule(step, 10, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.01


def test_perplexity_of_even_and_of_single_use() -> None:
    even = torch.arange(64).repeat(100)[:, None].numpy()
    assert perplexity(even, 64)["share"] == pytest.approx(1.0)
    single = torch.zeros(6400, 1, dtype=torch.int64).numpy()
    assert perplexity(single, 64)["mean"] == pytest.approx(1.0)
