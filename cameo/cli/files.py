"""What a subcommand reads and writes: files, and pipes, which are called -."""

import sys
from pathlib import Path

import click

from cameo import codec
from cameo.codec.text import decode_base64
from cameo.errors import InvalidParameter, PayloadError

PIPE = "-"

output_option = click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help="Where to; - is stdout."
)


def read(name: str) -> bytes:
    """OSError."""
    return sys.stdin.buffer.read() if name == PIPE else Path(name).read_bytes()


def label(name: str) -> str:
    """How messages call an input."""
    return "stdin" if name == PIPE else name


def write(name: str, data: bytes) -> None:
    """OSError."""
    if name == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        Path(name).write_bytes(data)


def card(data: bytes) -> bytes | str:
    """Of a file, which has a picture of a card, or the text of its QR code."""
    from cameo.cards import is_text  # noqa: PLC0415 - only these commands need it

    return data.decode("ascii") if is_text(data) else data


def payload(data: bytes) -> bytes:
    """Of a file, which has a payload or its base64, and maybe a line break at the end.

    What is neither comes back as it is: whoever opens it says what is wrong.
    """
    for bare in (data, data.removesuffix(b"\n").removesuffix(b"\r")):
        try:
            codec.unwrap(bare)
        except PayloadError:
            continue
        return bare
    try:
        return decode_base64(data.decode("ascii").strip())
    except (UnicodeDecodeError, InvalidParameter):
        return data
