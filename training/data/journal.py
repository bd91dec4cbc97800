"""A data set while it is made: rows are appended in the order of the pictures, and a stop at any moment loses none.

``index.csv`` and ``refused.csv`` are the journal. Each picture ends up as a line in one of them, and a portrait's line
is written after its record in ``portraits.bin``. Whoever goes on keeps what has its place in the order, in all three
files, and cuts off the rest: half a line, or a record whose line is missing. The files then grow as if there had been
no stop.
"""

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.data.duplicates import SAME, Hashes, likeness, perceptual_hash
from training.data.portraits import COLUMNS, RECORD, STORED, describe

REFUSED: Final = ("source", "reason", "detail")


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture that is taken: its record pixels_HWC, and how that came about (``COLUMNS`` of the portraits)."""

    sha256: str
    framing: str
    record: NDArray[np.uint8]
    hash: NDArray[np.uint64]


@dataclass(frozen=True)
class Refusal:
    reason: str
    detail: str


class Known:
    """Portraits in a file of records, by which others are told to be duplicates."""

    def __init__(self, records: BinaryIO, name: str, rows: Iterable[Sequence[str]] = ()) -> None:
        """``rows`` are those of the index that the file holds already; ``name`` is added to that of a twin."""
        self._records, self._name = records, name
        self._sources: list[str] = []
        self._digests: dict[str, int] = {}
        self._hashes = Hashes()
        for row in tqdm(rows, desc=f"looking through {Path(records.name).parent}", leave=False):
            source, sha256 = (row[COLUMNS.index(column)] for column in ("source", "sha256"))
            self.add(source, sha256, perceptual_hash(self._record(len(self))))

    def __len__(self) -> int:
        return len(self._sources)

    def add(self, source: str, sha256: str, hash_4: NDArray[np.uint64]) -> None:
        """The next record is this picture's."""
        self._digests[sha256] = len(self)
        self._sources.append(source)
        self._hashes.add(hash_4)

    def twin(self, portrait: Portrait) -> str | None:
        """What it is a duplicate of, if it is one."""
        if (row := self._digests.get(portrait.sha256)) is not None:
            return f"the same file as {self._sources[row]}{self._name}"
        for row in self._hashes.candidates(portrait.hash):
            if likeness(self._record(row), portrait.record) >= SAME:
                return f"the same picture as {self._sources[row]}{self._name}"
        return None

    def _record(self, row: int) -> NDArray[np.uint8]:
        data = os.pread(self._records.fileno(), RECORD, row * RECORD)
        return np.frombuffer(data, np.uint8).reshape(STORED, STORED, 3)


class Journal(AbstractContextManager["Journal"]):
    """The three files of a data set, open for appending; ``done`` of ``sources`` are in them already.

    Pictures that are in the data set already, or in one of ``others``, are refused. Raises ValueError where another
    process is at work on the folder.
    """

    def __init__(self, folder: Path, sources: list[str], others: Sequence[Path] = ()) -> None:
        with ExitStack() as stack:
            self._records = stack.enter_context((folder / "portraits.bin").open("a+b"))
            try:
                fcntl.flock(self._records, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process is preparing {folder}: let it finish, or stop it") from None
            index, refused = _whole_lines(folder / "index.csv"), _whole_lines(folder / "refused.csv")
            del index[1 + self._records.seek(0, os.SEEK_END) // RECORD :]
            kept, dropped = _in_order(sources, index, refused)
            self._records.truncate(len(kept) * RECORD)
            self._index = stack.enter_context(_cut(folder / "index.csv", index[: 1 + len(kept)], COLUMNS))
            self._refused = stack.enter_context(_cut(folder / "refused.csv", refused[: 1 + dropped], REFUSED))
            self.refused = dropped
            self._own = Known(self._records, "", kept)
            self._known = [self._own]
            for other in others:
                records = stack.enter_context((other / "portraits.bin").open("rb"))
                rows = csv.reader(line.decode() for line in _whole_lines(other / "index.csv")[1:])
                self._known.append(Known(records, f" in {describe(other)['name']}", rows))
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def done(self) -> int:
        return len(self._own) + self.refused

    def add(self, source: str, person: str, split: str, result: Portrait | Refusal) -> None:
        """Write down what became of the next picture; one that is in the data set already becomes a refusal."""
        if isinstance(result, Portrait) and (
            twin := next(filter(None, (known.twin(result) for known in self._known)), None)
        ):
            result = Refusal("duplicate", twin)
        if isinstance(result, Refusal):
            _append(self._refused, source, result.reason, result.detail)
            self.refused += 1
            return
        self._records.write(result.record.tobytes())
        self._records.flush()
        _append(self._index, len(self._own), split, person, source, result.sha256, result.framing)
        self._own.add(source, result.sha256, result.hash)

    def sync(self) -> None:
        """Until the disk has all of it."""
        for file in (self._records, self._index, self._refused):
            os.fsync(file.fileno())


def read_rows(path: Path) -> list[dict[str, str]]:
    """The lines of ``index.csv`` or ``refused.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _append(file: io.TextIOWrapper, *values: object) -> None:
    csv.writer(file, lineterminator="\n").writerow(values)
    file.flush()


def _whole_lines(path: Path) -> list[bytes]:
    """With their ends; what follows the last end is left out. No source has a line break in its name."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)


def _in_order(sources: list[str], index: list[bytes], refused: list[bytes]) -> tuple[list[list[str]], int]:
    """The rows of the index, and how many lines of refusals, that tell the fate of the first sources without a gap."""
    rows, refusals = (
        list(csv.reader(line.decode(errors="replace") for line in lines[1:])) for lines in (index, refused)
    )
    at, refusal_at = COLUMNS.index("source"), REFUSED.index("source")
    kept, gone = 0, 0
    for source in sources:
        if kept < len(rows) and rows[kept][at : at + 1] == [source]:
            kept += 1
        elif gone < len(refusals) and refusals[gone][refusal_at : refusal_at + 1] == [source]:
            gone += 1
        else:
            break
    return rows[:kept], gone


def _cut(path: Path, lines: list[bytes], columns: tuple[str, ...]) -> Any:
    """The file with these lines alone, or a new one with its header, opened for appending."""
    if not lines:
        path.write_text(",".join(columns) + "\n")
    else:
        os.truncate(path, sum(map(len, lines)))
    return path.open("a", newline="", encoding="utf-8")
