"""What is done of a job, in a file of lines: the settings, then a line a photo. A line that was cut short is not there.

Whoever is killed loses nothing but the photos that were being worked on. On a machine that loses its power, what was
written in the last second may be gone, too.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from cameo.cli.folder.photos import Row, Stamp, stamp
from cameo.cli.group import Wrong

SYNC_SECONDS = 1.0


class Journal:
    """Rows by path and by id; on disk, for there may be millions. A context manager.

    Failure where the file is of a job with other ``settings``.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self._places: dict[str, tuple[Stamp | None, int]] = {}  # of a path: its stamp, and where its line begins
        self._ids: dict[str, int] = {}
        self.model: tuple[str, int] | None = None
        """Name and version that made the rows."""
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._synced = time.monotonic()
        try:
            self._load(settings)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._sync()
        self._file.close()

    def __contains__(self, path: str) -> bool:
        """Whether there is a row of this file as it is now."""
        known = self._places.get(path)
        return known is not None and known[0] is not None and known[0] == stamp(path)

    def has(self, identity: str | None) -> bool:
        return identity in self._ids

    def add(self, row: Row, seen: Stamp | None) -> None:
        """``seen``: the file's stamp; None where the row will not last, and the next run is to try again."""
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(_line({"stamp": seen, "row": row}))
        self._remember(row, seen, offset)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()

    def copy(self, identity: str, path: str, seen: Stamp | None) -> Row:
        """Add the row of the same photo under another path."""
        row = self._at(self._ids[identity]) | {"path": path}
        self.add(row, seen)
        return row

    def rows(self, paths: Iterable[str]) -> Iterator[Row]:
        for path in paths:
            yield self._at(self._places[path][1])

    def remove(self) -> None:
        self._path.unlink()

    def _load(self, settings: dict[str, Any]) -> None:
        wanted = _line({"settings": settings})
        header = self._file.readline()
        if header.endswith(b"\n") and header != wanted:
            raise Wrong(
                f"{self._path} is of a job with other settings, {_settings(header)}; "
                "go on with those, or remove it to begin anew"
            )
        if header != wanted:
            self._file.seek(0)
            self._file.write(wanted)
        while (line := self._file.readline()).endswith(b"\n"):
            try:
                entry = json.loads(line)
            except ValueError:  # a disk that lost its power: what follows is done again
                break
            self._remember(
                entry["row"], tuple(entry["stamp"]) if entry["stamp"] else None, self._file.tell() - len(line)
            )
        self._file.truncate(self._file.tell() - len(line))
        self._sync()

    def _remember(self, row: Row, seen: Stamp | None, offset: int) -> None:
        self._places[row["path"]] = seen, offset
        if seen is not None and row["id"] is not None:
            self._ids.setdefault(row["id"], offset)
        if self.model is None and row["model"] is not None:
            self.model = row["model"], row["version"]

    def _at(self, offset: int) -> Row:
        self._file.seek(offset)
        row: Row = json.loads(self._file.readline())["row"]
        return row

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"  # ASCII: file names need not be UTF-8


def _settings(header: bytes) -> str:
    try:
        settings = json.loads(header)["settings"]
        return ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None) or "the defaults"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "or of another program"
