"""The whole of ``python -m training recognition`` on small pictures and models."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.conftest import picture
from training.evaluation import bootstrap, recognition

PEOPLE = 14


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Blobs: a person's two pictures are nearly the same; half of the people are round, the others square."""
    folder, pairs, groups = tmp_path / "people", ["image_a,image_b,same_person"], ["person,shape"]
    for person in range(PEOPLE):
        (folder / str(person)).mkdir(parents=True)
        first = np.asarray(picture(100 + person, 128))
        Image.fromarray(first).save(folder / str(person) / "a.png")
        Image.fromarray(first // 2 + 64).save(folder / str(person) / "b.png")
        pairs.append(f"{person}/a.png,{person}/b.png,1")
        groups.append(f"{person},{'round' if person % 2 else 'square'}")
    (tmp_path / "pairs.csv").write_text("\n".join(pairs) + "\n")
    (tmp_path / "groups.csv").write_text("\n".join(groups) + "\n")
    return [
        "--faces", str(folder), "--pairs", str(tmp_path / "pairs.csv"), "--groups", str(tmp_path / "groups.csv"),
        "--out", str(tmp_path / "out"), "--judge", "sface",
    ]  # fmt: skip


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    recognition.add_command(parser.add_subparsers())
    options = parser.parse_args(["recognition", "--device", "cpu", *arguments])
    code: int = options.act(options)
    return code


def test_models_rivals_and_templates_by_group(
    tmp_path: Path, tiny_store: Path, prepared: Path, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "SAMPLES", 30)
    command = [
        "tiny-vae/2", "--store", str(tiny_store), "--codecs", "webp,avif", "--rates", "250", "--templates", "8",
        "--fit", str(prepared), *given,
    ]  # fmt: skip
    assert run_command(*command) == 0
    out = tmp_path / "out"
    result = json.loads((out / "recognition.json").read_text())
    assert (result["references"], result["pictures"], result["mated"]) == (PEOPLE, 2 * PEOPLE, PEOPLE)
    assert result["impostors"] == PEOPLE * 2 * (PEOPLE - 1)
    assert [row["kind"] for row in result["rows"]] == ["uncompressed", "model", "codec", "template"]  # no AVIF so small
    assert result["rows"][2]["bytes"]["max"] <= 250
    assert result["rows"][3]["bytes"] == {"mean": 8, "max": 8}
    for row in result["rows"]:
        for found in (row["recognisers"], *row["groups"]["shape"].values()):
            assert 0 <= found["sface"]["fnmr_1"]["mean"] <= found["sface"]["fnmr_001"]["mean"] <= 1
    assert result["rows"][0]["recognisers"]["sface"]["identity"]["mean"] == pytest.approx(1)
    both = [result["rows"][1]["groups"]["shape"][group]["sface"]["fnmr_01"]["mean"] for group in ("round", "square")]
    assert np.mean(both) == pytest.approx(result["rows"][1]["recognisers"]["sface"]["fnmr_01"]["mean"], abs=1e-3)
    assert {rise["attribute"] for rise in result["rises"]} == {"shape"}
    assert "template" in (out / "table.md").read_text()

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in {".npy", ".webp", ".cameo"}}
    removed = next(path for path in before if path.suffix == ".webp")
    removed.unlink()
    assert run_command(*command) == 0
    again = {path: path.stat().st_mtime_ns for path in before}
    assert [path for path in before if again[path] != before[path]] == [removed]
    assert json.loads((out / "recognition.json").read_text()) == result


def test_a_picture_may_be_compared_with_itself(
    tmp_path: Path, tiny_store: Path, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "SAMPLES", 30)
    table = tmp_path / "pairs.csv"
    table.write_text(table.read_text().replace("/b.png", "/a.png"))
    assert run_command("tiny-vae/2", "--store", str(tiny_store), *given) == 0
    rows = json.loads((tmp_path / "out" / "recognition.json").read_text())["rows"]
    assert rows[0]["recognisers"]["sface"]["fnmr_001"]["mean"] == 0


def test_what_does_not_fit_together_is_refused(tmp_path: Path, tiny_store: Path, given: list[str]) -> None:
    def refused(message: str, *more: str) -> None:
        with pytest.raises(ValueError, match=message):
            run_command("tiny-vae/2", "--store", str(tiny_store), *given, *more)

    refused("no codec 'gif'", "--codecs", "gif")
    refused("--templates needs --fit", "--templates", "16")
    (tmp_path / "groups.csv").write_text("person,shape\n99,round\n")
    refused("names 99, who has no picture")
    (tmp_path / "groups.csv").write_text("name,shape\n1,round\n")
    refused("no column person")
    (tmp_path / "pairs.csv").write_text("image_a,image_b,same_person\n0/a.png,0/c.png,1\n")
    refused(r"names 0/c\.png, which is not below")
