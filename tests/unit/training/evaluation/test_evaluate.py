"""The whole of ``python -m training evaluate`` on small pictures and models."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cameo.pictures.decode import decode
from tests.unit.training.conftest import picture
from tests.unit.training.evaluation.test_trained import GRID, grid_model, make_run
from training.evaluation import bootstrap, evaluate
from training.evaluation.bootstrap import summary
from training.evaluation.charts import FACES, Strip, faces_sheet, rates
from training.evaluation.evaluate import slug
from training.evaluation.tables import markdown
from training.evaluation.verification import FOLDS

PEOPLE = FOLDS + 2


@pytest.fixture
def pairs(tmp_path: Path) -> list[str]:
    """Options for pairs of blobs: a person's two pictures are nearly the same."""
    folder, lines = tmp_path / "people", ["image_a,image_b,same_person"]
    for person in range(PEOPLE):
        (folder / str(person)).mkdir(parents=True)
        first = np.asarray(picture(100 + person, 128))
        Image.fromarray(first).save(folder / str(person) / "a.png")
        Image.fromarray(first // 2 + 64).save(folder / str(person) / "b.png")
        lines += [f"{person}/a.png,{person}/b.png,1", f"{person}/a.png,{(person + 1) % PEOPLE}/b.png,0"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return ["--faces", str(folder), "--pairs", str(tmp_path / "pairs.csv")]


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_command(parser.add_subparsers())
    options = parser.parse_args(["evaluate", "--device", "cpu", *arguments])
    code: int = options.act(options)
    return code


def test_models_and_rivals_on_the_same_portraits(
    tmp_path: Path, prepared: Path, tiny_store: Path, pairs: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(bootstrap, "SAMPLES", 30)
    run, out = make_run(tmp_path / "run", grid_model(), GRID), tmp_path / "out"
    code = run_command(
        str(run), "tiny-vae", "--store", str(tiny_store), "--data", str(prepared), "--out", str(out), "--eigenfaces",
        str(prepared), "--codecs", "webp,jpeg:30", "--rates", "40", *pairs,
    )  # fmt: skip
    assert code == 0
    evaluation = json.loads((out / "evaluation.json").read_text())
    rows = {row["label"]: row for row in evaluation["rows"]}
    assert list(rows) == [
        "uncompressed", str(run), "eigenfaces, 132 bytes", "webp, 132 bytes", "webp, 132 bytes without container",
        "tiny-vae/2", "eigenfaces, 16 bytes", "webp, 16 bytes", "webp, 16 bytes without container",
        "eigenfaces, 40 bytes", "webp, 40 bytes", "webp, 40 bytes without container", "jpeg q30",
    ]  # fmt: skip
    portraits = json.loads((prepared / "dataset.json").read_text())["pictures"]["val"]
    for label, row in rows.items():
        assert row["verification"]["sface"]["accuracy"]["low"] <= row["verification"]["sface"]["accuracy"]["high"]
        if label != "uncompressed":
            files = sorted((out / "payloads" / slug(label)).glob("*.*"))
            assert len(files) == portraits
            if "without" not in label and "eigen" not in label:
                sizes = [file.stat().st_size for file in files]
                assert row["bytes"]["mean"] == pytest.approx(np.mean(sizes), abs=1e-3)
                assert row["bytes"]["max"] == max(sizes)
    assert rows[str(run)]["bytes"]["max"] == 132
    assert rows[str(run)]["codebook"]["mean"] > 1
    assert rows["tiny-vae/2"]["version"] == 2
    assert rows["eigenfaces, 132 bytes"]["psnr"]["mean"] >= rows["eigenfaces, 16 bytes"]["psnr"]["mean"]
    assert rows["uncompressed"]["verification"]["sface"]["identity"]["mean"] == pytest.approx(1)
    assert evaluation["pairs"]["same"] == evaluation["pairs"]["coded"] == PEOPLE
    assert evaluation["portraits"] == portraits
    assert evaluation["data"][0]["name"] == "blobs"
    assert len(list((out / "payloads" / "tiny-vae-2" / "pairs").rglob("*.cameo"))) == PEOPLE
    table = (out / "table.md").read_text()
    assert f"| **{run}** | 132 |" in table
    assert table in capsys.readouterr().out
    # The original, which has no row, and every contender but the uncompressed one: in strips of 128 pixels.
    assert decode((out / "faces.png").read_bytes(), 10_000_000).shape[0] == len(rows) * (128 + 6)
    assert decode((out / "rates.png").read_bytes(), 10_000_000).std() > 5


def test_a_slip_is_found_before_the_work_begins(tmp_path: Path, prepared: Path, tiny_store: Path) -> None:
    def refused(message: str, *arguments: str) -> None:
        with pytest.raises((ValueError, OSError), match=message):
            run_command(*arguments, "--store", str(tiny_store), "--out", str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()

    data = ["--data", str(prepared)]
    refused("no codec 'png'", "tiny-vae", *data, "--codecs", "png")
    refused("no recogniser 'me'", "tiny-vae", *data, "--judge", "me")
    refused("belong together", "tiny-vae", *data, "--faces", str(tmp_path))
    refused("neither a run folder nor in the store", "tiny-vae/9", *data)
    refused("named twice", "tiny-vae/2", "tiny-vae", *data, "--portraits", "2")
    refused("lpips.npz is not there", "tiny-vae", *data, "--lpips", str(tmp_path / "lpips.npz"))
    refused("at least 1", "tiny-vae", *data, "--portraits", "0")
    refused("no split", "tiny-vae", *data, "--split", "dev")


def test_rates_are_whole_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command("tiny-vae", "--data", "x", "--out", "y", "--rates", "48,many")
    assert "'48,many': give whole numbers of at least 1" in capsys.readouterr().err


def figure(*values: float) -> dict[str, float]:
    return summary(np.array(values), np.arange(len(values)))


@pytest.fixture
def evaluation() -> dict[str, Any]:
    bytes_ = {"mean": 260.0, "sd": 0.0, "low": 260.0, "high": 260.0, "max": 260.0}
    verified = {"identity": figure(0.5, 0.7), "accuracy": figure(0.975), "true_accepts": figure(0.9)}
    model = {
        "label": "m/1", "kind": "model", "bytes": bytes_, "psnr": figure(27, 28), "identity": figure(0.8, 0.9),
        "lpips": figure(0.1, 0.3), "jpeg85_bytes": figure(1700, 1720),
        "codebook": {"mean": 180.44, "share": 0.7048, "share_corrected": 0.8423, "codes_used": 0.84},
        "verification": {"bytes": bytes_, "sface": verified},
    }  # fmt: skip
    rival = model | {
        "label": "webp, 260 bytes", "kind": "codec", "name": "webp", "budget": 260, "container": True,
        "bytes": bytes_ | {"mean": 250.5},
    }  # fmt: skip
    rival.pop("codebook")
    bare = {"label": "uncompressed", "kind": "uncompressed", "verification": model["verification"]}
    return {
        "protocol": "some portraits", "recognisers": ["sface"], "pairs": {"same": 3, "different": 4},
        "rows": [bare, model, rival],
    }  # fmt: skip


def test_tables_say_what_was_measured(evaluation: dict[str, Any]) -> None:
    page = markdown(evaluation)
    assert "| | bytes | PSNR, dB | LPIPS | identity |" in page
    assert "| **m/1** | 260 | 27.50 (27.00 to 28.00) | 0.200 (0.100 to 0.300) | 0.850 (0.800 to 0.900) |" in page
    assert "| webp, 260 bytes | 250 (at most 260) | 27.50" in page
    assert "3 pairs of one person and 4 of two" in page
    assert page.count("| uncompressed | 260 |") == 1
    assert "| **m/1** | 180.4 | 70.5% | 84.2% | 84.0% |" in page
    assert "| **m/1** | 260 | 1,710 (1,700 to 1,720) |" in page
    assert "Face verification" not in markdown(evaluation | {"pairs": None, "rows": evaluation["rows"][1:]})


def test_charts_have_a_panel_for_every_figure_there_is(evaluation: dict[str, Any]) -> None:
    def titles(rows: list[dict[str, Any]]) -> list[str]:
        return [ax.get_title(loc="left") for ax in rates(rows).axes if ax.get_visible()]

    assert titles(evaluation["rows"]) == [
        "identity, SFace cosine",
        "LPIPS, lower is better",
        "verification accuracy, SFace",
    ]
    model = {key: value for key, value in evaluation["rows"][1].items() if key not in {"lpips", "verification"}}
    assert titles([model]) == ["identity, SFace cosine"]


def test_a_sheet_shows_the_same_faces_for_everybody(evaluation: dict[str, Any]) -> None:
    pictures = [np.asarray(picture(seed, 128)) for seed in range(FACES)]
    small = [np.asarray(picture(seed, 64)) for seed in range(FACES)]
    strips = [Strip({"label": "original"}, pictures), Strip(evaluation["rows"][1], small)]
    page = decode(faces_sheet(strips), 10_000_000)
    np.testing.assert_array_equal(page[:128, -128 - 6 : -6], pictures[-1])
    assert page[:128, :200].std() > 5  # the caption
