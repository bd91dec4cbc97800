"""``cameo reconstruct``."""

import io
import sys
from pathlib import Path
from typing import Any

import click

from cameo.cli import files
from cameo.cli.group import about
from cameo.cli.options import open_source, source_options

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}


@click.command(
    epilog="""\b
Examples:
  cameo reconstruct face.cameo -o face.png
  cameo compress photo.jpg | cameo reconstruct - > face.png
  cameo reconstruct - -o face.webp <<< 'base64 of a payload'
"""
)
@click.argument("payload", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@files.output_option
@source_options
def command(payload: str, output: str | None, **source: Any) -> None:
    """Draw the face that PAYLOAD stands for.

    PAYLOAD is a file, or - for stdin, with the bytes or their base64. The picture is PNG, WebP or JPEG by the name
    of the output, PNG on a pipe.
    """
    if output is None and sys.stdout.isatty():
        raise click.UsageError("a picture is nothing for a terminal: give -o face.png, or send it to a pipe")
    output = output or files.PIPE
    kind = "PNG" if output == files.PIPE else FORMATS.get(Path(output).suffix.lower())
    if kind is None:
        raise click.UsageError(f"{output} names no format that is written: end it with {', '.join(FORMATS)}")
    with about(files.label(payload)):
        data = files.payload(files.read(payload))
        with open_source(**source) as c:
            picture = c.reconstruct(data)
    file = io.BytesIO()
    picture.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    files.write(output, file.getvalue())
