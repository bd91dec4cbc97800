"""The report on made-up runs: its numbers are those of the evaluation, and it says what is missing."""

import argparse
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cameo.nn import build
from cameo.nn.vae import VAE
from tests.faces import astronaut
from training.checkpoint import write
from training.evaluation.trained import from_run, read_run
from training.experiments import report
from training.experiments.chapters import answer, equal
from training.experiments.stories import Story, collect
from training.recipe import Recipe

SMALL = {"size": 64, "patch": 16, "bands": 8, "latents": [20, 4], "width": 8, "depth": 1, "refine": 4}
MODELS: dict[str, dict[str, Any]] = {
    "vae": {"kind": "vae", "bits": 64} | SMALL,
    "vqvae": {"kind": "vqvae", "tokens": 12, "codes": 16, "code_dim": 2} | SMALL,
    "grid": {"kind": "vqvae-grid", "size": 64, "width": 8, "depth": 1, "codes": 16, "code_dim": 4},
}
DATA = [{"name": "faces", "pictures": 80, "people": 7, "sha256": "0" * 64, "licence": "CC0"}]


def make_run(runs: Path, name: str, model: str, steps: int = 40, finished: bool = True, **quantiser: Any) -> None:
    """A run folder without the training: random weights, and a log that a formula wrote."""
    torch.manual_seed(0)
    network = build(MODELS[model]).requires_grad_(False)
    if isinstance(network, VAE):
        network.quantiser.calibrate(torch.randn(50, 24), torch.full((24,), 0.1), 64)
    recipe = Recipe.model_validate({
        "name": name, "description": "for tests", "model": MODELS[model], "losses": {"kl": 0.1, "identity": 0},
        "quantiser": quantiser, "optimise": {"steps": steps, "batch": 16},
    })  # fmt: skip
    (runs / name).mkdir(parents=True)
    (runs / name / "recipe.json").write_text(
        json.dumps({"recipe": recipe.model_dump(mode="json"), "commit": "0123456789abcdef"})
    )
    state = {"step": steps, "seconds": 180.0, "machine": "an abacus", "data": DATA, "started": "then"}
    average = dict(network.named_parameters()) | dict(network.named_buffers())
    write(
        runs / name / "checkpoint.pt", {"average": average, "state": state | ({"finished": "now"} if finished else {})}
    )
    other = "kl" if model == "vae" else "commitment"
    lines = [f"step,mse,{other},total,images_per_second,perplexity"]
    lines += [f"{s},{8 / s},{1 / s},{9 / s},{200 + s},{s / 4}" for s in range(20, steps + 1, 20)]
    (runs / name / "log.csv").write_text("\n".join(lines) + "\n")


def figure(mean: float, half: float = 0.01) -> dict[str, float]:
    return {"mean": mean, "sd": half, "low": mean - half, "high": mean + half}


def verification(size: float, accuracy: float) -> dict[str, Any]:
    found = {"identity": figure(accuracy - 0.2), "accuracy": figure(accuracy), "true_accepts": figure(accuracy - 0.05)}
    return {"bytes": figure(size, 0) | {"max": size}, "sface": found, "dlib": found | {"accuracy": figure(0.6)}}


def row(runs: Path, name: str, size: float, accuracy: float, perplexity: float = 9.0) -> dict[str, Any]:
    return {
        "label": str(runs / name), "kind": "model", "name": name, "version": None, "portrait": 64,
        "sha256": from_run(read_run(runs / name)).digest, "bytes": figure(size, 0) | {"max": size},
        "psnr": figure(20 + 10 * accuracy), "identity": figure(accuracy - 0.1), "jpeg85_bytes": figure(1536, 20),
        "codebook": {"mean": perplexity, "share": perplexity / 16, "share_corrected": 0.7, "codes_used": 0.75},
        "verification": verification(size, accuracy),
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "runs"
    make_run(folder, "compare-vae-64-20", "vae")
    make_run(folder, "compare-vqvae-64-20", "vqvae", steps=80)
    make_run(folder, "compare-vqvae-128-50", "vqvae", finished=False)
    make_run(folder, "compare-vae-64-equal", "vae", steps=19)
    make_run(folder, "ablate-all", "grid", anneal=0.9)
    make_run(folder, "ablate-no-revival", "grid", anneal=0.9, revive=0.0)
    make_run(folder, "ablate-none", "grid", update="gradient", revive=0.0)
    return folder


@pytest.fixture(scope="module")
def evaluation(runs: Path) -> dict[str, Any]:
    return {
        "format": 1, "protocol": "600 portraits of 42 people", "data": [DATA[0] | {"name": "others"}],
        "pairs": {"same": 30, "different": 31, "coded": 50, "sha256": "1" * 64}, "recognisers": ["sface", "dlib"],
        "rows": [
            {"label": "uncompressed", "kind": "uncompressed", "verification": verification(49152, 0.985)},
            row(runs, "compare-vae-64-20", 68, 0.911),
            row(runs, "compare-vqvae-64-20", 292, 0.979),
            row(runs, "ablate-all", 292, 0.9, 12.0),
            row(runs, "ablate-no-revival", 292, 0.88, 7.0),
            row(runs, "ablate-none", 292, 0.8, 3.0),
        ],
    }  # fmt: skip


def make_report(folder: Path, runs: Path, evaluation: dict[str, Any], *more: str) -> str:
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    parser = argparse.ArgumentParser()
    report.add_command(parser.add_subparsers())
    options = parser.parse_args([
        "report", "--runs", str(runs), "--evaluation", str(folder / "evaluation.json"),
        "--out", str(folder / "docs" / "report.md"), *more,
    ])  # fmt: skip
    assert options.act(options) == 0
    return (folder / "docs" / "report.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def page(folder: Path, runs: Path, evaluation: dict[str, Any]) -> str:
    Image.fromarray(astronaut()).save(folder / "photo.png")
    return make_report(
        folder, runs, evaluation, "--picture", str(folder / "photo.png"), "--credit", "She is an astronaut."
    )


def told(runs: Path, evaluation: dict[str, Any], *names: str) -> list[Story]:
    return collect(list(names), runs, evaluation).of(list(names))


def table_row(page: str, start: str) -> list[list[str]]:
    """The cells of every row of a table that begins so."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith(f"| {start} ")
    ]


def test_the_question_is_answered_by_the_evaluation(page: str) -> None:
    assert "**By SFace: yes, in 292 bytes.** With `compare-vqvae-64-20`" in page
    assert "accuracy of 0.979 (0.969 to 0.989) and accepts 0.929 (0.919 to 0.939)" in page
    assert "uncompressed, that is 0.985 (0.975 to 0.995) and 0.935 (0.925 to 0.945)" in page
    assert table_row(page, "**compare-vae-64-20**")[0][5] == "no"
    assert table_row(page, "**compare-vqvae-64-20**")[0][5] == "yes"


def test_where_no_run_keeps_identity_the_answer_is_no(runs: Path, evaluation: dict[str, Any]) -> None:
    changed = deepcopy(evaluation)
    for r in changed["rows"][1:]:
        r["verification"]["dlib"]["accuracy"] = figure(0.55)
    text, table, _ = answer(changed, told(runs, changed, "compare-vae-64-20", "compare-vqvae-64-20"))
    assert "By dlib's network, which took no part in training: not in these runs." in text
    assert table_row(table, "**compare-vqvae-64-20**")[0][5] == "yes"
    assert table_row(table, "**compare-vqvae-64-20**")[0][9] == "no"


def test_the_comparison_table_has_its_measure_beside_the_true_one(page: str) -> None:
    cells = table_row(page, "**compare-vae-64-20**")[1]
    assert cells[1:] == ["8", "12,288", "1,536 (1,516 to 1,556)", "8.0", "68", "181", "0.133"]
    assert "By that measure these runs compress 8.0 times, in truth 42 to 181 times." in page


def test_ours_are_compared_with_theirs_by_what_is_lost(page: str) -> None:
    ours, earlier = "`compare-vqvae-64-20`, 292 bytes: 0.6 points", "The earlier checkpoint, 288 bytes: 3.8."
    assert ours in page
    assert earlier in page


def test_the_ablation_compares_with_the_first_run(page: str) -> None:
    assert "- Without revival of dead codes: perplexity 7 instead of 12, PSNR -0.20 dB, identity -0.020." in page
    everything = "moving averages, annealing of the commitment cost and revival of dead codes"
    assert f"- Without {everything}: perplexity 3 instead of 12, PSNR -1.00 dB, identity -0.100." in page
    assert table_row(page, "**ablate-all**")[0][1:7] == ["yes", "yes", "yes", "12", "16", "75%"]
    assert table_row(page, "**ablate-none**")[0][1:4] == ["", "", ""]


@pytest.mark.parametrize(("identity", "said"), [(0.811, "by 0.068."), (0.870, "by 0.009; their intervals overlap.")])
def test_two_models_at_equal_bytes(runs: Path, evaluation: dict[str, Any], identity: float, said: str) -> None:
    changed = deepcopy(evaluation)
    changed["rows"][1]["identity"] = figure(identity)
    text, _ = equal(told(runs, changed, "compare-vae-64-20", "compare-vqvae-64-20"))
    assert f"- identity: `compare-vqvae-64-20` (292 bytes) is ahead of `compare-vae-64-20` (68 bytes) {said}\n" in text


def test_losses_and_training_are_those_of_the_runs(page: str) -> None:
    assert "- `compare-vae-64-20` ended at 0.225 after 40 steps: reconstruction 0.2, KL 0.025." in page
    assert "- `compare-vqvae-64-20` ended at 0.1125 after 80 steps: reconstruction 0.1, commitment 0.0125." in page
    assert table_row(page, "**compare-vqvae-64-20**")[-1][1:] == [
        "80", "16.0", "3", "250", "0", "an abacus", "`0123456789ab`"
    ]  # fmt: skip
    assert "- trained on faces: 80 pictures of 7 people; CC0" in page
    assert "- measured on others: 80 pictures of 7 people; CC0" in page


def test_every_picture_of_the_page_is_there(folder: Path, page: str) -> None:
    pictures = re.findall(r"!\[.+\]\((.+)\)", page)
    assert [Path(name).stem for name in pictures] == ["rates", "vae-loss", "vq-vae-loss", "faces", "perplexity"]
    for name in pictures:
        with Image.open(folder / "docs" / name) as picture:
            assert min(picture.size) > 100
    assert "She is an astronaut." in page


def test_what_is_missing_is_named_with_the_way_to_get_it(
    tmp_path: Path, runs: Path, evaluation: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = evaluation | {"rows": [r for r in evaluation["rows"] if r.get("name") != "ablate-none"]}
    page = make_report(tmp_path, runs, changed, "--ablation", "ablate-none")
    recipe = "training/experiments/recipes/compare-vae-64-50"
    assert f"- `compare-vae-64-50` is not here: train it: `python -m training run {recipe}" in page
    assert "- `compare-vqvae-128-50` is not here: it stands at step 40; the command that began it goes on" in page
    assert f"- `ablate-none` is not here: it is trained, not evaluated: `python -m training evaluate {runs}" in page
    assert f"- `compare-vae-64-equal` is not here: {runs}/compare-vae-64-equal/log.csv is empty" in page
    assert "missing: compare-vae-64-50: train it" in capsys.readouterr().out
    assert "faces.png" not in page, "nobody named a picture that may be shown"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 7}, "is no evaluation .format 7."),
        ({"pairs": None}, "says nothing of identity: evaluate with --faces and --pairs"),
        ({"recognisers": ["dlib"]}, "says nothing of identity"),
        ({"rows": []}, "no finished and evaluated run below .*runs is one of compare-vae-64-20"),
    ],
)
def test_an_evaluation_that_cannot_be_told_is_a_clear_error(
    tmp_path: Path, runs: Path, evaluation: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_report(tmp_path, runs, evaluation | change)


def test_an_evaluation_of_other_weights_is_refused(runs: Path, evaluation: dict[str, Any]) -> None:
    changed = deepcopy(evaluation)
    changed["rows"][1]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="other weights now than those that were evaluated"):
        collect(["compare-vae-64-20"], runs, changed)
