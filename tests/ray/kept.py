"""The command ``cameo``, which keeps each block of rows at once: so that a test need not wait for 30 s of work."""

from cameo.cli.__main__ import main
from cameo.cli.parts import target

if __name__ == "__main__":
    target.SECONDS = 0.0
    main(prog_name="cameo")
