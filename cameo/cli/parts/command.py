"""What ``cameo compress`` does with a target that is a folder, or a prefix of an object store."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cameo.cli.folder import tables
from cameo.cli.group import CANNOT, Wrong, say
from cameo.cli.options import open_source
from cameo.cli.parts import places

if TYPE_CHECKING:
    from cameo.cli.parts.job import Summary

SAID = 5  # photos that could not be done, of which the reason is said


class RayOptions(NamedTuple):
    address: str
    workers: int | None


def is_parts(output: str | None) -> bool:
    """Whether it is a table of many files: by its name, or because it is there."""
    return output is not None and (
        places.is_remote(output) or output.endswith("/") or Path(output).is_dir() or not Path(output).suffix
    )


def compress_parts(
    addresses: Sequence[str], output: str, settings: dict[str, Any], source: dict[str, Any], *, column: str,
    ray: RayOptions | None,
) -> int:  # fmt: skip
    """The exit code."""
    tables.require_pyarrow(output)
    from cameo.cli.parts import sources  # noqa: PLC0415

    if ray and source["url"]:
        raise click.UsageError("with --ray the work is done by Ray's machines: leave out --url")
    pieces = sources.find(addresses, column, output)
    if not pieces:
        raise click.UsageError(f"there are no photos in {', '.join(addresses)}")
    counts = [piece.photos for piece in pieces]
    length = sum(count for count in counts if count) if None not in counts else None
    with click.progressbar(
        length=length or 0, file=sys.stderr, show_pos=True, hidden=length is None or not sys.stderr.isatty()
    ) as bar:
        summary = _run(pieces, output, settings, source, ray, bar.update)
    for path, error in summary.passing[:SAID]:
        say(f"{path}: {error}")
    if (more := len(summary.passing) - SAID) > 0:
        say(f"and {more} others")
    say(
        f"{output}: {summary.written} photos"
        + (f"; of {summary.faceless} the column error says what is wrong" if summary.faceless else "")
        + ("; the same command tries again what is not done" if summary.passing else "")
    )
    return CANNOT if summary.faceless or summary.passing else 0


def _run(
    pieces: list[Any], output: str, settings: dict[str, Any], source: dict[str, Any], ray: RayOptions | None,
    progress: Callable[[int], object],
) -> "Summary":  # fmt: skip
    from cameo.cli.parts import job  # noqa: PLC0415

    if ray is None:
        with open_source(**source) as c:
            return job.run(c, partial(job.here, c), pieces, output, settings, progress)
    try:
        from cameo.cli.parts.cluster import Cluster  # noqa: PLC0415 - an extra
    except ImportError:
        raise Wrong("--ray needs Ray: pip install 'cameo-faces[ray]'") from None
    with (
        open_source(**source | {"device": "cpu"}) as c,
        Cluster(ray.address, ray.workers, source["device"]) as cluster,
    ):
        return job.run(c, cluster.driver(source["store"]), pieces, output, settings, progress)
