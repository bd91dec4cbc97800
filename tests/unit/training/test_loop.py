"""The loop on small pictures: it learns, stops, resumes to the same curve, and fails clearly."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cameo.nn import build
from cameo.nn.progressive import Progressive
from cameo.pictures.quality import installed_judge
from tests.tiny import tiny_model
from training import loop
from training.data.portraits import Portraits
from training.evaluation.evaluate import Setting
from training.kinds import progressive
from training.loop import schedule, train
from training.losses import Criterion, Networks
from training.publish import finished, publish_run
from training.recipe import Optimise, Quantiser, Recipe, read_recipe
from training.record import Record

CPU = torch.device("cpu")


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return read_recipe(recipe_file)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in the log after every three steps, so that a run stops between two of them; one validation is enough."""
    monkeypatch.setattr(Record, "EVERY", 3)
    monkeypatch.setattr(loop, "VALIDATIONS", 1)


def run(recipe: Recipe, folder: Path, data: Portraits, **options: Any) -> bool:
    return train(recipe, folder, data, data, device=CPU, **options)


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    new = {name: getattr(recipe, name).model_copy(update=values) for name, values in sections.items()}
    return recipe.model_copy(update=new)


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows]


def checkpoint(folder: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(folder / "checkpoint.pt", weights_only=True)
    return saved


def same_weights(a: Path, b: Path) -> bool:
    one, other = checkpoint(a), checkpoint(b)
    return all(torch.equal(one[part][k], other[part][k]) for part in ("model", "average") for k in one[part])


def at_call(number: int, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the loss do something at its n-th call: ``act`` gets its terms and returns others."""
    real, calls = Criterion.forward, 0

    def forward(self: Criterion, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        named = real(self, *arguments)
        return act(named) if calls == number else named

    monkeypatch.setattr(Criterion, "forward", forward)


def test_the_same_seed_gives_the_same_curve(recipe: Recipe, data: Portraits, tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert run(recipe, tmp_path / name, data)
    assert curve(tmp_path / "one") == curve(tmp_path / "other")
    assert same_weights(tmp_path / "one", tmp_path / "other")
    assert run(recipe.model_copy(update={"seed": 4}), tmp_path / "third", data)
    assert curve(tmp_path / "third") != curve(tmp_path / "one")


def test_a_stopped_run_goes_on_to_the_same_curve(
    recipe: Recipe, data: Portraits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(recipe, tmp_path / "whole", data)

    def stop(named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return named

    at_call(5, stop, monkeypatch)
    assert not run(recipe, tmp_path / "parts", data)
    assert checkpoint(tmp_path / "parts")["state"]["step"] == 5
    assert run(recipe, tmp_path / "parts", data)
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")
    assert same_weights(tmp_path / "parts", tmp_path / "whole")


def test_training_lowers_the_loss_and_leaves_what_people_look_at(
    recipe: Recipe, data: Portraits, tmp_path: Path
) -> None:
    recipe = changed(recipe, optimise={"steps": 200, "learning_rate": 3e-3})
    assert run(recipe, tmp_path / "run", data)
    rows = curve(tmp_path / "run")
    assert float(rows[-1]["mse"]) < 0.95 * float(rows[0]["mse"])
    assert {"total", "learning_rate"} <= rows[0].keys()
    assert ("perplexity" in rows[0]) == recipe.model["kind"].startswith("vqvae")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {
        "checkpoint.pt", "curves.png", "log.csv", "recipe.json", "sample.png", "tensorboard", "validation.csv"
    }  # fmt: skip


def test_epochs_are_times_that_every_portrait_is_seen(recipe: Recipe, data: Portraits, tmp_path: Path) -> None:
    recipe = changed(recipe, optimise={"steps": None, "epochs": 2})
    assert run(recipe, tmp_path / "run", data)
    assert checkpoint(tmp_path / "run")["state"]["step"] == 2 * len(data) // 8


def test_half_precision_and_channels_last_learn_about_the_same(recipe: Recipe, data: Portraits, tmp_path: Path) -> None:
    assert run(recipe, tmp_path / "plain", data)
    fast = changed(recipe, optimise={"precision": "bfloat16", "channels_last": True})
    assert run(fast, tmp_path / "fast", data)
    ends = [float(curve(tmp_path / name)[-1]["mse"]) for name in ("plain", "fast")]
    assert ends[0] != ends[1]
    assert ends[1] == pytest.approx(ends[0], rel=0.05)


def test_another_recipe_in_the_run_folder_is_refused(recipe: Recipe, data: Portraits, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run", data)
    wider = recipe.model_copy(update={"model": recipe.model | {"width": 16}})
    for other in (recipe.model_copy(update={"seed": 9}), wider):
        with pytest.raises(ValueError, match="holds a run of another recipe"):
            run(other, tmp_path / "run", data)


def test_a_checkpoint_of_another_architecture_is_refused(recipe: Recipe, data: Portraits, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run", data)
    wider = recipe.model_copy(update={"model": recipe.model | {"width": 16}})
    run(wider, tmp_path / "wider", data)
    (tmp_path / "wider" / "checkpoint.pt").replace(tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(ValueError, match="is of another architecture than the recipe"):
        run(recipe, tmp_path / "run", data)


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_checkpoint_cut_short_is_refused(recipe: Recipe, data: Portraits, tmp_path: Path, length: int) -> None:
    run(recipe, tmp_path / "run", data)
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"checkpoint.pt is damaged .* or delete the run folder"):
        run(recipe, tmp_path / "run", data)


def test_other_data_on_resume_is_refused(recipe: Recipe, data: Portraits, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run", data)
    data.sources = [data.sources[0] | {"sha256": "0" * 64}]
    with pytest.raises(ValueError, match="was begun on other data: blobs"):
        run(recipe, tmp_path / "run", data)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    recipe: Recipe, data: Portraits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_call(6, lambda named: named | {"mse": named["mse"] * float("nan")}, monkeypatch)
    with pytest.raises(FloatingPointError, match=r"not finite at step 5: \{'mse': nan"):
        run(recipe, tmp_path / "run", data, save_seconds=0)
    saved = checkpoint(tmp_path / "run")
    assert saved["state"]["step"] == 5
    assert all(weights.isfinite().all() for weights in saved["average"].values() if weights.is_floating_point())
    assert run(recipe, tmp_path / "run", data)


def test_data_cut_short_while_training_stops_and_keeps_the_checkpoint(
    recipe: Recipe, data: Portraits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = data.rows, 0

    def rows(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 8:
            raise OSError("portraits.bin was cut short")
        return real(*arguments)

    monkeypatch.setattr(data, "rows", rows)
    with pytest.raises(OSError, match="cut short"):
        run(recipe, tmp_path / "run", data, save_seconds=0)
    monkeypatch.undo()
    assert checkpoint(tmp_path / "run")["state"]["step"] > 0
    assert run(recipe, tmp_path / "run", data)


def test_a_run_begins_with_a_published_version(recipe: Recipe, data: Portraits, prepared: Path, tmp_path: Path) -> None:
    run(recipe, tmp_path / "first", data)
    (tmp_path / "store").mkdir()
    setting = Setting.of([prepared], "val", judge=[])
    version = publish_run(finished(tmp_path / "first"), tmp_path / "store", setting, "for tests").folder
    run(recipe, tmp_path / "second", data, start=version)
    assert f'"from": "{recipe.name}/1, tag ' in (tmp_path / "second" / "recipe.json").read_text()
    first, second = (float(curve(tmp_path / name)[0]["mse"]) for name in ("first", "second"))
    assert second < first
    with pytest.raises(ValueError, match="another recipe or beginning"):
        run(recipe, tmp_path / "second", data)

    refitted = recipe.model_copy(update={"optimise": recipe.optimise.model_copy(update={"refit": True, "steps": 1})})
    run(refitted, tmp_path / "refitted", data, start=version)
    weights, published = checkpoint(tmp_path / "refitted")["model"], load_file(version / "model.safetensors")
    unlearnt = checkpoint(tmp_path / "first")["model"]
    networks = [name for name, p in build(recipe.model).named_parameters() if p.requires_grad]
    torch.testing.assert_close(
        {name: weights[name] for name in networks}, {name: published[name].float() for name in networks},
        atol=0.01, rtol=0,
    )  # fmt: skip
    for transform in (name for name in weights if "to_bands" in name):
        assert torch.equal(weights[transform], unlearnt[transform])

    wider = recipe.model_copy(update={"model": recipe.model | {"width": 16}})
    with pytest.raises(ValueError, match="has another architecture than the recipe"):
        run(wider, tmp_path / "third", data, start=version)
    with pytest.raises(ValueError, match="--from"):
        run(recipe, tmp_path / "fourth", data, start=tmp_path / "nowhere")


def test_schedule_rises_and_falls() -> None:
    rates = [schedule(step, 10, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.01


def test_the_average_of_a_constant_is_that_constant(recipe: Recipe, data: Portraits, tmp_path: Path) -> None:
    still = changed(recipe, optimise={"learning_rate": 1e-12, "weight_decay": 0.0})
    run(still, tmp_path / "run", data)
    saved = checkpoint(tmp_path / "run")
    for name, weights in saved["model"].items():
        if name.startswith(("encoder", "decoder")):
            # At the end the latents of a progressive code get the unit that suits its budgets.
            unit = "_latents" in name and isinstance(build(recipe.model), Progressive)
            scales = [float(t.norm()) if unit else 1.0 for t in (saved["average"][name], weights)]
            torch.testing.assert_close(saved["average"][name] / scales[0], weights / scales[1])


def test_a_transform_that_learns_and_an_order_that_follows_resume_too(
    recipe: Recipe, data: Portraits, tmp_path: Path
) -> None:
    searched = 0.5 if recipe.model["kind"] == "progressive" else 0.0
    changes: dict[str, Any] = {"optimise": {"transform": 0.1}, "quantiser": {"reorders": 2, "searched": searched}}
    moving, whole, parted = changed(recipe, **changes), tmp_path / "whole", tmp_path / "parted"
    sees = {"networks": Networks(installed_judge())}
    assert run(moving, whole, data, **sees)

    class Interrupting(Record):
        def add(self, step: int, values: dict[str, float]) -> dict[str, float] | None:
            if step == 4:  # the first new order is at step 4, the second at 8
                os.kill(os.getpid(), signal.SIGTERM)
            return super().add(step, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Record", Interrupting)
        assert not run(moving, parted, data, **sees)
    assert run(moving, parted, data, **sees)
    assert curve(whole) == curve(parted)
    assert same_weights(whole, parted)


def test_a_run_that_calls_its_own_state_the_codebook_goes_on(recipe: Recipe, data: Portraits, tmp_path: Path) -> None:
    """As all did before there were kinds."""
    assert run(recipe, tmp_path / "run", data)
    path, saved = tmp_path / "run" / "checkpoint.pt", checkpoint(tmp_path / "run")
    own = saved.pop("kind")
    torch.save(saved | {"codebook": own}, path)
    assert run(recipe, tmp_path / "run", data)
    again = checkpoint(tmp_path / "run")["kind"]
    assert again.keys() == own.keys()
    assert all(torch.equal(again[name], own[name]) for name in own)


def test_the_first_faces_of_a_batch_are_searched() -> None:
    model = tiny_model("tiny-progressive")
    assert isinstance(model, Progressive)
    x_BCHW, q = torch.rand(5, 3, 64, 64) * 2 - 1, Quantiser(searched=0.4)
    sface = Networks(installed_judge()).recogniser("sface")
    moved_B = progressive.search_some(model, sface, x_BCHW, torch.full((5,), 500), q).abs().amax(1)
    assert moved_B.gt(0).tolist() == [True] * 2 + [False] * 3


def test_the_decoder_may_learn_alone() -> None:
    for transform, learnt in ((0.0, {"networks"}), (0.1, {"networks", "transform"})):
        model = tiny_model("tiny-progressive")
        optimise = Optimise(steps=1, encoder=False, transform=transform)
        chosen = [p for group in loop.groups(model, optimise) for p in group["params"]]
        assert all(p.requires_grad for p in chosen)
        assert not any(p.requires_grad for p in model.encoder.parameters())
        named = {id(p): name for name, p in model.named_parameters()}
        names = [named[id(p)] for p in chosen]
        assert all(name.startswith("decoder.") for name in names)
        assert len(names) == len(set(names))
        fitted = {"from_latents", "from_bands"}
        assert {"transform" if fitted & set(name.split(".")) else "networks" for name in names} == learnt


def test_the_scale_of_latents_can_change_without_changing_a_picture() -> None:
    model = tiny_model("tiny-progressive")
    assert isinstance(model, Progressive)
    x, count = torch.rand(2, 3, 64, 64) * 2 - 1, torch.tensor([500, 500])
    z = model.encoder(x)
    before = model.decoder(z, count)
    progressive.rescale(model, 3.0)
    assert torch.allclose(model.encoder(x), z / 3, atol=1e-4)
    assert torch.allclose(model.decoder(z / 3, count), before, atol=1e-4)
