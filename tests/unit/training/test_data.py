import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.faces import astronaut
from tests.unit.training.conftest import picture
from training.data import MARGIN, load_portraits


def test_reads_portraits_with_and_without_margin_and_frames_photos(pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "00.png", tmp_path / "a.png")
    picture(1, 128).save(tmp_path / "b.png")
    (tmp_path / "person").mkdir()
    Image.fromarray(astronaut()).save(tmp_path / "person" / "photo.jpg")
    data = load_portraits([tmp_path])
    assert data.pixels_NHWC.shape == (3, 144, 144, 3)
    without_margin = data.pixels_NHWC[1, MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert np.array_equal(without_margin, np.asarray(picture(1, 128)))
    assert data.sources[0]["pictures"] == 3


def test_leaves_out_what_is_no_portrait_and_says_so(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(pictures / "00.png", tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((pictures / "01.png").read_bytes()[:300])
    picture(5, 200).save(tmp_path / "faceless.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    data = load_portraits([tmp_path])
    assert len(data) == 1
    assert "cut.png" in caplog.text
    assert "faceless.png" in caplog.text


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no usable picture"):
        load_portraits([tmp_path])
    with pytest.raises(FileNotFoundError, match="not a folder"):
        load_portraits([tmp_path / "nowhere"])


def test_digest_depends_on_names_and_bytes(pictures: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / name / "set" for name in "ab")
    for folder in (first, second):
        shutil.copytree(pictures, folder)
    same = load_portraits([first]).sources[0]["sha256"]
    assert load_portraits([second]).sources[0]["sha256"] == same
    (second / "00.png").rename(second / "99.png")
    assert load_portraits([second]).sources[0]["sha256"] != same


def test_batches_depend_on_seed_and_step_alone(pictures: Path) -> None:
    data = load_portraits([pictures])
    run = data.batches(64, 8, flip=True, shift=2, seed=1)
    batches = [next(run) for _ in range(7)]
    resumed = data.batches(64, 8, flip=True, shift=2, seed=1, first_step=4)
    assert torch.equal(next(resumed), batches[4])
    assert not torch.equal(batches[0], batches[3])  # the next epoch has another order
    other = data.batches(64, 8, flip=True, shift=2, seed=2)
    assert not torch.equal(next(other), batches[0])


def test_an_epoch_shows_every_portrait_once(pictures: Path) -> None:
    data = load_portraits([pictures])
    run = data.batches(128, 8, flip=False, shift=0, seed=0)
    shown = torch.cat([next(run) for _ in range(3)]).to(torch.uint8)
    originals = data.centres(128)
    assert sorted(map(hash_, shown)) == sorted(map(hash_, originals))


def hash_(picture_CHW: torch.Tensor) -> int:
    return hash(picture_CHW.numpy().tobytes())


def test_too_few_portraits_for_a_batch(pictures: Path) -> None:
    data = load_portraits([pictures])
    with pytest.raises(ValueError, match="do not fill a batch of 64"):
        next(data.batches(64, 64, flip=True, shift=0, seed=0))
