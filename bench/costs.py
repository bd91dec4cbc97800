"""What a face costs in core seconds, memory and bytes: ``python -m bench.costs``.

It writes ``docs/scale/costs.json``. Everything is CPU time on one core, so waiting for a core does not count. Caches
and the other thread of a core are shared all the same: on a busy machine CPU time has been twice that of a quiet one.
The cases take turns, so that drift of the machine meets all of them. ``bench.scale`` plans with these figures, and the
resources of ``deploy/kubernetes`` come from them.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm, trange

import cameo
from bench.server import Peak, Server, post
from bench.service import machine
from bench.sizes import measure_bytes
from bench.workloads import PAYLOAD
from cameo.faces.framing import Framer
from cameo.pictures.encode import encode
from tests.faces import astronaut

OUT = Path("docs/scale/costs.json")
PARTS = "core_seconds", "pod", "bytes"
EFFORTS: dict[str, tuple[str, ...]] = {"cameo-128": ("fast", "good", "best"), "vqvae-128": ("fast",)}
PHONE = 4032, 3024  # pixels of a photo as a phone takes it
PATIENCE = 600  # seconds for an answer; the machine may be busy
LARGEST = 7071, 7071  # just below CAMEO_MAX_PIXELS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.costs", description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--store", type=Path, default=Path("model_store"), help="model store; default: model_store")
    add("--rounds", type=int, default=20, help="of all cases; default: 20")
    add("--rows", type=int, default=1000, help="faces whose bytes in a table are measured; default: 1000")
    add("--parts", default=",".join(PARTS), help=f"what is measured anew, of {','.join(PARTS)}; default: everything")
    add("--out", type=Path, default=OUT, help=f"default: {OUT}")
    options = parser.parse_args()
    parts = {
        "core_seconds": lambda: measure_cpu(options.store, options.rounds),
        "pod": lambda: measure_pod(options.store),
        "bytes": lambda: measure_bytes(options.store, tuple(EFFORTS), options.rows),
    }
    about = {"machine": machine(), "date": datetime.now(UTC).date().isoformat()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.parts.split(","):
        measured = parts[name]()
        figures = json.loads(options.out.read_bytes()) if options.out.exists() else {}
        options.out.write_text(json.dumps(figures | about | {name: measured}, indent=1) + "\n")
    return 0


def measure_cpu(store: Path, rounds: int) -> dict[str, Any]:
    """CPU seconds by work: median, quartiles and the values in order, which a simulation draws from."""
    torch.set_num_threads(1)
    cores = os.sched_getaffinity(0)
    here = cameo.open(store, device="cpu")
    works = dict(_works(here))
    for work in works.values():
        work()
    os.sched_setaffinity(0, {max(cores)})
    took: dict[str, list[float]] = {name: [] for name in works}
    try:
        for _ in trange(rounds, desc="rounds"):
            for name, work in works.items():
                began = time.process_time()
                work()
                took[name].append(time.process_time() - began)
    finally:
        os.sched_setaffinity(0, cores)
    return {name: _spread(values) for name, values in took.items()}


def _works(here: cameo.Cameo) -> Iterator[tuple[str, Callable[[], object]]]:
    photo, phone = encode(astronaut(), "image/jpeg"), picture(*PHONE)
    for model, efforts in EFFORTS.items():
        for effort in efforts:
            options: dict[str, Any] = {"model": model, "effort": effort, "likeness": effort != "fast"}
            yield f"compress {model} {effort}", partial(here.compress, photo, **options)
        payload = here.compress(photo, model=model, effort="fast").payload
        yield f"decode {model}", partial(here.reconstruct, payload)
        yield f"reconstruct {model}", partial(_png, here, payload)
    yield "compress cameo-128 fast, phone", partial(here.compress, phone, effort="fast", likeness=False)
    framed = encode(Framer().auto(astronaut(), 128).portrait, "image/png")
    yield (
        "compress cameo-128 fast, portrait",
        partial(here.compress, framed, frame="asis", effort="fast", likeness=False),
    )
    yield "verify cameo-128", partial(here.verify, photo, here.compress(photo, effort="fast").payload)


def _png(here: cameo.Cameo, payload: bytes) -> bytes:
    return encode(np.asarray(here.reconstruct(payload)), "image/png")


def picture(width: int, height: int) -> bytes:
    """The face in a larger photo, as JPEG."""
    out = io.BytesIO()
    Image.fromarray(astronaut()).resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def _spread(values: list[float]) -> dict[str, Any]:
    low, median, high = statistics.quantiles(values, n=4)
    return {
        "median": _short(median),
        "quartiles": [_short(low), _short(high)],
        "all": [_short(v) for v in sorted(values)],
    }


def _short(seconds: float) -> float:
    return float(f"{seconds:.3g}")


def measure_pod(store: Path, workers: int = 2) -> dict[str, Any]:
    """One service with the whole store: start, memory, and CPU seconds of a request, its HTTP included.

    ``usual`` is the peak over photos, searches and faces drawn; ``worst`` that of every worker busy with the largest
    picture, of /compare, and of the largest batch, with the others on top of it.
    """
    photo, phone, largest = encode(astronaut(), "image/jpeg"), picture(*PHONE), picture(*LARGEST)
    starts, ready = [], []
    for _ in trange(3, desc="starts"):
        with Server(store, settings={"CAMEO_WORKERS": str(workers)}) as server:
            starts.append(server.cpu_seconds())
            ready.append(server.memory_mb())
    with Server(store, settings={"CAMEO_WORKERS": str(workers), "CAMEO_DEADLINE_MS": "600000"}) as server:
        payload = _ask(server, "/compress?effort=fast", "image/jpeg", photo, PAYLOAD)
        calls = {
            "compress cameo-128 fast": ("/compress?effort=fast&likeness=false", "image/jpeg", photo, PAYLOAD, 60),
            "compress cameo-128 good": ("/compress?effort=good", "image/jpeg", photo, PAYLOAD, 6),
            "reconstruct cameo-128": ("/reconstruct", PAYLOAD, payload, "image/png", 60),
        }
        cpu = {name: _cpu_of_requests(server, *call) for name, call in tqdm(calls.items(), desc="requests")}
        with Peak(server) as usual, ThreadPoolExecutor(8) as clients:
            asked = [(path, kind, body, accept) for path, kind, body, accept, _ in calls.values()]
            asked += [("/compress?effort=fast", "image/jpeg", phone, PAYLOAD)]
            list(clients.map(lambda call: _ask(server, *call), asked * 2))
        with Peak(server) as worst, ThreadPoolExecutor(8) as clients:
            heavy = [("/compress", "image/jpeg", largest, PAYLOAD), ("/compare", "image/jpeg", largest, "image/png")]
            list(clients.map(lambda call: _ask(server, *call), heavy * 2 + asked))
    return {
        "workers": workers,
        "start_core_seconds": _short(statistics.median(starts)),
        "ready_mb": round(statistics.median(ready)),
        "usual_peak_mb": round(usual.megabytes),
        "worst_peak_mb": round(worst.megabytes),
        "request_core_seconds": cpu,
    }


def _ask(server: Server, path: str, kind: str, body: bytes, accept: str) -> bytes:
    with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        return post(connection, path, kind, body, accept)


def _cpu_of_requests(server: Server, path: str, kind: str, body: bytes, accept: str, count: int) -> dict[str, Any]:
    """Over five rounds, with as many clients as workers."""
    rounds = []
    for turn in range(6):
        before = server.cpu_seconds()
        with ThreadPoolExecutor(server.workers) as clients:
            list(clients.map(lambda _: _ask(server, path, kind, body, accept), range(count)))
        if turn:  # the first warms up
            rounds.append((server.cpu_seconds() - before) / count)
    low, median, high = statistics.quantiles(rounds, n=4)
    return {"median": _short(median), "quartiles": [_short(low), _short(high)]}


if __name__ == "__main__":
    sys.exit(main())
