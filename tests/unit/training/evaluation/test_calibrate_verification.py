"""The whole of ``python -m training calibrate-verification`` on small pictures and models."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cameo import codec
from cameo.faces.judge import IdentityJudge
from cameo.faces.verification import FILE, FMRS, Calibration, read_calibration
from cameo.store.reader import read_version
from tests.unit.training.conftest import picture
from training.data.prepare import Settings, prepare
from training.evaluation import bootstrap, calibrate_verification, impostors

PEOPLE = 30


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few samples; a recogniser that takes no time; and 870 comparisons are enough."""
    monkeypatch.setattr(bootstrap, "SAMPLES", 20)
    monkeypatch.setattr(impostors, "LEAST_MATCHES", 1e-9)

    def embed(_: IdentityJudge, portrait: NDArray[np.uint8]) -> NDArray[np.float32]:
        side = len(portrait) // 4
        vector = portrait.reshape(4, side, 4, side, 3).mean((1, 3)).ravel() - 128
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    monkeypatch.setattr(IdentityJudge, "embed", embed)


@pytest.fixture
def people(tmp_path: Path) -> list[str]:
    """Options: a data set of blobs, each a person of its own, and a folder of people in two pictures each."""
    for person in range(PEOPLE):
        (tmp_path / "blobs").mkdir(exist_ok=True)
        picture(person).save(tmp_path / "blobs" / f"{person:02}.png")
        (tmp_path / "test" / str(person)).mkdir(parents=True)
        first = np.asarray(picture(100 + person, 128))
        Image.fromarray(first).save(tmp_path / "test" / str(person) / "a.png")
        Image.fromarray(first // 2 + 64).save(tmp_path / "test" / str(person) / "b.png")
    prepare(tmp_path / "blobs", tmp_path / "data", Settings("blobs", "made up", split="val"))
    return ["--data", str(tmp_path / "data"), "--test", str(tmp_path / "test"), "--out", str(tmp_path / "out")]


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    calibrate_verification.add_command(parser.add_subparsers())
    options = parser.parse_args(["calibrate-verification", "--device", "cpu", *arguments])
    code: int = options.act(options)
    return code


def test_thresholds_are_measured_and_belong_to_their_version(
    tiny_store: Path, tmp_path: Path, people: list[str]
) -> None:
    command = ["tiny-progressive/1@48,96", *people, "--store", str(tiny_store)]
    assert run_command(*command) == 0
    out = tmp_path / "out"
    found = Calibration.parse((out / FILE).read_bytes())
    stored = read_version(tiny_store / "tiny-progressive" / "1")
    assert found.manifest == stored.digest
    assert [(rate.bytes, rate.efforts, rate.comparisons) for rate in found.rates] == [
        (48, ("fast",), PEOPLE * (PEOPLE - 1)), (96, ("fast",), PEOPLE * (PEOPLE - 1)),
    ]  # fmt: skip
    assert found.fmrs == list(FMRS)
    assert [(each.name, each.pictures) for each in found.data] == [("blobs", PEOPLE)]
    table = (out / "table.md").read_text()
    assert table.count("| fast |") == 2 * len(FMRS)
    assert "FNMR, test" in table

    folder = Path(shutil.copytree(stored.folder, tmp_path / "store" / "tiny-progressive" / "1"))
    shutil.copy(out / FILE, folder)
    assert read_calibration(read_version(folder)) == found


def test_stopped_it_goes_on(tiny_store: Path, tmp_path: Path, people: list[str]) -> None:
    command = ["tiny-progressive/1@48", *people, "--store", str(tiny_store)]
    assert run_command(*command) == 0
    first = (tmp_path / "out" / FILE).read_text()
    (folder,) = (tmp_path / "out" / "payloads" / "impostors").iterdir()
    kept, gone, cut = sorted(folder.iterdir())[:3]
    before = kept.stat().st_mtime_ns
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:9])
    assert run_command(*command) == 0
    assert kept.stat().st_mtime_ns == before
    assert (
        codec.unwrap(gone.read_bytes()).tag == codec.unwrap(cut.read_bytes()).tag == codec.unwrap(kept.read_bytes()).tag
    )
    again = (tmp_path / "out" / FILE).read_text()
    assert [line for line in again.splitlines() if "created" not in line] == [
        line for line in first.splitlines() if "created" not in line
    ]


def test_thresholds_are_of_one_version(tiny_store: Path, people: list[str]) -> None:
    with pytest.raises(ValueError, match="belong to one version of the store"):
        run_command("tiny-vae/1", "tiny-vae/2", *people, "--store", str(tiny_store))
