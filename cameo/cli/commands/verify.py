"""``cameo verify``."""

from typing import TYPE_CHECKING, Any

import click

from cameo.cli import files, show
from cameo.cli.group import CANNOT, about
from cameo.cli.options import as_json, framing_options, issuers_of, open_source, source_options, split

if TYPE_CHECKING:
    import cameo


@click.command(
    epilog="""\b
Examples:
  cameo verify door.jpg face.cameo
  cameo verify door.jpg card.png --issuers keys
  cameo verify door.jpg face.cameo --fmr 0.0001 --face only --json
"""
)
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("reference", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--issuers", type=click.Path(exists=True, file_okay=False), metavar="FOLDER",
              help="Public keys of the issuers of cards that are trusted.")  # fmt: skip
@click.option("--fmr", type=click.Choice(["0.01", "0.001", "0.0001"]), default="0.001", show_default=True,
              help="False match rate that is tolerated: the share of other people who would match.")  # fmt: skip
@framing_options
@as_json
@source_options
def command(photo: str, reference: str, issuers: str | None, as_json: bool, **options: Any) -> int:
    """Say whether PHOTO shows the person of REFERENCE, a payload or a card.

    A card is a photo or scan of it, or a file with the text of its QR code. One that is not valid is no match, however
    alike the faces are. A match does not say that a living person was in front of the camera. The exit code is 0 for a
    match and 1 for anything else.
    """
    source, settings = split(options)
    settings |= {"fmr": float(settings["fmr"]), **issuers_of(source["url"], issuers)}
    with about(files.label(reference)):
        data = files.read(reference)
        given = files.card(data)
    with about(files.label(photo)), open_source(**source) as c:
        done = c.verify(files.read(photo), files.payload(data) if given is data else given, **settings)
    if as_json:
        show.emit(_facts(done))
    else:
        _say(done)
    return 0 if done.match else CANNOT


def _facts(done: "cameo.Verified") -> dict[str, Any]:
    return {
        "match": done.match,
        "decision": done.decision,
        "score": round(done.score, 4),
        "threshold": round(done.threshold, 4),
        "fmr": done.fmr,
        "recogniser": done.recogniser.name,
        "model": done.model,
        "version": done.version,
        "bytes": done.bytes,
        "card": done.card and show.card_facts(done.card),
    }


def _say(done: "cameo.Verified") -> None:
    alike = f"score {done.score:.3f}, threshold {done.threshold:.3f} at a false match rate of {done.fmr:g}"
    if done.card is None:
        click.echo(f"{done.decision.replace('-', ' ')}: {alike}")
    else:
        click.echo(f"{done.decision.replace('-', ' ')}: {done.card.state}, {done.card.detail}; {alike}")
