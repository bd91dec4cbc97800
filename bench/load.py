"""Cameo and its rivals under load: ``python -m bench.load``. What is measured, and how, stands in ``--help``."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from tqdm import tqdm

from bench.contest import SERVERS, Contest, Setting
from bench.report import write_report
from bench.server import BenchError
from bench.service import machine
from bench.stores import default_version
from cameo.errors import CameoError
from cameo.pictures.encode import encode
from tests.faces import astronaut

DOCS = Path("docs")

DESCRIPTION = """\
Measure Cameo beside a FastAPI service with async def, one with def, and LitServe with batching: the same machine,
checkpoint, pictures and requests. For each of four works (photo: find the face in a 512-pixel JPEG and compress it;
portrait: compress a PNG that is a portrait already, both with effort=fast; reconstruct: draw a payload as a PNG;
search, of Cameo alone: a photo at the default effort):

  limit       the same work without a server, in a process a core, before the first server and after each
  saturated   what a server answers at most, to 16 clients that each ask again at once
  loads       requests that are planned and wait for no answer, at multiples of what Cameo answers at most: goodput
              (answers 200 within a second of the planned moment), latency of accepted requests, refusals (429, 503,
              504), errors, peak memory, CPU time
  latency     of Cameo at a single client, less that of the same work bare
  hot swap    a version is published while requests come in; none may fail

Before anything is timed, every server must give a sound payload and the same picture to one level of 255."""

EPILOG = """\
The whole run takes a quarter of an hour and wants a machine with nothing else to do; figures to compare are ratios
within one run. Servers listen on free ports of 127.0.0.1 and end with the run. CAMEO_* variables reach Cameo:
CAMEO_PROCESSES=2 measures it in two processes.

  python -m bench.load --quick                    a minute or two, to see that it works; its figures mean nothing
  python -m bench.load --out out                  figures.json, benchmarks.md and plots into the folder out
  python -m bench.load --docs                     the same into docs/
  python -m bench.load --redraw figures.json      the report again, from measurements made before
  python -m bench.load --servers Cameo,LitServe   only these; Cameo is always the first, since the loads are its own"""


def main() -> int:
    options = parsed()
    try:
        if options.redraw:
            figures = json.loads(options.redraw.read_bytes())
        else:
            about = machine()
            stored = default_version(options.store, options.model)
            photo = options.picture.read_bytes() if options.picture else encode(astronaut(), "image/jpeg")
            setting = setting_of(options)
            with tqdm(unit="step") as bar:
                figures = {"machine": about} | Contest(stored, photo, setting, bar).run()
        if options.docs:
            folder = DOCS / "benchmarks"
            write_report(figures, DOCS / "benchmarks.md", folder)
        else:
            folder = options.out
            write_report(figures, folder / "benchmarks.md", folder)
        (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    except (BenchError, CameoError, ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def setting_of(options: argparse.Namespace) -> Setting:
    loads, servers = tuple(sorted(options.loads)), tuple(options.servers)
    if options.quick:
        return Setting(seconds=1.5, loads=loads, servers=servers, pairs=10, swap_seconds=4.0)
    return Setting(seconds=options.seconds, loads=loads, servers=servers)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.load", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--store", type=Path, default=Path("model_store"), help="model store; default: model_store")
    add("--model", help="its default version serves; default: the store's default model")
    add("--picture", type=Path, help="photo of a face, as JPEG; default: scikit-image's astronaut, 512 pixels")
    add("--seconds", type=float, default=8.0, help="length of each load, at least 1; default: 8")
    add("--loads", type=_numbers, default="0.5,1,2", help="multiples of Cameo's capacity; default: 0.5,1,2")
    add("--servers", type=_servers, default=",".join(SERVERS), help=f"default: {','.join(SERVERS)}")
    add("--quick", action="store_true", help="every step at its shortest")
    add("--out", type=Path, default=Path("runs/bench"), help="folder for the results; default: runs/bench")
    add("--docs", action="store_true", help="write docs/benchmarks.md and docs/benchmarks/ instead")
    add("--redraw", type=Path, metavar="FIGURES", help="measure nothing; make the report of this figures.json")
    options = parser.parse_args()
    if not options.seconds >= 1:
        parser.error(f"--seconds is {options.seconds:g}; it must be at least 1")
    if not Path("/proc/self/stat").exists():
        parser.error("memory and CPU time are read from /proc, which this system does not have; run it on Linux")
    if "LitServe" in options.servers and not options.redraw and not importlib.util.find_spec("litserve"):
        parser.error("LitServe is not installed: pip install -e '.[bench]', or leave it out of --servers")
    return options


def _numbers(text: str) -> list[float]:
    loads = [float(part) for part in text.split(",")]
    if not all(0 < load <= 10 for load in loads):
        raise argparse.ArgumentTypeError(f"{text}: loads lie above 0 and are at most 10")
    return loads


def _servers(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted(set(names) - set(SERVERS)):
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    return [name for name in SERVERS if name in names or name == "Cameo"]


if __name__ == "__main__":
    sys.exit(main())
