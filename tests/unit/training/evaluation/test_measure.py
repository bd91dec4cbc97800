import errno
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cameo.pictures.quality import enlarge, ms_ssim, psnr
from tests.tiny import tiny_model
from tests.unit.training.conftest import picture
from tests.unit.training.evaluation.test_trained import GRID, grid_model, make_run
from training.data.portraits import Portraits
from training.evaluation.contenders import Classical, Pixels, Uncompressed
from training.evaluation.measure import (
    Judges,
    codebook_use,
    figures,
    jpeg85_bytes,
    measure,
    of_data,
    of_folder,
    perplexity,
)
from training.evaluation.trained import Trained, find

NOBODY = Judges({})


@pytest.fixture
def grid(tmp_path: Path) -> Trained:
    (trained,) = find(str(make_run(tmp_path / "run", grid_model(), GRID)), tmp_path)
    return trained


def test_what_is_measured_comes_from_the_files(grid: Trained, validation: Portraits, tmp_path: Path) -> None:
    faces = of_data(validation)
    measured = measure(grid, faces, tmp_path / "out", NOBODY, {})
    assert [path.name for path in measured.paths] == [f"{row}.cameo" for row in range(len(validation))]
    sizes = [path.stat().st_size for path in measured.paths]
    np.testing.assert_array_equal(measured.value_N["bytes"], sizes)
    (portrait,) = faces.read(np.array([3]))
    (drawn,) = grid.show([measured.paths[3].read_bytes()])
    assert measured.value_N["psnr"][3] == psnr(portrait, enlarge(drawn))
    assert measured.value_N["ms_ssim"][3] == ms_ssim(portrait, enlarge(drawn))
    table = figures(measured, faces)
    assert table["bytes"] == {"mean": sizes[0], "sd": 0, "low": sizes[0], "high": sizes[0], "max": sizes[0]}
    assert table["psnr"]["low"] <= table["psnr"]["mean"] <= table["psnr"]["high"]


def test_a_file_changed_on_disk_changes_the_figures(
    grid: Trained, validation: Portraits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = measure(grid, of_data(validation), tmp_path / "a", NOBODY, {})
    real = Path.write_bytes
    other = before.paths[0].read_bytes()
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: real(path, other))
    after = measure(grid, of_data(validation), tmp_path / "b", NOBODY, {})
    assert after.value_N["psnr"][0] == before.value_N["psnr"][0]
    assert (after.value_N["psnr"][1:] != before.value_N["psnr"][1:]).all()


class Brightness:
    """A recogniser that sees one thing."""

    def embed(self, portrait: Pixels) -> NDArray[np.float64]:
        angle = portrait.mean() / 255
        return np.array([np.cos(angle), np.sin(angle)])


def test_recognisers_compare_with_the_original(validation: Portraits, tmp_path: Path) -> None:
    faces, judges = of_data(validation), Judges({"sface": Brightness(), "other": Brightness()})
    originals = judges.embed(faces, "originals")
    same = measure(Uncompressed(), faces, tmp_path / "same", judges, originals)
    np.testing.assert_allclose(same.value_N["identity"], 1)
    assert same.value_N["psnr"].tolist() == [100] * len(faces)
    rough = measure(Classical("webp", 1, 16), faces, tmp_path / "rough", judges, originals)
    expected = (rough.embeddings["other"] * originals["other"]).sum(1)
    np.testing.assert_allclose(rough.value_N["identity_other"], expected)
    assert rough.value_N["identity"].min() < 1


def test_fewer_portraits_are_drawn_evenly_and_in_order(validation: Portraits) -> None:
    faces = of_data(validation, 5)
    rows = [int(name) for name in faces.names]
    assert rows == sorted(set(rows))
    assert len(rows) == 5
    originals = validation.centres(128).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(np.stack(faces.read(np.arange(5))), originals[rows])


def test_pictures_in_folders_must_be_portraits(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    picture(1, 128).save(tmp_path / "ann" / "a.png")
    picture(1, 100).save(tmp_path / "ann" / "b.png")
    faces = of_folder(tmp_path, ["ann/a.png", "ann/b.png"])
    assert faces.read(np.array([0]))[0].shape == (128, 128, 3)
    with pytest.raises(ValueError, match=r"b\.png is no portrait of 128 pixels"):
        faces.read(np.array([1]))


def test_a_shared_codebook_is_counted_over_all_positions(grid: Trained, validation: Portraits, tmp_path: Path) -> None:
    measured = measure(grid, of_data(validation), tmp_path / "out", NOBODY, {})
    use = codebook_use(grid, measured)
    assert use is not None
    tokens = np.stack(grid.tokens([path.read_bytes() for path in measured.paths]))
    assert use["codes_used"] == pytest.approx(len(np.unique(tokens)) / 16, abs=1e-4)
    assert use["mean"] == perplexity(tokens.reshape(-1, 1), 16)["mean"]


def test_a_codebook_for_each_token_and_none_at_all(validation: Portraits, tmp_path: Path, tiny_store: Path) -> None:
    for name, books in (("tiny-vqvae", 32), ("tiny-vae", None)):
        (trained,) = find(name, tiny_store)
        measured = measure(trained, of_data(validation), tmp_path / name, NOBODY, {})
        use = codebook_use(trained, measured)
        if books is None:
            assert use is None
        else:
            idx_MT = np.stack(trained.tokens([path.read_bytes() for path in measured.paths]))
            assert idx_MT.shape[1] == books == tiny_model(name).levels.size
            used = np.mean([len(np.unique(column)) for column in idx_MT.T]) / 16
            assert use == perplexity(idx_MT, 16)
            assert use["codes_used"] == pytest.approx(used, abs=1e-4)


def test_perplexity_of_even_and_of_single_use() -> None:
    even = np.tile(np.arange(64), 100)[:, None]
    assert perplexity(even, 64)["share"] == pytest.approx(1.0)
    single = np.zeros((6400, 1), np.int64)
    assert perplexity(single, 64)["mean"] == pytest.approx(1.0)


def test_the_first_measure_is_of_the_reconstruction(tmp_path: Path) -> None:
    drawn = np.asarray(picture(0, 64))
    Image.fromarray(drawn).save(tmp_path / "x.jpg", quality=85)
    assert jpeg85_bytes(drawn) == (tmp_path / "x.jpg").stat().st_size


def test_a_full_disk_is_named(
    grid: Trained, validation: Portraits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, __: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"0\.cameo cannot be written: No space left on device; make room"):
        measure(grid, of_data(validation), tmp_path / "out", NOBODY, {})
