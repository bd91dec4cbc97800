"""``cameo key``."""

from pathlib import Path

import click

from cameo.cli import show
from cameo.cli.group import about, say
from cameo.cli.options import as_json


@click.command(
    epilog="""\b
Examples:
  cameo key https://office.example -o keys      keys/office.example.key.pem and keys/office.example.pem
  cameo card photo.jpg --key keys/office.example.key.pem --name "Eileen Collins" -o card.pdf
  cameo read card.png --issuers keys
"""
)
@click.argument("issuer")
@click.option("-o", "--output", "folder", default=".", show_default=True, type=click.Path(file_okay=False),
              metavar="FOLDER", help="Where to.")  # fmt: skip
@as_json
def command(issuer: str, folder: str, as_json: bool) -> None:
    """Make the keys with which ISSUER signs cards.

    The private key signs: keep it secret, and keep a copy. The public key is for everybody who reads cards. A key that
    is there already is never replaced.
    """
    from cameo.cards import make_keys  # noqa: PLC0415 - cryptography, which no other command needs

    with about(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        private, public = make_keys(issuer, folder)
    if as_json:
        show.emit({"issuer": issuer, "private": str(private), "public": str(public)})
    else:
        click.echo(f"{private}\n{public}")
        say(f"{private} signs cards and is secret; give {public} to everybody who reads them")
