"""The photos of folders, of Parquet files with a column of images, and of WebDataset tars: one way to read them all.

A source is found once, as pieces. Each piece can be read by itself, wherever it is, and gives its photos in one order.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from cameo.cli.folder.photos import Photo
from cameo.cli.group import Wrong
from cameo.cli.parts import places
from cameo.errors import CameoError

PIECE_FILES = 64  # photos that are files of their own
ROWS = 16  # of a Parquet file, in memory at a time
TARS = {".tar", ".tgz"}
PICTURES = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
"""Members of a tar with other suffixes are labels and the like."""


class Piece(NamedTuple):
    """Photos, each a file; or one tar; or some row groups of one Parquet file."""

    addresses: tuple[str, ...]
    group: int | None = None
    """Of a Parquet file."""
    column: str = ""
    photos: int | None = None
    """How many there are, where that is known before they are read."""


class Unread(NamedTuple):
    """A photo, or the rest of a piece, that could not be read; the next run may have more luck."""

    path: str
    error: str


def find(addresses: Sequence[str], column: str, target: str) -> list[Piece]:
    """What there is, but for the target. Wrong where a Parquet file has no such column; OSError, CameoError."""
    found: dict[str, None] = {}
    for address in addresses:
        found |= dict.fromkeys(places.find(address))
    inside = places.join(target, "")
    files: list[str] = []
    pieces: list[Piece] = []
    for address in found:
        suffix = PurePosixPath(address).suffix.lower()
        if address.startswith(inside):
            continue
        if suffix == ".parquet":
            pieces += _row_groups(address, column)
        elif suffix in TARS or address.lower().endswith(".tar.gz"):
            pieces.append(Piece((address,)))
        else:
            files.append(address)
    for first in range(0, len(files), PIECE_FILES):
        some = tuple(files[first : first + PIECE_FILES])
        pieces.append(Piece(some, photos=len(some)))
    return pieces


def read(piece: Piece) -> Iterator[Photo | Unread]:
    """The photos of a piece, each with its digest."""
    first = piece.addresses[0]
    try:
        if piece.group is not None:
            yield from _of_parquet(first, piece.group, piece.column)
        elif piece.photos is None:
            yield from _of_tar(first)
        else:
            for address in piece.addresses:
                yield _file(address)
    except (CameoError, OSError, tarfile.TarError, EOFError) as error:
        yield Unread(first, _said(error))


def _file(address: str) -> Photo | Unread:
    try:
        return _photo(address, places.read(address))
    except (CameoError, OSError, ValueError) as error:  # ValueError: too large
        return Unread(address, _said(error))


def _photo(path: str, data: bytes) -> Photo:
    return Photo(path, None, hashlib.sha256(data).hexdigest(), data)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _of_tar(address: str) -> Iterator[Photo]:
    with places.reader(address) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            if member.isfile() and PurePosixPath(member.name).suffix.lower() in PICTURES:
                contents = tar.extractfile(member)
                assert contents is not None
                yield _photo(f"{address}/{member.name}", contents.read())


def _row_groups(address: str, column: str) -> list[Piece]:
    from pyarrow import parquet, types  # noqa: PLC0415 - an extra

    with places.reader(address) as file:
        try:
            table = parquet.ParquetFile(file)
        except ValueError as error:  # ArrowInvalid
            raise OSError(None, f"it is no Parquet file: {error}", address) from error
        schema, metadata = table.schema_arrow, table.metadata
    kind = schema.field(column).type if column in schema.names else None
    if kind is not None and types.is_struct(kind) and kind.get_field_index("bytes") >= 0:  # as Hugging Face writes it
        kind = kind.field("bytes").type
    if kind is None or not (types.is_binary(kind) or types.is_large_binary(kind)):
        what = "has no column" if kind is None else f"holds {kind}, not the bytes of files, in the column"
        raise Wrong(
            f"{address}: it {what} {column!r}; its columns are {', '.join(schema.names)}: name one with --column"
        )
    return [
        Piece((address,), group, column, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)
    ]


def _of_parquet(address: str, group: int, column: str) -> Iterator[Photo]:
    from pyarrow import parquet  # noqa: PLC0415

    with places.reader(address) as file:
        table = parquet.ParquetFile(file)
        row = sum(table.metadata.row_group(before).num_rows for before in range(group))
        for batch in table.iter_batches(ROWS, row_groups=[group], columns=[column]):
            values: Iterable[Any] = batch.column(0)
            for value in values:
                image = value.as_py()
                data = image["bytes"] if isinstance(image, dict) else image
                yield _photo(f"{address}#{row}", data or b"")
                row += 1
