"""``cameo compress``."""

import base64
from pathlib import Path
from typing import Any

import click

from cameo.cli import files, show
from cameo.cli.folder.command import compress_many
from cameo.cli.group import about, say
from cameo.cli.options import as_json, open_source, settings_options, source_options, split


@click.command(
    epilog="""\b
Examples:
  cameo compress photo.jpg                       prints the payload as base64
  cameo compress photo.jpg -o face.cameo         writes its bytes
  cameo compress photo.jpg --max-bytes 48 --effort best --json
  cameo compress - -o - < photo.jpg > face.cameo
  cameo compress photos/ -o faces.parquet        many; stopped, the same command goes on
"""
)
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True), metavar="PHOTO...")
@files.output_option
@settings_options
@as_json
@source_options
def command(photos: tuple[str, ...], output: str | None, as_json: bool, **options: Any) -> int:
    """Turn the face in PHOTO into a payload of about a hundred bytes.

    PHOTO is a file, or - for stdin. Several photos or a folder go to one table with a row for each: .parquet or
    .jsonl by the name of the output, or lines of JSON with --json.
    """
    source, settings = split(options)
    if len(photos) > 1 or Path(photos[0]).is_dir():
        return compress_many(photos, output, settings, source, as_json=as_json)
    (photo,) = photos
    with about(files.label(photo)):
        data = files.read(photo)
        with open_source(**source) as c:
            face = c.compress(data, **settings)
    show.warn(files.label(photo), face)
    if output is not None:
        files.write(output, face.payload)
    if as_json:
        show.emit(show.face_facts(face))
    elif output is None:
        click.echo(base64.b64encode(face.payload).decode())
    elif output != files.PIPE:
        say(f"{output}: {show.summary(face)}")
    return 0
