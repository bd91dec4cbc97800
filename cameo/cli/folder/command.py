"""What ``cameo compress`` and ``cameo batch`` do with folders."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cameo.cli import files
from cameo.cli.folder import job, photos, tables
from cameo.cli.group import CANNOT, say
from cameo.cli.options import open_source


def compress_many(
    places: Sequence[str], output: str | None, settings: dict[str, Any], source: dict[str, Any], *, as_json: bool
) -> int:
    """The exit code. To a file the rows go when all are there; to stdout as they come."""
    if files.PIPE in places:
        raise click.UsageError("- is one photo, and goes alone")
    if output is None and not as_json:
        raise click.UsageError("many photos go to a table: give -o faces.parquet, -o faces.jsonl, or --json")
    target = None if output is None or output == files.PIPE else Path(output)
    if target is not None:
        tables.writer(target)  # says early what is missing
    paths = photos.find(places, except_for=job.beside(target) if target else ())
    if not paths:
        raise click.UsageError(f"there are no photos in {', '.join(places)}")
    if target is None:
        return _to_stdout(paths, settings, source)
    with (
        open_source(**source) as c,
        click.progressbar(length=len(paths), file=sys.stderr, show_pos=True, hidden=not sys.stderr.isatty()) as bar,
    ):
        done, failed = job.run(c, paths, settings, target, bar.update)
    say(
        f"{target}: {done} of {len(paths)} photos"
        + ("; the column error says what is wrong with others" if failed else "")
    )
    return CANNOT if failed else 0


def _to_stdout(paths: list[str], settings: dict[str, Any], source: dict[str, Any]) -> int:
    failed = 0
    with open_source(**source) as c:
        for _, row, _ in photos.compress(c, map(photos.read, paths), settings):
            failed += row["error"] is not None
            click.echo(tables.json_line(row))
    if failed:
        say(f"{len(paths) - failed} of {len(paths)} photos; error says what is wrong with others")
    return CANNOT if failed else 0
