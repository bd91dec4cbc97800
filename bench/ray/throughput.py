"""Photos a second of Ray Data with 1 and 2 workers, beside as many bare loops, in turn.

    python -m bench.ray.throughput FOLDER --rounds 3

A bare loop is a process that calls ``Cameo.compress`` for one photo after the other. Both are timed while all workers
are at work: neither pays for its start, which is a column of its own, nor for its end. Where others use the machine,
wall time says little, and the driver sees the first block late, which favours Ray: take thousands of photos, and a
quiet machine. CPU seconds of all processes for a photo, those of Ray's own among them, say what Ray adds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.ray.kills import memory_mb
from bench.ray.photos import vary
from bench.server import family
from cameo.cli.parts import sources
from cameo.cli.parts.cluster import Cluster
from cameo.cli.parts.target import Target

SETTINGS = {
    "model": "vqvae-128", "version": None, "max_bytes": None, "effort": "fast", "frame": "auto", "likeness": False,
}  # fmt: skip
STEADY = 0.85  # of the photos: later, some workers have nothing left
LOOP = """
import sys, time
from pathlib import Path
import cameo
with cameo.open(device="cpu") as c:
    photos = [Path(line.strip()) for line in sys.stdin]
    c.compress(photos[0], model="vqvae-128", effort="fast", likeness=False)
    print("ready", flush=True)
    for photo in photos:
        c.compress(photo, model="vqvae-128", effort="fast", likeness=False)
        print(time.perf_counter(), time.process_time(), flush=True)
"""


class Rate(NamedTuple):
    """Photos a second, CPU seconds a photo, seconds to the first result, most memory in MB."""

    a_second: float
    cpu: float
    start: float
    memory: float


def cpu_seconds(pid: int) -> dict[int, float]:
    """Of a process and each below it that is there."""
    found = {}
    for each in family(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_text()
        except OSError:
            continue
        found[each] = sum(map(int, stat.rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


def by_ray(photos: list[Path], n: int) -> Rate:
    began = time.perf_counter()
    marks: list[tuple[float, dict[int, float], int]] = []  # few: to look at all processes costs CPU time, too
    memory = start = 0.0
    with tempfile.TemporaryDirectory() as folder, Cluster("local", n, "cpu") as cluster, Target(folder) as target:
        pieces = sources.find([str(photos[0].parent)], "image", folder)
        done = 0
        for each in cluster.driver(None)(pieces, target, SETTINGS):
            done += len(each.rows)
            if not marks or (len(marks) == 1 and done >= STEADY * len(photos)):
                marks.append((time.perf_counter(), cpu_seconds(os.getpid()), done))
                start = start or marks[0][0] - began
        memory = memory_mb(os.getpid())
    (t0, c0, n0), (t1, c1, n1) = marks
    spent = sum(seconds - c0.get(pid, 0.0) for pid, seconds in c1.items())  # Ray ends processes that it did not need
    return Rate((n1 - n0) / (t1 - t0), spent / (n1 - n0), start, memory)


def by_loops(photos: list[Path], n: int) -> Rate:
    began = time.perf_counter()
    loops = [
        subprocess.Popen(
            [sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,  # Linux shares the cores by session
        )
        for _ in range(n)
    ]  # fmt: skip
    for index, loop in enumerate(loops):
        assert loop.stdin
        loop.stdin.write("".join(f"{photo}\n" for photo in photos[index::n]))
        loop.stdin.close()
    rate = cpu = start = memory = 0.0
    for loop in loops:
        assert loop.stdout
        loop.stdout.readline()
        start = max(start, time.perf_counter() - began)
    memory = sum(memory_mb(loop.pid) for loop in loops)
    for loop in loops:
        assert loop.stdout
        lines = [tuple(map(float, line.split())) for line in loop.stdout]
        last = int(STEADY * len(lines))
        (t0, c0), (t1, c1) = lines[0], lines[last - 1]
        rate += (last - 1) / (t1 - t0)
        cpu += (c1 - c0) / (last - 1) / n
        loop.wait()
    return Rate(rate, cpu, start, memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photos to vary")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = []
        for index, data in enumerate(vary(arguments.folder, arguments.count)):
            photos.append(Path(folder, f"{index:06}.jpg"))
            photos[-1].write_bytes(data)
        for n in (1, 2):
            rounds = [(by_loops(photos, n), by_ray(photos, n)) for _ in range(arguments.rounds)]
            for name, rates in zip(("loops", "Ray"), zip(*rounds, strict=True), strict=True):
                a_second, cpu, start, memory = (statistics.median(values) for values in zip(*rates, strict=True))
                print(f"n={n} {name}: {a_second:.2f}/s, {cpu * 1e3:.1f} ms CPU, start {start:.1f} s, {memory:.0f} MB")
            ratios = [(ray.a_second / loop.a_second, loop.cpu / ray.cpu) for loop, ray in rounds]
            wall, cpu = (statistics.median(values) for values in zip(*ratios, strict=True))
            print(f"n={n} Ray / loops: {wall:.1%} by wall time, {cpu:.1%} by CPU time", flush=True)


if __name__ == "__main__":
    main()
