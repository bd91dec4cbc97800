"""Finds the subcommands, and ends with one line on stderr and an exit code where something is wrong."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import click

from cameo.cli import commands
from cameo.errors import BudgetTooSmall, CameoError, InvalidParameter, Unauthorized, UnknownModel, UnknownVersion

CANNOT, WRONG, STOPPED = 1, 2, 130
"""Exit codes: not for this input; the command is wrong; Ctrl-C."""

_WRONG = (BudgetTooSmall, InvalidParameter, Unauthorized, UnknownModel, UnknownVersion)  # options, not input


class Failure(click.ClickException):
    """One line on stderr: it cannot be done for this input."""

    exit_code = CANNOT


class Wrong(Failure):
    """One line on stderr: the command is wrong."""

    exit_code = WRONG


def failure(error: CameoError | OSError, name: str = "") -> Failure:
    """``name`` is what the error is about, where the error does not say it."""
    if isinstance(error, OSError):
        name = str(error.filename or name)
        return Failure(": ".join(filter(None, (name, error.strerror or str(error)))))
    if isinstance(error, _WRONG):
        return Wrong(error.detail)
    return Failure(f"{name}: {error.detail}" if name else error.detail)


@contextmanager
def about(name: str) -> Iterator[None]:
    """What goes wrong in the block is said to be about ``name``."""
    try:
        yield
    except (CameoError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise failure(error, name) from error


def say(message: str) -> None:
    """A line on stderr, for people; stdout is for results."""
    click.echo(f"cameo: {printable(message)}", err=True)


def printable(text: str) -> str:
    """On one line, and without what controls a terminal: names of files, and what a service answers, may have it."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


class Commands(click.Group):
    """The subcommands are the modules of :mod:`cameo.cli.commands`, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name for module in iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{commands.__name__}.{cmd_name}").command
        return command

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *more: Any, **extra: Any) -> Any:
        """Ends the process, as click does; with one line where click has four."""
        sys.exit(self._run(args, prog_name, *more, **extra | {"standalone_mode": False}))

    def _run(self, *arguments: Any, **extra: Any) -> int:
        try:
            code = super().main(*arguments, **extra)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "cameo"
            say(f"{error.format_message().rstrip('.')}; see {path} --help")
            return WRONG
        except click.ClickException as error:
            say(error.format_message())
            return error.exit_code
        except click.Abort:
            say("stopped")
            return STOPPED
        except (CameoError, OSError) as error:
            said = failure(error)
            say(said.message)
            return said.exit_code
        return code if isinstance(code, int) else 0
