"""The driver that has many machines: Ray Data reads the pieces, and a pool of actors compresses.

    read (tasks)  ->  blocks of photos  ->  compress (actors)  ->  rows  ->  here, into the target

Readers are ahead of the actors by as many blocks as Ray's object store allows. A photo of which the digest is known
already, from the target or from another piece, goes no further than its reader: they ask the one ledger.

A worker that dies is replaced, and its block is done again. After ``TRIES`` times the block is left out, and said to be
not done.
"""

import json
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any, Self

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what is wrong comes as exceptions

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayError

from cameo.cli.folder import photos
from cameo.cli.folder.photos import Photo
from cameo.cli.group import Failure, Wrong
from cameo.cli.parts import sources
from cameo.cli.parts.job import Done, Driver, sort
from cameo.cli.parts.sources import Piece, Unread
from cameo.cli.parts.target import Target

BLOCK_PHOTOS, BLOCK_BYTES = 32, 4 * 2**20  # that go to an actor together, unless one photo is larger
TRIES = 3
CONNECT_SECONDS = 10
STORE_BYTES = 512 * 2**20  # of blocks on their way, on this machine

BLOCK = pa.schema({"path": pa.string(), "id": pa.string(), "data": pa.large_binary(), "error": pa.string()})


class Ledger:
    """An actor, one for a job: which digests are done, or on their way."""

    def __init__(self, done: set[bytes]) -> None:
        self._done = done
        self._begun: dict[bytes, tuple[int, int]] = {}

    def claim(self, photos: list[tuple[bytes, tuple[int, int]]]) -> list[bool]:
        """Whether each is to be compressed, by digest and place. A reader that begins again gets the same answers."""
        return [
            identity not in self._done and self._begun.setdefault(identity, place) == place
            for identity, place in photos
        ]

    def begun(self) -> int:
        return len(self._begun)


class Photos(Datasource):
    """Blocks of photos that are new to the ledger."""

    def __init__(self, pieces: list[Piece], ledger: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pieces, self._ledger = pieces, ledger

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        ledger = self._ledger
        return [
            ReadTask(
                partial(_blocks, index, piece, ledger),
                BlockMetadata(num_rows=piece.photos, size_bytes=None, input_files=None, exec_stats=None),
                BLOCK,
            )
            for index, piece in enumerate(self._pieces)
        ]  # fmt: skip


def _blocks(index: int, piece: Piece, ledger: Any) -> Iterator[pa.Table]:
    waiting: list[Photo | Unread] = []
    first = size = 0
    for number, photo in enumerate(sources.read(piece)):
        if size >= BLOCK_BYTES or len(waiting) == BLOCK_PHOTOS:
            yield _block(index, first, waiting, ledger)
            waiting, first, size = [], number, 0
        waiting.append(photo)
        size += len(photo.data or b"") if isinstance(photo, Photo) else 0
    yield _block(index, first, waiting, ledger, last=True)


def _block(index: int, first: int, read: list[Photo | Unread], ledger: Any, *, last: bool = False) -> pa.Table:
    """New photos, errors, and the paths of photos that are left out; at a piece's end a row of nothing."""
    claims = [
        (bytes.fromhex(photo.id), (index, number))
        for number, photo in enumerate(read, first)
        if isinstance(photo, Photo) and photo.id is not None
    ]
    answers = iter(ray.get(ledger.claim.remote(claims)))
    rows: list[dict[str, Any]] = [dict.fromkeys(BLOCK.names)] if last else []
    for photo in read:
        row: dict[str, Any] = dict.fromkeys(BLOCK.names) | {"path": photo.path}
        if isinstance(photo, Unread):
            row["error"] = photo.error
        elif next(answers):
            row |= {"id": photo.id, "data": photo.data}
        rows.append(row)
    return pa.Table.from_pylist(rows, BLOCK)


class Compressor:
    """An actor: the models, in one thread, or in several beside a GPU. Gives a line of JSON for each block."""

    def __init__(self, store: str | None, device: str, threads: int, settings: dict[str, Any]) -> None:
        import cameo  # noqa: PLC0415 - torch, which nothing else here needs

        self._cameo = cameo.open(store, device=device)
        self._settings = settings | {"threads": threads}

    def __call__(self, block: pa.Table) -> dict[str, list[str]]:
        rows = block.to_pylist()
        new = [Photo(row["path"], None, row["id"], row["data"]) for row in rows if row["data"] is not None]
        done, passing = sort(list(photos.compress(self._cameo, new, self._settings)))
        passing += [Unread(row["path"], row["error"]) for row in rows if row["error"] is not None]
        ends = sum(row["path"] is None for row in rows)
        told = {"rows": done, "passing": passing, "seen": len(rows) - ends, "new": len(new), "ends": ends}
        return {"told": [json.dumps(told)]}


class Cluster:
    """Ray: a cluster that is there, or by default one of this machine's cores, for the time of a ``with`` block.

    ``workers``: actors; by default one a GPU, or where there is none, or the device is the CPU, one a core. Failure.
    """

    def __init__(self, address: str, workers: int | None, device: str) -> None:
        self._address, self._workers, self._device = address, workers, device

    def __enter__(self) -> Self:
        options: dict[str, Any] = {}
        _require_listener(self._address)
        if self._address == "local":
            options = {
                "num_cpus": self._workers, "object_store_memory": STORE_BYTES, "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
            }  # fmt: skip
        try:
            ray.init(self._address, logging_level=logging.ERROR, log_to_driver=False, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise Failure(f"Ray at {self._address}: {error}") from error
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()

    def driver(self, store: str | None) -> Driver:
        resources = ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if self._device.startswith("cuda") and not gpus:
            raise Wrong(f"--device {self._device}: the Ray cluster has no GPU; use auto or cpu")
        on_gpu = gpus > 0 and self._device != "cpu"
        workers = self._workers or (gpus if on_gpu else cpus)
        threads = max(1, cpus // workers) if on_gpu else 1
        needs = {"num_cpus": threads, "num_gpus": 1} if on_gpu else {"num_cpus": 1}
        return partial(_driven, partial(_drive, store, "cuda" if on_gpu else "cpu", workers, threads, needs))


def _require_listener(address: str) -> None:
    """Ray would try for minutes. Failure."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():  # local, auto
        return
    try:
        socket.create_connection((host.rpartition("//")[2], int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise Failure(f"there is no Ray cluster at {address}: {error}") from error


def _driven(drive: Driver, *job: Any) -> Iterator[Done]:
    try:
        yield from drive(*job)
    except RayError as error:
        raise Failure(f"Ray: {str(error).strip().splitlines()[-1]}") from error


def _drive(
    store: str | None, device: str, workers: int, threads: int, needs: dict[str, int], pieces: list[Piece],
    target: Target, settings: dict[str, Any],
) -> Iterator[Done]:  # fmt: skip
    context = DataContext.get_current()
    context.enable_progress_bars = False  # the command has its own
    context.max_errored_blocks = -1  # said below
    context.execution_options.verbose_progress = False
    actor: Any = ray.remote(Ledger)
    ledger = actor.options(num_cpus=0).remote(target.done)
    warnings.filterwarnings("ignore", module=r"ray\.data\.")  # that few photos do not keep all actors busy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that max_task_retries will get another name
        told = ray.data.read_datasource(
            Photos(pieces, ledger), compute=TaskPoolStrategy(min(workers, len(pieces))), num_cpus=0,
            override_num_blocks=len(pieces),
        ).map_batches(
            Compressor, fn_constructor_args=(store, device, threads, settings), batch_size=None, batch_format="pyarrow",
            compute=ActorPoolStrategy(size=workers), max_restarts=-1, max_task_retries=TRIES, **needs,
        )  # fmt: skip
    ended = new = 0
    for row in told.iter_rows():
        each = json.loads(row["told"])
        ended += each["ends"]
        new += each["new"]
        yield Done(each["rows"], [Unread(*what) for what in each["passing"]], each["seen"])
    if lost := ray.get(ledger.begun.remote()) - new:
        yield Done([], [Unread(f"{lost} photos", f"their worker died {TRIES + 1} times, maybe out of memory")], lost)
    elif ended < len(pieces):
        yield Done([], [Unread(f"{len(pieces) - ended} of {len(pieces)} pieces", "their reader died")], 0)
