"""A folder or prefix of Parquet files, the parts of one table: what is in them is done, and is not done again.

Parts are numbered, and a part is only ever created, never replaced. Whoever begins creates an empty one. So of two jobs
on one target the one that began first finds, at its next part, the number taken, and stops: nothing is there twice, and
no lock can be left behind by a job that was killed. In a folder on this machine a lock refuses the second job at once.
"""

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from cameo.cli.folder import job, tables
from cameo.cli.folder.photos import Row
from cameo.cli.group import Failure, Wrong
from cameo.cli.parts import places

JOB = "_job.json"
ROWS = 10_000
SECONDS = 30.0  # of work that an end in the middle may cost


class Target:
    """A context manager. Failure where another job writes it; Wrong where it is of a job with other ``settings``."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.done: set[bytes] = set()
        """Digests of the photos that have a row."""
        self.faceless = 0
        """Of these rows, those with an error."""
        self._waiting: list[Row] = []
        self._since = time.monotonic()
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()  # what was done before an error is kept

    def open(self, asked: dict[str, Any], model: str, version: int) -> dict[str, Any]:
        """Read what is done, and let no job that began earlier write any more.

        The settings that the job began with: as they are ``asked`` for, by the model and version of its first run.
        """
        names = sorted(name for name in places.find(self.address) if name.endswith(".parquet"))
        for name in names:
            for identity, error in _rows(name):
                self.done.add(identity)
                self.faceless += error is not None
        self._next = 1 + max((_number(name) for name in names), default=0)
        settings = self._settle(asked, model, version)
        self._write([])
        return settings

    def _settle(self, asked: dict[str, Any], model: str, version: int) -> dict[str, Any]:
        at = places.join(self.address, JOB)
        mine: dict[str, Any] = {"settings": asked, "model": model, "version": version}
        try:
            places.create(at, json.dumps(mine).encode())
        except FileExistsError:
            mine = json.loads(places.read(at))
        if mine["settings"] != asked:
            said = ", ".join(f"{name} {value}" for name, value in sorted(mine["settings"].items()) if value is not None)
            raise Wrong(
                f"{self.address} is of a job with other settings, {said or 'the defaults'}; go on with those, or give "
                "another -o"
            )
        return asked | {"model": mine["model"], "version": mine["version"]}

    def add(self, row: Row) -> None:
        """A row, once; on disk some time later."""
        identity = bytes.fromhex(row["id"])
        if identity in self.done:
            return
        self.done.add(identity)
        self.faceless += row["error"] is not None
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(row)
        if len(self._waiting) >= ROWS or time.monotonic() - self._since >= SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            rows, self._waiting = self._waiting, []
            self._write(rows)

    def _write(self, rows: list[Row]) -> None:
        file = io.BytesIO()
        tables.write_parquet(file, rows, paths=False)
        try:
            places.create(places.join(self.address, f"part-{self._next:06}.parquet"), file.getvalue())
        except FileExistsError:
            raise Failure(
                f"{self.address}: another job has begun to write it, and this one stops; what it had written is kept"
            ) from None
        self._next += 1


@contextmanager
def alone(address: str) -> Iterator[None]:
    """Refuse a second job on a folder of this machine. Failure."""
    if places.is_remote(address):
        yield
        return
    Path(address).mkdir(parents=True, exist_ok=True)
    with job.alone(Path(address) / ".lock", address):
        yield


def _number(name: str) -> int:
    digits = Path(name).stem.removeprefix("part-")
    return int(digits) if digits.isdecimal() else 0


def _rows(name: str) -> Iterator[tuple[bytes, str | None]]:
    with places.reader(name) as file:
        try:
            table = parquet.read_table(pa.PythonFile(file), columns=["id", "error"])
            ids, errors = table.column("id"), table.column("error")
        except (ValueError, KeyError) as error:
            raise Wrong(f"{name}: it is no part of a table of faces ({error}); give another -o") from error
    for identity, said in zip(ids.to_pylist(), errors.to_pylist(), strict=True):
        yield bytes.fromhex(identity), said
