"""What a run leaves behind: the same files after a kill as without one, and clear errors where there is no room."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.plots import read_table
from training.record import Record

PICTURES = torch.randint(0, 256, (12, 3, 64, 64), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
FILES = ("log.csv", "validation.csv")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row after every three steps."""
    monkeypatch.setattr(Record, "EVERY", 3)


def train(run: Path, first: int, last: int, partial: dict[str, float]) -> None:
    """Stands in for the loop: steps ``first`` to ``last``, validated after every fourth."""
    with Record(run, first, partial) as rows:
        for step in range(first, last):
            rows.add(step, {"mse": 1 / (step + 1), "total": 2 / (step + 1)})
            if (step + 1) % 4 == 0:
                rows.validate(step + 1, {"psnr": 20 + step}, PICTURES, 255 - PICTURES)


def texts(run: Path) -> list[str]:
    return [(run / name).read_text() for name in FILES]


def test_rows_are_means_since_the_last_row(tmp_path: Path) -> None:
    partial: dict[str, float] = {}
    with Record(tmp_path, 0, partial) as rows:
        assert rows.add(0, {"mse": 1.0}) is None
        assert rows.add(1, {"mse": 2.0}) is None
        assert partial == {"mse": 3.0}
        assert rows.add(2, {"mse": 6.0}) == {"mse": 3.0}
        assert partial == {}
    assert (tmp_path / "log.csv").read_text() == "step,mse\n3,3\n"


def test_a_run_killed_and_resumed_has_the_files_of_one_that_was_not(tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    train(tmp_path / "whole", 0, 16, {})
    partial: dict[str, float] = {}
    train(tmp_path / "parts", 0, 8, partial)
    train(tmp_path / "parts", 8, 14, dict(partial))  # its steps are lost: the checkpoint was saved after step 8
    with (tmp_path / "parts" / "log.csv").open("a") as file:
        file.write("15,0.0")  # killed in the middle of a line
    train(tmp_path / "parts", 8, 16, partial)
    assert texts(tmp_path / "parts") == texts(tmp_path / "whole")


@pytest.mark.parametrize("left", ["", "st", "step,mse,total", "step,mse,total\n", "step,mse,total\n3,0.6"])
def test_whatever_a_kill_left_of_the_first_row_is_made_good(tmp_path: Path, left: str) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    (tmp_path / "parts" / "log.csv").write_text(left)
    train(tmp_path / "whole", 0, 4, {})
    train(tmp_path / "parts", 0, 4, {})
    assert texts(tmp_path / "parts") == texts(tmp_path / "whole")


def test_validating_a_step_again_replaces_its_row(tmp_path: Path) -> None:
    for _ in range(2):  # killed between the first validation and the first checkpoint
        with Record(tmp_path, 0, {}) as rows:
            rows.validate(0, {"psnr": 20.5}, PICTURES, PICTURES)
    assert (tmp_path / "validation.csv").read_text() == "step,psnr\n0,20.5\n"


def test_other_columns_than_those_of_the_file_are_an_error(tmp_path: Path) -> None:
    train(tmp_path, 0, 3, {})
    with Record(tmp_path, 3, {}) as rows:
        rows.add(3, {"l1": 1.0})
        rows.add(4, {"l1": 1.0})
        with pytest.raises(ValueError, match=r"columns mse, total, not l1"):
            rows.add(5, {"l1": 1.0})


def test_tensorboard_shows_every_step_once_after_a_resumption(tmp_path: Path) -> None:
    train(tmp_path, 0, 8, {})
    train(tmp_path, 6, 12, {})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    shown = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    log, validation = read_table(tmp_path / "log.csv"), read_table(tmp_path / "validation.csv")
    for tag, table, name in (("training/mse", log, "mse"), ("validation/psnr", validation, "psnr")):
        steps, values = zip(*shown[tag], strict=True)
        assert steps == tuple(table["step"])
        assert values == pytest.approx(table[name], rel=1e-5)
    assert [e.step for e in events.Images("validation")] == [4, 8, 12]


def test_the_sheet_has_originals_over_reconstructions(tmp_path: Path) -> None:
    train(tmp_path, 0, 4, {})
    with Image.open(tmp_path / "sample.png") as file:
        sheet = np.asarray(file)
    assert sheet.shape == (128, 640, 3)
    first = PICTURES[0].permute(1, 2, 0).numpy()
    assert (sheet[:64, :64] == first).all()
    assert (sheet[64:, :64] == 255 - first).all()


def test_curves_are_drawn_of_what_was_logged(tmp_path: Path) -> None:
    train(tmp_path, 0, 4, {})
    with Image.open(tmp_path / "curves.png") as file:
        before = np.asarray(file.convert("L"), np.int16)
    train(tmp_path, 4, 8, {})
    with Image.open(tmp_path / "curves.png") as file:
        after = np.asarray(file.convert("L"), np.int16)
    assert before.shape == after.shape
    assert (before != after).any()
    assert (after < 250).mean() > 0.01


def test_a_second_process_keeps_quiet(tmp_path: Path) -> None:
    with Record(tmp_path, 0, {}, writes=False) as rows:
        for step in range(6):
            assert rows.add(step, {"mse": 1.0}) is None
        rows.validate(6, {"psnr": 20.0}, PICTURES, PICTURES)
    assert list(tmp_path.iterdir()) == []


FULL = """
import sys
from pathlib import Path
import resource, signal
from tests.unit.training.test_record import Record, PICTURES
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run, what = Path(sys.argv[1]), sys.argv[2]
Record.EVERY = 3
with Record(run, 6, {}) as rows:
    limit = (run / "log.csv").stat().st_size + 3 if what == "row" else 100
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if what == "row":
        for step in range(6, 9):
            rows.add(step, {"mse": 1 / (step + 1), "total": 2 / (step + 1)})
    else:
        rows.validate(8, {"psnr": 27.0}, PICTURES, PICTURES)
"""


@pytest.mark.parametrize(("what", "file"), [("row", "log.csv"), ("picture", "sample.png")])
def test_a_file_that_cannot_be_written_is_named_and_the_run_goes_on_later(tmp_path: Path, what: str, file: str) -> None:
    """A limit on the size of files stands in for a full disk: writing stops in the middle of a line."""
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        train(tmp_path / name, 0, 6, {})
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "parts"), what], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.match(
        rf"OSError: \S*{file} cannot be written: File too large\. Put that right, then give the same command", last
    )
    assert not list((tmp_path / "parts").glob(".*"))
    for name in ("whole", "parts"):
        train(tmp_path / name, 6, 12, {})
    assert texts(tmp_path / "parts") == texts(tmp_path / "whole")


def test_a_line_cut_short_is_no_row_for_readers(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,mse\n3,0.5\n6,0.2")
    table = read_table(tmp_path / "log.csv")
    assert {name: column.tolist() for name, column in table.items()} == {"step": [3.0], "mse": [0.5]}
    assert read_table(tmp_path / "nothing.csv") == {}
