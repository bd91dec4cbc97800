"""``cameo reconstruct``."""

from typing import Any

import click

from cameo.cli import files, terminal
from cameo.cli.group import about
from cameo.cli.options import open_source, source_options


@click.command(
    epilog="""\b
Examples:
  cameo reconstruct face.cameo                  shows the face in the terminal
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
    of the output, and PNG on a pipe. A terminal shows it, as well as it can.
    """
    files.picture_format(output)
    with about(files.label(payload)):
        data = files.payload(files.read(payload))
        with open_source(**source) as c:
            picture = c.reconstruct(data)
    if output is None and terminal.is_there():
        terminal.show(picture)
    else:
        files.write_picture(output or files.PIPE, picture)
