"""``cameo read``."""

from typing import Any

import click

from cameo.cli import files, show, terminal
from cameo.cli.group import CANNOT, about, say
from cameo.cli.options import as_json, issuers_of, open_source, source_options


@click.command(
    epilog="""\b
Examples:
  cameo read card.png --issuers keys             what it says, and who says it
  cameo read phone.jpg --issuers keys -o face.png
  cameo read card.png --issuers keys --json | jq -r .payload
"""
)
@click.argument("card", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--issuers", type=click.Path(exists=True, file_okay=False), metavar="FOLDER",
              help="Public keys of the issuers that are trusted.")  # fmt: skip
@files.output_option
@click.option("--show", "show_it", is_flag=True, help="Show the face in the terminal.")
@as_json
@source_options
def command(card: str, issuers: str | None, output: str | None, show_it: bool, as_json: bool, **source: Any) -> int:
    """Read a CARD: a photo or scan of it, or a file with the text of its QR code.

    Only `valid` means anything: a trusted issuer signed exactly this, and it is within its time. The exit code is 0
    for a valid card and 1 for any other. -o writes the face. A service that does the work trusts issuers of its own.
    """
    files.picture_format(output)
    if show_it:
        terminal.require()
    with about(files.label(card)):
        data = files.read(card)
        trusted = issuers_of(source["url"], issuers)
        with open_source(**source) as c:
            found = c.read_card(files.card(data), **trusted)
            face = c.reconstruct(found.payload) if (output or show_it) and found.payload else None
    if (output or show_it) and face is None:
        say(f"{files.label(card)}: the card has no face that is read here")
    if output and face is not None:
        files.write_picture(output, face)
    if show_it and face is not None:
        terminal.show(face)
    if output == files.PIPE:
        say(f"{files.label(card)}: {found.state}, {found.detail}")
    elif as_json:
        show.emit(show.card_facts(found))
    else:
        last = {"last day": f"{found.last_day}"} if found.last_day else {}
        facts = {"issuer": found.issuer, **last, **found.claims.given()}
        click.echo(f"{found.state}: {found.detail}")
        # A line of an address must not look like one of ours.
        click.echo("\n".join(f"  {name}: {(value or '').replace(chr(10), ', ')}" for name, value in facts.items()))
    return 0 if found.is_valid else CANNOT
