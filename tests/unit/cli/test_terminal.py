"""Pictures in terminals: a real pseudo-terminal, which answers as kitty does, as one with Sixel, or not at all."""

import fcntl
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from PIL import Image

from tests.faces import astronaut
from tests.unit.cli.conftest import Run

ROOT = Path(__file__).parents[3]
ROWS, COLUMNS, CELL = 40, 100, (10, 20)  # px
SHOW = "from PIL import Image; from cameo.cli import terminal; terminal.show(Image.open('photo.png'), 20)"


def in_terminal(command: str, cwd: Path, answers: bytes = b"") -> tuple[int, bytes]:
    """Exit code of a shell's command, and what it wrote to its terminal, whose answers to questions are these.

    They are there before the questions, so that no busy machine is too late with them.
    """
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, COLUMNS * CELL[0], ROWS * CELL[1]))
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    os.write(main, answers)
    with subprocess.Popen(
        ["bash", "-c", command], cwd=cwd, env=environment | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.login_tty(side),  # noqa: PLW1509 - before Python's own threads
    ) as process:  # fmt: skip
        os.close(side)
        said = b""
        try:
            while part := os.read(main, 2**16):
                said += part
        except OSError:  # Linux says so when the other side is closed
            pass
    os.close(main)
    return process.returncode, said


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(astronaut()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    ("answers", "drawn"),
    [
        (b"\x1b[?62;4;22c", b"\x1bP"),
        (b"\x1b[?62;c\x1b_Gi=1;OK\x1b\\", "\U0010eeee".encode()),
        (b"", "▀".encode()),
    ],
    ids=["sixel", "kitty", "plain"],
)
def test_a_terminal_shows_a_picture_as_it_can(photo: Path, answers: bytes, drawn: bytes) -> None:
    code, said = in_terminal(f"{sys.executable} -c {shlex.quote(SHOW)}", photo.parent, answers)
    assert code == 0, said
    assert drawn in said


def test_a_face_is_shown_in_a_terminal_and_never_sent_to_a_pipe(run: Run, photo: Path, tiny_store: Path) -> None:
    """The payload comes through a pipe, so the terminal is asked behind its back."""
    assert run("compress", photo, "-o", "face.cameo").exit_code == 0
    command = f"cat face.cameo | {sys.executable} -m cameo.cli reconstruct - --store {shlex.quote(str(tiny_store))}"
    code, said = in_terminal(command, photo.parent)
    assert code == 0, said
    assert said.decode().count("▀") > 200
    code, said = in_terminal(f"{command} | cat > face.png", photo.parent)
    assert (code, said) == (0, b"")
    with Image.open(photo.parent / "face.png") as face:
        assert face.format == "PNG"
