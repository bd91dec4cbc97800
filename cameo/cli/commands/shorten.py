"""``cameo shorten``."""

import base64
from typing import Any

import click

from cameo.cli import files, show
from cameo.cli.group import about, say
from cameo.cli.options import as_json, open_source, source_options


@click.command(
    epilog="""\b
Examples:
  cameo shorten face.cameo --max-bytes 48 -o small.cameo
  cameo compress photo.jpg | cameo shorten - --max-bytes 48
"""
)
@click.argument("payload", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--max-bytes", type=click.IntRange(min=1), required=True, metavar="N", help="Largest payload, bytes.")
@files.output_option
@as_json
@source_options
def command(payload: str, max_bytes: int, output: str | None, as_json: bool, **source: Any) -> None:
    """Make PAYLOAD shorter, without the photo.

    The face becomes coarser. Without -o the new payload is printed as base64. A model with a single rate cannot do it.
    """
    with about(files.label(payload)):
        data = files.payload(files.read(payload))
        with open_source(**source) as c:
            shorter = c.shorten(data, max_bytes)
    if output is not None:
        files.write(output, shorter)
    text = base64.b64encode(shorter).decode()
    if as_json:
        show.emit({"payload": text, "bytes": len(shorter)})
    elif output is None:
        click.echo(text)
    elif output != files.PIPE:
        say(f"{output}: {len(shorter)} bytes, before {len(data)}")
