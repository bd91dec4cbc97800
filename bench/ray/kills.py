"""Kill the driver and the workers of ``cameo compress --ray`` in the middle, three times, and count what comes out.

    python -m bench.ray.kills FOLDER --count 10000

makes photos from those in FOLDER, compresses them on this machine without Ray, then with Ray, where the workers and the
driver are killed three times. Exits with 1 where a row is missing or there twice, or where a payload differs.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bench.ray.photos import write_shards
from bench.server import family

KILLS = 3
POLL = 1.0


def rows(target: Path) -> list[dict[str, Any]]:
    parts = [parquet.read_table(path, columns=["id", "payload", "error"]) for path in target.glob("part-*.parquet")]
    found: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist() if parts else []
    return found


def count(target: Path) -> int:
    return sum(parquet.read_metadata(path).num_rows for path in target.glob("part-*.parquet"))


def start(photos: Path, target: Path, options: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cameo.cli", "compress", str(photos), "-o", f"{target}/", *options],
        start_new_session=True,
    )


def workers(pid: int) -> list[int]:
    """The actors of a driver that started its own cluster."""
    return [each for each in family(pid) if b"MapWorker" in _name(each)]


def memory_mb(pid: int) -> float:
    """Of a process and all below it: what is theirs alone, and a share of what they have together."""
    total = 0
    for each in family(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(text.partition("\nPss:")[2].split()[0]) if "\nPss:" in text else 0
    return total / 1e3


def _name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photos to vary")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--options", default="--model vqvae-128", help="of cameo compress")
    parser.add_argument("--work", type=Path, default=None, help="where the photos go; what is there already is used")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return measure(arguments.work or Path(temporary), arguments.folder, arguments.count, arguments.options.split())


def measure(work: Path, folder: Path, wanted: int, options: list[str]) -> int:
    photos, here, on_ray = work / "photos", work / "here", work / "ray"
    if not photos.exists():
        write_shards(folder, wanted, photos)
    began = time.perf_counter()
    alone = start(photos, here, options)
    alone.wait()
    print(f"without Ray: {count(here)} rows, {time.perf_counter() - began:.0f} s", flush=True)
    for kill in range(KILLS + 1):
        began, before = time.perf_counter(), count(on_ray)
        driver = start(photos, on_ray, [*options, "--ray"])
        goal = wanted * (kill + 1) // (KILLS + 1) if kill < KILLS else wanted + 1
        memory: list[float] = []
        while driver.poll() is None and (done := count(on_ray)) < goal:
            if done > before:  # all have started
                memory.append(memory_mb(driver.pid))
            time.sleep(POLL)
        if driver.poll() is None:
            for pid in workers(driver.pid):
                os.kill(pid, signal.SIGKILL)
            driver.kill()
        driver.wait()
        some = max(1, len(memory) // 4)
        print(
            f"run {kill + 1}: rows {before} -> {count(on_ray)}, {time.perf_counter() - began:.0f} s, "
            f"memory {statistics.fmean(memory[:some] or [0]):.0f} MB in the first quarter after the first rows, "
            f"{statistics.fmean(memory[-some:] or [0]):.0f} MB in the last, ended with {driver.returncode}",
            flush=True,
        )
    expected, found = rows(here), rows(on_ray)
    by_id = {row["id"]: row for row in expected}
    differ = [row for row in found if by_id.get(row["id"]) != row]
    distinct = len({row["id"] for row in found})
    print(f"{len(found)} rows, {distinct} ids, {len(differ)} differ from those without Ray")
    return int(not len(found) == distinct == len(by_id) == wanted or bool(differ))


if __name__ == "__main__":
    sys.exit(main())
