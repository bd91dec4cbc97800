"""Data sets are read as they were written, batches can be told beforehand, and damage is named."""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.training.conftest import picture
from training.data import portraits as module
from training.data.portraits import MARGIN, RECORD, Portraits, open_portraits
from training.data.prepare import Settings, prepare
from training.recipe import Augment

PLAIN = Augment(flip=0, translation=0)
LIVELY = Augment(flip=0.5, translation=4, brightness=0.3, noise=0.05)


def some(batches: Iterator[Tensor], count: int) -> list[Tensor]:
    return list(itertools.islice(batches, count))


def pixels(portraits: Tensor) -> list[bytes]:
    return sorted(portrait.to(torch.uint8).numpy().tobytes() for portrait in portraits)


@pytest.fixture
def own(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the data set that a test may spoil."""
    return Path(shutil.copytree(prepared, tmp_path / "own"))


class TestReading:
    def test_the_splits_together_are_all_pictures(self, data: Portraits, validation: Portraits) -> None:
        assert (len(data), len(validation)) == (24, 12)
        assert pixels(torch.cat([data.centres(128), validation.centres(128)])) == pixels(
            torch.stack([torch.tensor(np.array(picture(i)))[8:-8, 8:-8].permute(2, 0, 1) for i in range(36)])
        )

    def test_rows_are_records_by_slice_and_by_number(self, data: Portraits, pictures: Path) -> None:
        rows = data.rows()
        assert rows.shape == (24, 144, 144, 3)
        assert rows.dtype == np.uint8
        first = int(Path(data.people[0]).stem)
        np.testing.assert_array_equal(rows[0], np.array(picture(first)))
        np.testing.assert_array_equal(data.rows(slice(3, 9, 2)), rows[3:9:2])
        np.testing.assert_array_equal(data.rows(np.array([7, 0, 7])), rows[[7, 0, 7]])

    @pytest.mark.parametrize("size", [64, 128])
    def test_centres_are_the_service_s_portraits(self, data: Portraits, size: int) -> None:
        centres = data.centres(size, slice(2, 5))
        assert (centres.shape, centres.dtype) == ((3, 3, size, size), torch.uint8)
        cut = data.rows(slice(2, 5))[:, MARGIN:-MARGIN, MARGIN:-MARGIN].astype(float)
        each = 128 // size
        means = cut.reshape(3, size, each, size, each, 3).mean((2, 4)).transpose(0, 3, 1, 2)
        assert np.abs(centres.numpy() - means).max() <= 0.5

    def test_a_sample_is_decided_by_its_seed(self, data: Portraits) -> None:
        assert torch.equal(data.sample(64, 5, seed=1), data.sample(64, 5, seed=1))
        assert not torch.equal(data.sample(64, 5, seed=1), data.sample(64, 5, seed=2))
        assert pixels(data.sample(64, 99, seed=1)) == pixels(data.centres(64))

    def test_sources_say_what_a_manifest_wants(self, data: Portraits, validation: Portraits, prepared: Path) -> None:
        (source,) = data.sources
        assert source["name"] == "blobs"
        assert (source["pictures"], source["people"], source["licence"]) == (24, None, "made up")
        assert len(source["sha256"]) == 64
        assert validation.sources == [source | {"pictures": 12}]

    def test_several_data_sets_are_one(self, prepared: Path, data: Portraits, tmp_path: Path) -> None:
        for person, seeds in {"ann": (50, 51), "bob": (52,)}.items():
            (tmp_path / "photos" / person).mkdir(parents=True)
            for seed in seeds:
                picture(seed, 128).save(tmp_path / "photos" / person / f"{seed}.png")
        prepare(tmp_path / "photos", tmp_path / "more", Settings("more", "x", split="train"))
        both = open_portraits([tmp_path / "more", prepared], "train")
        assert both.people == ["more/ann", "more/ann", "more/bob", *data.people]
        assert [(s["name"], s["pictures"], s["people"]) for s in both.sources] == [("more", 3, 2), ("blobs", 24, None)]
        np.testing.assert_array_equal(both.rows(slice(3, None)), data.rows())
        np.testing.assert_array_equal(both.centres(128, slice(2, 3))[0].permute(1, 2, 0), np.array(picture(52, 128)))
        # A data set without this split is not an error where another has it.
        assert [s["name"] for s in open_portraits([tmp_path / "more", prepared], "val").sources] == ["blobs"]


class TestBatches:
    def test_they_depend_on_seed_and_step_alone(self, data: Portraits) -> None:
        batches = some(data.batches(64, 8, LIVELY, seed=1), 7)
        assert batches[0].shape == (8, 3, 64, 64)
        assert torch.equal(some(data.batches(64, 8, LIVELY, seed=1, first_step=4), 1)[0], batches[4])
        assert not torch.equal(batches[0], batches[3])  # the next epoch has another order
        assert not torch.equal(some(data.batches(64, 8, LIVELY, seed=2), 1)[0], batches[0])

    def test_an_epoch_shows_every_portrait_once(self, data: Portraits) -> None:
        assert pixels(torch.cat(some(data.batches(128, 8, PLAIN, seed=0), 3))) == pixels(data.centres(128))

    def test_what_fills_no_batch_waits_for_another_epoch(self, data: Portraits) -> None:
        batches = some(data.batches(128, 10, PLAIN, seed=0), 12)
        assert all(len(set(pixels(torch.cat(batches[i : i + 2])))) == 20 for i in range(0, 12, 2))
        assert len(set(pixels(torch.cat(batches)))) == 24

    @pytest.mark.parametrize("world", [2, 4])
    def test_processes_see_together_what_one_sees_alone(self, data: Portraits, world: int) -> None:
        alone = some(data.batches(64, 8, LIVELY, seed=3), 4)
        shards = [some(data.batches(64, 8, LIVELY, seed=3, shard=(rank, world)), 4) for rank in range(world)]
        for step, batch in enumerate(alone):
            assert torch.equal(torch.cat([shard[step] for shard in shards]), batch)

    def test_a_batch_larger_than_the_data_set(self, data: Portraits) -> None:
        with pytest.raises(ValueError, match="24 portraits do not fill a batch of 64"):
            data.batches(64, 64, PLAIN, seed=0)

    def test_a_batch_that_cannot_be_shared(self, data: Portraits) -> None:
        with pytest.raises(ValueError, match="a batch of 8 cannot be shared equally by 3 processes"):
            data.batches(64, 8, PLAIN, seed=0, shard=(0, 3))


class TestDamage:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
            open_portraits([tmp_path / "nowhere"], "train")

    def test_photos_instead_of_a_data_set(self, pictures: Path) -> None:
        with pytest.raises(ValueError, match=r"not a finished data set: python -m training prepare .* --out"):
            open_portraits([pictures], "train")

    def test_an_unknown_split(self, prepared: Path) -> None:
        with pytest.raises(ValueError, match="no split 'training'; a data set has train, val, test"):
            open_portraits([prepared], "training")

    def test_a_split_without_portraits(self, prepared: Path) -> None:
        with pytest.raises(ValueError, match=r"no portrait of split test in .*blobs"):
            open_portraits([prepared], "test")

    def test_one_name_twice(self, prepared: Path, own: Path) -> None:
        with pytest.raises(ValueError, match="two data sets have the name blobs"):
            open_portraits([prepared, own], "train")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "damaged: dataset.json is not JSON"),
            ("[]", "damaged: dataset.json is not what prepare writes"),
            ('{"format": 1}', "damaged: dataset.json is not what prepare writes"),
            ('{"format": 2}', "has format 2; this version reads format 1"),
        ],
    )
    def test_a_description_that_is_none(self, own: Path, content: str, message: str) -> None:
        (own / "dataset.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            open_portraits([own], "train")

    @pytest.mark.parametrize("name", ["index.csv", "portraits.bin"])
    def test_a_missing_file(self, own: Path, name: str) -> None:
        (own / name).unlink()
        with pytest.raises(ValueError, match=f"damaged: {name} is missing"):
            open_portraits([own], "train")

    @pytest.mark.parametrize("name", ["index.csv", "portraits.bin"])
    def test_a_changed_byte(self, own: Path, name: str) -> None:
        data = bytearray((own / name).read_bytes())
        data[len(data) // 2] ^= 1
        (own / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"damaged: {name} does not have its digest"):
            open_portraits([own], "train")

    def test_records_are_not_compared_where_nobody_wants_it(self, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "digest", lambda path: pytest.fail("read the whole file"))
        assert len(open_portraits([own], "train", verify=False)) == 24

    def test_a_file_cut_short(self, own: Path) -> None:
        os.truncate(own / "portraits.bin", 10 * RECORD)
        with pytest.raises(ValueError, match=r"portraits\.bin has 622,080 bytes instead of 36 x 62,208"):
            open_portraits([own], "train", verify=False)

    def test_a_file_cut_short_while_it_is_read(self, own: Path) -> None:
        data = open_portraits([own], "train")
        os.truncate(own / "portraits.bin", 10 * RECORD + 5)
        assert data.rows(slice(0, 3)).shape == (3, 144, 144, 3)
        with pytest.raises(OSError, match=r"portraits\.bin was cut short: it ends before row \d+. Prepare"):
            data.rows()

    def test_a_file_removed_while_it_is_read(self, own: Path) -> None:
        data = open_portraits([own], "train")
        expected = data.centres(64)
        shutil.rmtree(own)
        assert torch.equal(data.centres(64), expected)
