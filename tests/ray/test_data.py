"""``cameo compress --ray`` on a cluster of two nodes: exactly once, whatever is killed."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import cameo
from bench.server import family
from cameo.results import Compressed
from tests.faces import astronaut
from tests.ray.cluster import PATIENCE, two_nodes, until
from tests.service.server import ROOT

PHOTOS, BLOCK = 60, 5
ACTOR = "MapWorker"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    """The one face, each time a little brighter."""
    files = []
    for i in range(PHOTOS):
        file = io.BytesIO()
        pixels = np.minimum(astronaut().astype(np.int16) + i, 255).astype(np.uint8)
        Image.fromarray(pixels[:320, 60:380]).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


@pytest.fixture(scope="module")
def source(photos: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of them in tars, half in Parquet; one again as a file, and what is no photo."""
    root = tmp_path_factory.mktemp("photos")
    half = PHOTOS // 2
    for first in range(0, half, BLOCK):
        with tarfile.open(root / f"{first}.tar", "w") as archive:
            for i in range(first, first + BLOCK):
                info = tarfile.TarInfo(f"{i}.jpg")
                info.size = len(photos[i])
                archive.addfile(info, io.BytesIO(photos[i]))
    parquet.write_table(pa.table({"image": photos[half:]}), root / "rest.parquet", row_group_size=BLOCK)
    (root / "again.jpg").write_bytes(photos[7])
    (root / "none.jpg").write_bytes(b"no photo")
    return root


def rows(target: Path) -> list[dict[str, Any]]:
    parts = [parquet.read_table(path) for path in target.glob("part-*.parquet")]
    found: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist() if parts else []
    return found


def start(cluster: Any, source: Path, target: Path, store: Path, log: Path) -> subprocess.Popen[bytes]:
    arguments = ["compress", source, "-o", f"{target}/", "--ray", "--ray-address", cluster.address, "--store", store]
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.ray.kept", *map(str, arguments), "--device", "cpu"],
            cwd=ROOT, stdout=file, stderr=file, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def actors(cluster: Any) -> list[int]:
    """Processes of the cluster that compress."""
    found = []
    for node in cluster.list_all_nodes():
        for pid in family(node.all_processes["raylet"][0].process.pid):
            try:
                name = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if ACTOR.encode() in name:
                found.append(pid)
    return found


def test_killed_drivers_and_workers_lose_nothing_and_do_nothing_twice(
    cluster: Any, source: Path, photos: list[bytes], tiny_store: Path, tmp_path: Path
) -> None:
    target, log = tmp_path / "faces", tmp_path / "log"
    running: list[subprocess.Popen[bytes]] = []

    def more_than(count: int) -> None:
        until(lambda: len(rows(target)) > count or running[-1].poll() is not None)
        assert running[-1].poll() is None, log.read_text()

    try:
        for again in range(3):
            running.append(start(cluster, source, target, tiny_store, log))
            done = len(rows(target))
            more_than(done)
            for pid in actors(cluster):
                os.kill(pid, signal.SIGKILL)
            if not again:  # others take their place
                more_than(len(rows(target)) + BLOCK)
            running[-1].kill()
            running[-1].wait()
            assert done < len(rows(target)) < PHOTOS, "it was killed in the middle"
        running.append(start(cluster, source, target, tiny_store, log))
        assert running[-1].wait(PATIENCE) == 1, log.read_text()
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert f"{target}/: {PHOTOS + 1} photos; of 1 the column error says" in log.read_text()
    found = {row["id"]: row for row in rows(target)}
    assert len(found) == len(rows(target)) == PHOTOS + 1
    assert found[hashlib.sha256(b"no photo").hexdigest()]["error"].startswith("not-an-image: ")
    with cameo.open(tiny_store, device="cpu") as c:
        for photo, face in zip(photos, c.compress_many(photos), strict=True):
            row = found[hashlib.sha256(photo).hexdigest()]
            assert isinstance(face, Compressed)
            assert (row["payload"], row["frame"]["faces"]) == (face.payload, face.frame.faces)
