"""Prepared data sets on disk, and portraits out of them.

``python -m training prepare`` (see :mod:`training.data.prepare`) writes a folder:

- ``portraits.bin``: records of 62,208 bytes, row after row: a canonical portrait of 128 pixels with a margin of 8 for
  augmentation, uint8, 144 x 144 x 3, RGB.
- ``index.csv``: a line a row; columns ``COLUMNS``.
- ``dataset.json``: format, name, licence, counts, digests of both files. Written last: where it is, all is.

Records are read with ``pread`` as they are needed, so a million faces train in the memory of a thousand, several
processes share the system's cache, and a file that is cut short meanwhile is an error with a name, not a crash.
"""

import csv
import hashlib
import io
import itertools
import json
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training.data.augment import apply, draw
from training.recipe import Augment
from training.remote import data_folder

PORTRAIT: Final = 128  # px
MARGIN: Final = 8  # px on every side
STORED: Final = PORTRAIT + 2 * MARGIN
RECORD: Final = STORED * STORED * 3  # bytes
FORMAT: Final = 1
SPLITS: Final = ("train", "val", "test")
COLUMNS: Final = ("row", "split", "person", "source", "sha256", "framing")
"""``source`` is the picture's path in the folder that was prepared, ``sha256`` its digest. ``person`` is the source
itself where nobody said who it is. ``framing``: ``found`` in a photo, ``whole`` for a record that was one already,
``padded`` for a portrait without a margin."""

_PART: Final = 1024  # portraits handled at once
_LARGE: Final = 2**28  # bytes; reading fewer takes no time worth a progress bar


class Portraits:
    """The portraits of one split of several data sets, as rows from 0. Nothing but the index is held in memory."""

    sources: list[dict[str, Any]]
    """One a data set: what a manifest says of it (``cameo.store.manifest.DataSet``). ``people`` is None where pictures
    stand for themselves; ``sha256`` is the digest of those of ``index.csv`` and ``portraits.bin``, in hex, in a row."""
    people: list[str]
    """One a row, unique across data sets: ``faces/Aaron_Sorkin``."""

    def __init__(self, sets: "Sequence[_Set]") -> None:
        self._files = [_Records(part.folder / "portraits.bin") for part in sets]
        self._file_N = np.repeat(np.arange(len(sets), dtype=np.uint16), [len(part.row_N) for part in sets])
        self._row_N = np.concatenate([part.row_N for part in sets])
        self.people = [person for part in sets for person in part.people]
        self.sources = [part.source() for part in sets]

    def __len__(self) -> int:
        return len(self._row_N)

    def rows(self, indices: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.uint8]:
        """Stored records pixels_NHWC, uint8, 144 x 144. OSError where a file no longer has them."""
        file_N, row_N = self._file_N[indices], self._row_N[indices]
        out = np.empty((len(row_N), STORED, STORED, 3), np.uint8)
        for record_HWC, file, row in zip(out, file_N, row_N, strict=True):
            record_HWC[:] = self._files[file].read(int(row))
        return out

    def centres(self, size: int, indices: NDArray[np.int64] | slice = slice(None)) -> Tensor:
        """Canonical portraits pixels_BCHW, uint8, as the service would see them."""
        numbers = np.arange(len(self))[indices]
        out_BCHW = torch.empty(len(numbers), 3, size, size, dtype=torch.uint8)
        for start in range(0, len(numbers), _PART):
            part = slice(start, start + _PART)
            x_BHWC = torch.from_numpy(self.rows(numbers[part])[:, MARGIN:-MARGIN, MARGIN:-MARGIN])
            out_BCHW[part] = F.avg_pool2d(x_BHWC.permute(0, 3, 1, 2).float(), PORTRAIT // size).round().to(torch.uint8)
        return out_BCHW

    def sample(self, size: int, count: int, seed: int) -> Tensor:
        """``count`` canonical portraits (or all, if there are fewer) drawn by the seed."""
        return self.centres(size, np.random.default_rng(seed).permutation(len(self))[:count])

    def batches(
        self,
        size: int,
        batch: int,
        augment: Augment,
        *,
        seed: int,
        first_step: int = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> Iterator[Tensor]:
        """Endless augmented batches, floats in [0, 255], pixels_BCHW.

        An epoch shows every portrait once, but for the few that fill no batch. The batch of a step depends on nothing
        but seed and step; of it, ``shard``, which is (rank, world), gets its equal part. ValueError where there are
        fewer portraits than a batch has, or world does not divide the batch.
        """
        rank, world = shard
        if len(self) < batch:
            raise ValueError(f"{len(self)} portraits do not fill a batch of {batch}: give more, or a smaller batch")
        if batch % world:
            raise ValueError(f"a batch of {batch} cannot be shared equally by {world} processes")
        each = batch // world
        return self._batches(size, batch, augment, seed, first_step, slice(rank * each, (rank + 1) * each))

    def _batches(
        self, size: int, batch: int, augment: Augment, seed: int, first_step: int, part: slice
    ) -> Iterator[Tensor]:
        per_epoch = len(self) // batch
        order, shuffled = np.empty(0, np.int64), -1
        for step in itertools.count(first_step):
            epoch, position = divmod(step, per_epoch)
            if epoch != shuffled:
                order, shuffled = np.random.default_rng([seed, 0, epoch]).permutation(len(self)), epoch
            (state,) = np.random.SeedSequence([seed, 1, step]).generate_state(1, np.uint64)
            drawn = draw(batch, augment, torch.Generator().manual_seed(int(state)))
            chosen = order[position * batch : (position + 1) * batch]
            yield apply(self.rows(chosen[part]), size, drawn[part])


def open_portraits(places: Sequence[Path | str], split: str, *, verify: bool = True) -> Portraits:
    """The portraits of a split of prepared data sets, folders or URLs of object stores, one after the other.

    ``verify`` compares ``portraits.bin`` with its digest, which takes about a second a gigabyte; its size and the
    index are compared always. Raises FileNotFoundError or ValueError that says what is wrong and what to do.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; a data set has {', '.join(SPLITS)}")
    sets = [_Set(data_folder(where), split, verify) for where in places]
    names = [part.name for part in sets]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two data sets have the name {twice}: prepare one of them with another --name")
    sets = [part for part in sets if part.people]
    if not sets:
        raise ValueError(f"no portrait of split {split} in {', '.join(map(str, places))}")
    return Portraits(sets)


class _Set:
    """One split of a prepared folder, checked: the rows and the people in them."""

    def __init__(self, folder: Path, split: str, verify: bool) -> None:
        self.folder = folder
        described = describe(folder)
        try:
            self.name, self._licence, self._digests = described["name"], described["licence"], described["sha256"]
            pictures = sum(described["pictures"].values())
            index, size = (folder / "index.csv").read_bytes(), (folder / "portraits.bin").stat().st_size
        except FileNotFoundError as error:
            raise damaged(folder, f"{Path(error.filename).name} is missing") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(folder, "dataset.json is not what prepare writes") from error
        if hashlib.sha256(index).hexdigest() != self._digests["index.csv"]:
            raise damaged(folder, "index.csv does not have its digest")
        if size != pictures * RECORD:
            raise damaged(folder, f"portraits.bin has {size:,} bytes instead of {pictures:,} x {RECORD:,}")
        if verify and digest(folder / "portraits.bin") != self._digests["portraits.bin"]:
            raise damaged(folder, "portraits.bin does not have its digest")
        rows = []
        self.people: list[str] = []
        self._alone = False
        for line in csv.DictReader(io.StringIO(index.decode(), newline="")):
            if line["split"] == split:
                rows.append(int(line["row"]))
                self.people.append(f"{self.name}/{line['person']}")
                self._alone |= line["person"] == line["source"]
        self.row_N = np.array(rows, np.int64)

    def source(self) -> dict[str, Any]:
        together = self._digests["index.csv"] + self._digests["portraits.bin"]
        return {
            "name": self.name, "pictures": len(self.people), "people": None if self._alone else len(set(self.people)),
            "sha256": hashlib.sha256(together.encode()).hexdigest(), "licence": self._licence,
        }  # fmt: skip


class _Records:
    """A file of records, open for as long as somebody holds this."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, row: int) -> NDArray[np.uint8]:
        try:
            data = os.pread(self._descriptor, RECORD, row * RECORD)
        except OSError as error:
            raise OSError(f"{self._path} cannot be read at row {row}: {error.strerror}") from error
        if len(data) < RECORD:
            raise OSError(f"{self._path} was cut short: it ends before row {row}. Prepare the data set again")
        return np.frombuffer(data, np.uint8).reshape(STORED, STORED, 3)


def digest(path: Path) -> str:
    """SHA-256 in hex, with a progress bar where the file is large."""
    whole = hashlib.sha256()
    size = path.stat().st_size
    bar = tqdm(desc=f"checking {path}", total=size, unit="B", unit_scale=True, disable=size < _LARGE, leave=False)
    with path.open("rb", buffering=0) as file, bar:
        while chunk := file.read(2**22):
            whole.update(chunk)
            bar.update(len(chunk))
    return whole.hexdigest()


def describe(folder: Path) -> dict[str, Any]:
    """What ``dataset.json`` says. Raises FileNotFoundError or ValueError where the folder is no finished data set."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    try:
        described: object = json.loads((folder / "dataset.json").read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{folder} is not a finished data set: python -m training prepare PHOTOS --out {folder} makes it, or goes "
            "on where it stopped"
        ) from None
    except ValueError as error:
        raise damaged(folder, "dataset.json is not JSON") from error
    if not isinstance(described, dict):
        raise damaged(folder, "dataset.json is not what prepare writes")
    if described.get("format") != FORMAT:
        raise ValueError(f"{folder} has format {described.get('format')}; this version reads format {FORMAT}")
    return described


def damaged(folder: Path, what: str) -> ValueError:
    return ValueError(f"{folder} is damaged: {what}. Delete the folder and prepare it again")
