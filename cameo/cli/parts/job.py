"""Photos of any source into the parts of a target, each photo once: here on all cores, or by Ray on many machines."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from cameo.cli.folder import photos
from cameo.cli.folder.photos import Photo, Row
from cameo.cli.parts import sources
from cameo.cli.parts.sources import Piece, Unread
from cameo.cli.parts.target import Target, alone

if TYPE_CHECKING:
    import cameo

PROBE_SIDE = 128


class Done(NamedTuple):
    """What became of some photos: rows that last, and what may be different the next time."""

    rows: list[Row]
    passing: list[Unread]
    seen: int
    """Photos, those left out as done already included."""


class Summary(NamedTuple):
    written: int
    """Photos that have a row now."""
    faceless: int
    """Of these, photos whose row has an error."""
    passing: list[Unread]


Driver = Callable[[list[Piece], Target, dict[str, Any]], Iterator[Done]]
"""Goes through pieces, with the settings of the job; leaves out what is in the target."""


def run(
    source: "cameo.Cameo | cameo.Client", driver: Driver, pieces: list[Piece], address: str, settings: dict[str, Any],
    progress: Callable[[int], object],
) -> Summary:  # fmt: skip
    """``source`` says what the settings mean. Failure, Wrong, CameoError, OSError."""
    probe = _probe(source, settings)
    passing: list[Unread] = []
    with alone(address), Target(address) as target:
        settings = target.open(settings, probe.model, probe.version)
        for done in driver(pieces, target, settings):
            for row in done.rows:
                target.add(row)
            passing += done.passing
            progress(done.seen)
        return Summary(len(target.done), target.faceless, passing)


def here(
    source: "cameo.Cameo | cameo.Client", pieces: Sequence[Piece], target: Target, settings: dict[str, Any]
) -> Iterator[Done]:
    """The driver that has one process."""
    begun = set(target.done)
    left_out = 0
    passing: list[Unread] = []

    def new() -> Iterator[Photo]:
        nonlocal left_out
        for piece in pieces:
            for photo in sources.read(piece):
                if isinstance(photo, Unread):
                    passing.append(photo)
                    continue
                assert photo.id is not None
                identity = bytes.fromhex(photo.id)
                if identity in begun:
                    left_out += 1
                    continue
                begun.add(identity)
                yield photo

    for result in photos.compress(source, new(), settings):
        yield Done(*sort([result]), seen=1 + left_out)
        left_out = 0
    yield Done([], passing, left_out + len(passing))


def sort(results: Sequence[photos.Result]) -> tuple[list[Row], list[Unread]]:
    """Rows that last, and what to try again."""
    rows = [result.row for result in results if result.lasting]
    return rows, [Unread(result.photo.path, result.row["error"]) for result in results if not result.lasting]


def _probe(source: "cameo.Cameo | cameo.Client", settings: dict[str, Any]) -> "cameo.results.Compressed":
    """Whether the settings can be met, and by which version: before anything is written or started."""
    grey = Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), "grey")
    quick = {"frame": "asis", "effort": settings["effort"] or "fast", "likeness": settings["likeness"] or False}
    return source.compress(grey, **settings | quick)
