"""Rows as a file: JSON Lines, or Parquet. The same rows give the same bytes."""

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cameo.cli.folder.photos import Row
from cameo.cli.group import Wrong

if TYPE_CHECKING:
    import pyarrow as pa

Write = Callable[[BinaryIO, Iterable[Row]], None]

GROUP_ROWS = 10_000  # of a Parquet file: what is in memory at a time


def writer(target: Path) -> Write:
    """By the target's suffix. Failure where there is none that is known, or pyarrow is not installed."""
    if target.suffix == ".jsonl":
        return _json_lines
    if target.suffix != ".parquet":
        raise Wrong(f"{target}: the faces of many photos go to a file that ends with .parquet or .jsonl")
    require_pyarrow(str(target), f", or write {target.with_suffix('.jsonl')}")
    return partial(write_parquet, paths=True)


def require_pyarrow(target: str, otherwise: str = "") -> None:
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise Wrong(f"{target}: Parquet needs pyarrow: pip install pyarrow{otherwise}") from None


def replace(target: Path, write: Write, rows: Iterable[Row]) -> None:
    """Write ``target`` anew: all of it, or nothing."""
    partial = target.with_name(target.name + ".partial")
    with partial.open("wb") as file:
        write(file, rows)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def json_line(row: Row) -> str:
    return json.dumps({name: _text(value) for name, value in row.items()}, ensure_ascii=False)


def _json_lines(file: BinaryIO, rows: Iterable[Row]) -> None:
    file.writelines(json_line(row).encode() + b"\n" for row in rows)


def write_parquet(file: BinaryIO, rows: Iterable[Row], *, paths: bool) -> None:
    """``paths``: whether the table has a column for them."""
    from pyarrow import Table, parquet  # noqa: PLC0415 - an extra

    columns = schema() if paths else schema().remove(schema().get_field_index("path"))
    with parquet.ParquetWriter(file, columns, compression="zstd") as out:
        for group in _groups(rows):
            out.write_table(Table.from_pylist([_binary(row) for row in group], columns))


def schema() -> "pa.Schema":
    """Of the table of faces."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    number = pa.float32()
    frame = pa.struct({
        "method": pa.string(), "box": pa.list_(number), "landmarks": pa.list_(pa.list_(number)), "roll": number,
        "turned": pa.int32(), "score": number, "faces": pa.int32(),
    })  # fmt: skip
    return pa.schema({
        "id": pa.string(), "path": pa.string(), "payload": pa.binary(), "model": pa.string(), "version": pa.int32(),
        "likeness": number, "frame": frame, "error": pa.string(),
    })  # fmt: skip


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    waiting = iter(rows)
    while group := list(islice(waiting, GROUP_ROWS)):
        yield group


def _binary(row: Row) -> Row:
    payload = row["payload"]
    return {name: _text(value) for name, value in row.items()} | {
        "payload": None if payload is None else base64.b64decode(payload)
    }


def _text(value: Any) -> Any:
    """A file's name as UTF-8; what is not gets a mark."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else value
