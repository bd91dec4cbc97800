"""Pictures in a terminal: by its own graphics where it has any (kitty; Sixel, as iTerm), else as coloured blocks."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cameo.cli.group import Wrong

if TYPE_CHECKING:
    from PIL.Image import Image

FACE_COLUMNS = 40


def is_there() -> bool:
    """Whether stdout is a terminal: what goes to a pipe or a file never has a picture in it."""
    return sys.stdout.isatty()


def require() -> None:
    """Wrong where there is none."""
    if not is_there():
        raise Wrong("--show is for a terminal, and stdout is a pipe or file; -o writes the picture")


def show(picture: "Image", columns: int | None = FACE_COLUMNS) -> None:
    """``columns`` wide, or as wide as the terminal. OSError where there is none to ask what it can show."""
    if sys.__stdin__ is None or not sys.__stdin__.isatty():  # a payload came from there; the terminal answers here
        sys.__stdin__ = Path("/dev/tty").open()  # type: ignore[misc]  # noqa: SIM115 - until the command ends
    from rich.console import Console  # noqa: PLC0415 - only for this
    from textual_image.renderable import Image  # noqa: PLC0415 - asks the terminal as it is imported

    Console().print(Image(picture, width=columns or "100%", height="auto"))
