"""Many photos to one file of faces: on all cores, each photo once, and after any end as if there had been none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cameo.cli.folder import photos, tables
from cameo.cli.folder.journal import Journal
from cameo.cli.folder.photos import Photo
from cameo.cli.group import Failure

if TYPE_CHECKING:
    import cameo


class Summary(NamedTuple):
    done: int
    failed: int


def beside(target: Path) -> list[Path]:
    """The target, and what a job keeps beside it while it is at work."""
    return [target, *(target.with_name(target.name + suffix) for suffix in (".journal", ".lock", ".partial"))]


def run(
    source: "cameo.Cameo | cameo.Client", paths: list[str], settings: dict[str, Any], target: Path,
    progress: Callable[[int], object],
) -> Summary:  # fmt: skip
    """Write ``target``, with a row for each of ``paths``, in their order. ``progress`` is told how many are done.

    What is done is in a journal beside the target, and removed when the target is whole. Failure where another job
    writes the same target, or the journal is of other ``settings``.
    """
    write = tables.writer(target)
    _, at, lock, _ = beside(target)
    with alone(lock, target), Journal(at, settings) as journal:
        left = [path for path in paths if path not in journal]
        progress(len(paths) - len(left))
        if journal.model and settings["model"] is None:  # though another may be the default by now
            settings = settings | {"model": journal.model[0], "version": journal.model[1]}
        twins: list[Photo] = []
        for photo, row, lasting in photos.compress(source, _new(left, journal, twins, progress), settings):
            journal.add(row, photo.stamp if lasting else None)
            progress(1)
        for photo in twins:
            _settle(journal, photo, source, settings)
            progress(1)
        failed = 0

        def rows() -> Iterator[photos.Row]:
            nonlocal failed
            for row in journal.rows(paths):
                failed += row["error"] is not None
                yield row

        tables.replace(target, write, rows())
        journal.remove()
    return Summary(len(paths) - failed, failed)


def _new(paths: list[str], journal: Journal, twins: list[Photo], progress: Callable[[int], object]) -> Iterator[Photo]:
    """The photos that have to be compressed; those of which another is on its way are put into ``twins``."""
    begun: set[str] = set()
    for path in paths:
        photo = photos.read(path)
        if photo.id is not None and journal.has(photo.id):
            journal.copy(photo.id, path, photo.stamp)
            progress(1)
        elif photo.id in begun:
            twins.append(photo._replace(data=None))
        else:
            if photo.id is not None:
                begun.add(photo.id)
            yield photo


def _settle(journal: Journal, twin: Photo, source: "cameo.Cameo | cameo.Client", settings: dict[str, Any]) -> None:
    """A photo of which another file had the contents: its row, or where that did not last, its own."""
    assert twin.id is not None
    if journal.has(twin.id):
        journal.copy(twin.id, twin.path, twin.stamp)
        return
    for photo, row, lasting in photos.compress(source, [photos.read(twin.path)], settings):
        journal.add(row, photo.stamp if lasting else None)


@contextmanager
def alone(lock: Path, target: Path | str) -> Iterator[None]:
    """Failure where another job of this machine writes ``target``."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 - only jobs need it

    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps what is open
                    lock.unlink()
    except Timeout:
        raise Failure(f"{target}: another job is writing it; wait for it, or give another -o") from None
