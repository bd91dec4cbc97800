"""The photos of folders and files, in a fixed order, and what each gives: a row."""

import base64
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cameo.errors import CameoError, ImageError, RequestError
from cameo.pictures.junk import is_junk
from cameo.results import Compressed

if TYPE_CHECKING:
    import cameo

Row = dict[str, Any]
"""id, path, payload (base64), model, version, likeness, frame, error; None where there is no such thing."""

Stamp = tuple[int, int]
"""Size and time of the last change, ns: a file with the same is not read again."""


class Photo(NamedTuple):
    """``id`` is the SHA-256 of the contents, None where they cannot be read."""

    path: str
    stamp: Stamp | None
    id: str | None
    data: bytes | None


class Result(NamedTuple):
    """``lasting``: whether trying again would give the same."""

    photo: Photo
    row: Row
    lasting: bool


def find(places: Iterable[str], *, except_for: Iterable[Path] = ()) -> list[str]:
    """Files, and those in folders at any depth, without hidden ones and what file managers leave; sorted in each."""
    unwanted = {path.resolve() for path in except_for}
    found: dict[str, None] = {}  # in order, each once
    for place in places:
        if not Path(place).is_dir():
            found[place] = None
            continue
        inside = []
        for folder, folders, names in os.walk(place):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside += [os.path.join(folder, name) for name in names if not name.startswith(".")]  # noqa: PTH118
        for path in sorted(inside):
            if not is_junk(path) and Path(path).is_file() and Path(path).resolve() not in unwanted:
                found[path] = None
    return list(found)


def stamp(path: str) -> Stamp | None:
    """None where there is no such file any more."""
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def read(path: str) -> Photo:
    before = stamp(path)
    try:
        data = Path(path).read_bytes()
    except OSError:
        return Photo(path, None, None, None)
    return Photo(path, before, hashlib.sha256(data).hexdigest(), data)


def compress(
    source: "cameo.Cameo | cameo.Client", photos: Iterable[Photo], settings: dict[str, Any]
) -> Iterator[Result]:
    """A result for each of ``photos``, in order; those are taken a few ahead."""
    waiting: deque[Photo] = deque()

    def contents() -> Iterator[str | bytes]:
        for photo in photos:
            waiting.append(photo._replace(data=None))
            # A file that cannot be read is tried again there: its error comes back in its place.
            yield photo.path if photo.data is None else photo.data

    for result in source.compress_many(contents(), on_error="return", **settings):
        photo = waiting.popleft()
        lasting = photo.id is not None and isinstance(result, Compressed | ImageError | RequestError)
        yield Result(photo, _row(photo, result), lasting)


def _row(photo: Photo, result: Compressed | CameoError | OSError) -> Row:
    row: Row = {"id": photo.id, "path": photo.path}
    if isinstance(result, Compressed):
        return row | {
            "payload": base64.b64encode(result.payload).decode(),
            "model": result.model,
            "version": result.version,
            "likeness": None if result.likeness is None else round(result.likeness, 4),
            "frame": result.frame.rounded(),
            "error": None,
        }
    said = f"{result.type}: {result.detail}" if isinstance(result, CameoError) else f"unreadable: {result.strerror}"
    return row | dict.fromkeys(("payload", "model", "version", "likeness", "frame")) | {"error": said}
