"""``cameo verify``."""

from typing import Any

import click

from cameo.cli import files, show
from cameo.cli.group import CANNOT, about
from cameo.cli.options import as_json, open_here, store_options


@click.command(
    epilog="""\b
Examples:
  cameo verify door.jpg face.cameo
  cameo verify door.jpg face.cameo --fmr 0.0001 --json
"""
)
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("payload", type=click.Path(exists=True, dir_okay=False))
@click.option("--fmr", type=click.Choice(["0.01", "0.001", "0.0001"]), default="0.001", show_default=True,
              help="False match rate that is tolerated: the share of other people who would match.")  # fmt: skip
@as_json
@store_options
def command(photo: str, payload: str, fmr: str, as_json: bool, **store: Any) -> int:
    """Say whether PHOTO shows the person whose PAYLOAD this is.

    It does not say that a living person was in front of the camera. The exit code is 0 for a match and 1 for none.
    """
    with about(files.label(photo)):
        data, face = files.read(photo), files.payload(files.read(payload))
        with open_here(**store) as c:
            done = c.verify(data, face, fmr=float(fmr))
    facts = {
        "match": done.match, "score": round(done.score, 4), "threshold": round(done.threshold, 4), "fmr": done.fmr,
        "recogniser": done.recogniser.name, "model": done.model, "version": done.version, "bytes": done.bytes,
    }  # fmt: skip
    if as_json:
        show.emit(facts)
    else:
        verdict = "match" if done.match else "no match"
        click.echo(f"{verdict}: score {done.score:.3f}, threshold {done.threshold:.3f} at a false match rate of {fmr}")
    return 0 if done.match else CANNOT
