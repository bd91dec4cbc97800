"""Options that several subcommands share, and what they stand for: the library or a service, and its settings."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cameo.cli.group import Wrong
from cameo.errors import CameoError

if TYPE_CHECKING:
    import cameo

F = TypeVar("F", bound=Callable[..., Any])

SOURCE = ("url", "key", "timeout", "store", "device")


def _store_exists(_: click.Context, parameter: click.Parameter, where: str | None) -> str | None:
    """A slip of the pen in a path is a wrong option; what is behind a URL shows when it is opened."""
    if where is not None and "://" not in where and not Path(where).is_dir():
        raise click.BadParameter(f"Directory {where!r} does not exist.", param=parameter)
    return where


_store = (
    click.option(
        "--store",
        callback=_store_exists,
        metavar="FOLDER|URL",
        help="Model store: a folder, or s3://bucket/prefix, gs:// or az://; by default the package's.",
    ),
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]", help="Where models run."),
)

_source = (
    click.option("--url", envvar="CAMEO_URL", metavar="URL", help="Ask this service, not this machine. [CAMEO_URL]"),
    click.option(
        "--api-key", "key", envvar="CAMEO_API_KEY", metavar="KEY", help="API key of the service. [CAMEO_API_KEY]"
    ),
    click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, metavar="SECONDS",
        help="How long an answer of the service is waited for, retries included.",
    ),
    *_store,
)  # fmt: skip

_model = (
    click.option("--model", metavar="NAME", help="Model, see `cameo models`; by default the store's."),
    click.option("--version", type=click.IntRange(min=1), help="Version of the model; by default its default."),
)

_effort = click.option(
    "--effort", type=click.Choice(["fast", "good", "best"]),
    help="How hard to search for the best bytes: good by default, fast for many photos.",
)  # fmt: skip
_frame = click.option(
    "--frame", type=click.Choice(["auto", "asis"]), default="auto", show_default=True,
    help="auto: find the face; asis: the centre square is the portrait already.",
)  # fmt: skip
_face = click.option(
    "--face", type=click.Choice(["largest", "only"]), default="largest", show_default=True,
    help="Of several faces: take the most prominent one, or refuse the photo.",
)  # fmt: skip

_settings = (
    *_model,
    click.option(
        "--max-bytes", type=click.IntRange(min=1), metavar="N",
        help="Largest payload, bytes; by default the model's default rate.",
    ),
    _effort, _frame, _face,
    click.option(
        "--likeness/--no-likeness", default=None,
        help="Say how like the face is to the photo's; by default for one photo, not for many.",
    ),
)  # fmt: skip


def _all(options: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


source_options = _all(_source)
search_options = _all((_effort, _frame))
framing_options = _all((_frame, _face))
settings_options = _all(_settings)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for scripts.")


def open_here(*, store: str | None, device: str) -> "cameo.Cameo":
    """The library, for what no service does for a command."""
    import cameo  # noqa: PLC0415 - the library brings torch

    try:
        return cameo.open(store, device=device)
    except CameoError:
        raise
    except ValueError as error:  # a device
        raise Wrong(str(error)) from error


def open_source(
    *, url: str | None, key: str | None, timeout: float, store: str | None, device: str
) -> "AbstractContextManager[cameo.Cameo | cameo.Client]":
    """What does the work: a service where there is a URL, else the library here."""
    if url is None:
        return open_here(store=store, device=device)
    import cameo  # noqa: PLC0415 - httpx, which only this needs

    try:
        return cameo.Client(url, key=key, timeout=timeout)
    except CameoError:
        raise
    except ValueError as error:  # an address
        raise Wrong(str(error)) from error


def issuers_of(url: str | None, issuers: str | None) -> dict[str, Any]:
    """The argument of the library's calls that read cards. A service has issuers of its own that it trusts."""
    if url is None:
        return {"issuers": issuers}
    if issuers is not None:
        raise Wrong(f"--issuers is for cards that are read here; {url} says itself which issuers it trusts")
    return {}


def split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All options of a command: those of :func:`open_source`, and the others."""
    return {name: options.pop(name) for name in SOURCE}, options
