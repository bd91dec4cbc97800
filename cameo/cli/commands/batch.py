"""``cameo batch``."""

from typing import Any

import click

from cameo.cli import files
from cameo.cli.folder.command import compress_many
from cameo.cli.options import as_json, settings_options, source_options, split


@click.command(
    epilog="""\b
Examples:
  cameo batch photos/ -o faces.parquet
  cameo batch photos/ --max-bytes 48 --json | jq .payload
"""
)
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True), metavar="FOLDER...")
@files.output_option
@settings_options
@as_json
@source_options
def command(folders: tuple[str, ...], output: str | None, as_json: bool, **options: Any) -> int:
    """Turn the photos in FOLDER into a table, as `cameo compress FOLDER` does.

    The table has a row for each photo: id (SHA-256 of the file), path, payload, model, version, likeness, frame and
    error. It is .parquet or .jsonl by the name of the output. However it is stopped, the same command goes on and
    ends with the same file.
    """
    source, settings = split(options)
    return compress_many(folders, output, settings, source, as_json=as_json)
