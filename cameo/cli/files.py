"""What a subcommand reads and writes: files, and pipes, which are called -."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cameo import codec
from cameo.codec.text import decode_base64
from cameo.errors import InvalidParameter, PayloadError

if TYPE_CHECKING:
    from PIL.Image import Image

PIPE = "-"
FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}

_inputs: list[Path] = []  # of this command

output_option = click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help="Where to; - is stdout."
)


def read(name: str) -> bytes:
    """OSError."""
    if name != PIPE:
        _inputs.append(Path(name))
    return sys.stdin.buffer.read() if name == PIPE else Path(name).read_bytes()


def require_other(name: str) -> None:
    """UsageError for an output that is an input: the photo would be lost."""
    if name != PIPE and Path(name).exists() and any(each.exists() and each.samefile(name) for each in _inputs):
        raise click.UsageError(f"{name} is an input, too; it would be lost, so name another output")


def label(name: str) -> str:
    """How messages call an input."""
    return "stdin" if name == PIPE else name


def write(name: str, data: bytes) -> None:
    """OSError."""
    if name == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        require_other(name)
        Path(name).write_bytes(data)


def picture_format(name: str | None) -> str:
    """By the name of the output, PNG on a pipe. UsageError."""
    kind = "PNG" if name in (None, PIPE) else FORMATS.get(Path(str(name)).suffix.lower())
    if kind is None:
        raise click.UsageError(f"{name} names no format that is written: end it with {', '.join(FORMATS)}")
    return kind


def write_picture(name: str, picture: "Image") -> None:
    """OSError."""
    file, kind = io.BytesIO(), picture_format(name)
    picture.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    write(name, file.getvalue())


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
