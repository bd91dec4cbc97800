"""Data sets and runs in object stores: what comes from there onto this machine, and goes back.

A data set is copied once to each machine: every epoch reads all of it, in another order. A run lies in the store, so
that it goes on on other machines: the files that people look at, and a checkpoint. ``latest.json`` names the
checkpoint, and is replaced by compare-and-swap: a job that is killed leaves the one of before, and of two jobs on one
run the second to save is told.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import FileLock

from cameo.errors import StoreUnavailable
from cameo.store.base import is_url
from cameo.store.bucket import Bucket, Conflict
from cameo.store.cache import default_folder
from training.files import writing

log = logging.getLogger("cameo.training")

DATASET = "dataset.json"
DATA_FILES = ("index.csv", "portraits.bin")
LATEST = "latest.json"
CHECKPOINT = "checkpoint.pt"
MOST_JSON_BYTES = 2**20


def place(text: str) -> Path | str:
    """A path, or the URL of an object store, from the command line."""
    return text if is_url(text) else Path(text)


def data_folder(where: Path | str) -> Path:
    """The folder of a prepared data set, copied from the object store if it lies there and is not here yet.

    The copy is named by the digest of ``dataset.json``, which has those of the other files: another data set at the
    same place is another copy. Several processes of a machine share one. FileNotFoundError where there is none.
    """
    if isinstance(where, Path):
        return where
    bucket = Bucket(where)
    described, _ = bucket.get(DATASET, MOST_JSON_BYTES)
    folder = default_folder() / "data" / hashlib.sha256(described).hexdigest()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / DATASET).exists():
            log.info("copying %s to %s", where, folder)
            sizes = {one.path: one.size for one in bucket.list()}
            for name in DATA_FILES:
                if name not in sizes:
                    raise ValueError(f"{where} is damaged: {name} is missing. Copy the data set there again")
                _download(bucket, name, sizes[name], folder / name)
            with writing(folder):
                (folder / f"{DATASET}.tmp").write_bytes(described)
                (folder / f"{DATASET}.tmp").replace(folder / DATASET)
    return folder


class RemoteRun:
    """A run at ``url``, and its copy in ``folder``, which is as the store has it once :meth:`pull` has returned."""

    def __init__(self, url: str, scratch: Path) -> None:
        self.url, self._bucket = url, Bucket(url)
        self.folder = scratch / (url.rstrip("/").rpartition("/")[2] or "run")
        self._latest: dict[str, Any] = {}
        self._version: dict[str, str] | None = None  # of latest.json, for compare-and-swap
        self._pushed: dict[Path, tuple[int, int]] = {}

    def pull(self) -> None:
        """ValueError for a checkpoint that differs from its digest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            data, self._version = self._bucket.get(LATEST, MOST_JSON_BYTES)
            self._latest = json.loads(data)
        except FileNotFoundError:
            pass
        current = self._latest.get("checkpoint")
        for one in self._bucket.list():
            if one.path == LATEST or (one.path.startswith("checkpoint-") and one.path != current):
                continue
            path = self._local(CHECKPOINT if one.path == current else one.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            _download(self._bucket, one.path, one.size, path)
            self._pushed[path] = _stamp(path)
        if current and _digest(self.folder / CHECKPOINT) != self._latest["sha256"]:
            raise ValueError(f"{self.url}/{current} is damaged: it does not have its digest")

    def push(self, step: int, last: bool) -> None:
        """Bring the store up to date with the folder, the checkpoint in the end.

        An outage is only logged, unless this is the ``last`` time: the next checkpoint brings all that is missing.
        ValueError, where another job has saved this run meanwhile.
        """
        try:
            self._push(step)
        except StoreUnavailable as error:
            if last:
                raise StoreUnavailable(
                    f"{error.detail} There the run stands at step {self._latest.get('step', 0)}, from which the same "
                    "command goes on.", root=self.url,
                ) from error  # fmt: skip
            log.warning("step %d was not saved in the object store, which is tried again: %s", step, error)

    def _push(self, step: int) -> None:
        checkpoint = self.folder / CHECKPOINT
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".tmp"]
        for path in sorted([*files, *self.folder.parent.glob("identity-metric-*")]):
            if path != checkpoint and self._pushed.get(path) != (stamp := _stamp(path)):
                self._bucket.put(self._remote(path), path)
                self._pushed[path] = stamp
        if self._pushed.get(checkpoint) == (stamp := _stamp(checkpoint)):
            return
        name = f"checkpoint-{step}-{token_hex(4)}.pt"
        self._bucket.put(name, checkpoint)
        latest = {"step": step, "checkpoint": name, "sha256": _digest(checkpoint)}
        before, data = self._latest.get("checkpoint"), json.dumps(latest).encode()
        try:
            self._bucket.put(LATEST, data, replaces=self._version, create=self._version is None)
        except (Conflict, StoreUnavailable) as error:
            there, version = self._bucket.get(LATEST, MOST_JSON_BYTES)
            if there != data:  # else only the answer was lost
                self._bucket.delete(name)
                if isinstance(error, StoreUnavailable):
                    raise
                raise ValueError(
                    f"another job has saved {self.url} at step {json.loads(there)['step']}: two jobs cannot train one "
                    "run. Let one of them end, or choose another --out"
                ) from error
            self._version = version
        else:
            self._version = self._bucket.get(LATEST, MOST_JSON_BYTES)[1]
        self._latest, self._pushed[checkpoint] = latest, stamp
        if before:
            self._bucket.delete(before)

    def _local(self, name: str) -> Path:
        # Identity metrics lie beside the runs, which share them.
        return (self.folder.parent if name.startswith("identity-metric-") else self.folder) / name

    def _remote(self, path: Path) -> str:
        return path.name if path.parent == self.folder.parent else path.relative_to(self.folder).as_posix()


@contextmanager
def run_folder(where: Path | str) -> Iterator[Path]:
    """The folder of a run, copied from the object store for as long as the context lasts, if it lies there."""
    if isinstance(where, Path):
        yield where
        return
    with tempfile.TemporaryDirectory(prefix="cameo-run-") as scratch:
        remote = RemoteRun(where, Path(scratch))
        remote.pull()
        yield remote.folder


def _download(bucket: Bucket, name: str, size: int, path: Path) -> None:
    """OSError, with the name of the file, when the disk is full."""
    with path.open("wb") as file:
        for chunk in bucket.chunks(name, size):
            with writing(path):
                file.write(chunk)
                file.flush()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
