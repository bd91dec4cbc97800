"""``cameo``, and ``python -m cameo.cli``."""

import click

from cameo.cli.group import Commands


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  cameo compress photo.jpg -o face.cameo        a photo to a payload of about 96 bytes
  cameo reconstruct face.cameo -o face.png      and back to a face
  cameo compress photos/ -o faces.parquet       a folder, on all cores; goes on where it stopped
  cameo compress - --max-bytes 48 < photo.jpg   to a pipe, as base64

\b
With --url, or CAMEO_URL in the environment, a service does the work instead of this machine.
Ends with 0: done; 1: not for this input; 2: the command is wrong; 130: stopped by Ctrl-C.
""",
)
@click.version_option(package_name="cameo-faces", message="%(version)s")
def main() -> None:
    """A face photo in about a hundred bytes, and back."""


if __name__ == "__main__":
    main(prog_name="cameo")
