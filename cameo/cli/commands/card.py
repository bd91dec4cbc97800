"""``cameo card``."""

from datetime import datetime
from typing import Any

import click

from cameo.cli import files, show
from cameo.cli.group import Wrong, about, say
from cameo.cli.options import as_json, model_options, open_here, search_options, store_options


@click.command(
    epilog="""\b
Examples:
  cameo key https://office.example -o keys
  cameo card photo.jpg --key keys/office.example.key.pem --name "Eileen Collins" --birth 1956-11-19 -o card.pdf
  cameo card photo.jpg --key keys/office.example.key.pem --name "Eileen Collins" -o card.png --dpi 600
  cameo card face.cameo --key keys/office.example.key.pem          prints the text of the QR code
"""
)
@click.argument("face", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--key",
    "signing_key",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Private key of the issuer, see `cameo key`.",
)
@click.option("--name", metavar="TEXT", help="Full name.")
@click.option("--birth", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Date of birth.")
@click.option("--sex", type=click.Choice(["male", "female", "other"]))
@click.option("--nationality", metavar="CODE", help="As DE or DEU.")
@click.option("--number", metavar="TEXT", help="Number of the card or person.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Last day, UTC.")
@model_options
@search_options
@click.option("--max-bytes", type=click.IntRange(min=1), metavar="N", help="Largest payload of a photo, bytes.")
@click.option("--dpi", type=click.Choice(["300", "600"]), default="300", show_default=True, help="Of a PNG.")
@files.output_option
@as_json
@store_options
def command(
    face: str, signing_key: str, name: str | None, birth: datetime | None, sex: str | None, nationality: str | None,
    number: str | None, expires: datetime | None, model: str | None, version: int | None, max_bytes: int | None,
    dpi: str, effort: Any, frame: Any, output: str | None, as_json: bool, **store: Any,
) -> None:  # fmt: skip
    """Make a signed card with the FACE of a photo, or of a payload.

    The name of the output says what it is: .pdf, .png, .svg, or .txt for the text of the QR code, which is printed
    without -o. Anybody can read the card with the issuer's public key, see `cameo read`.
    """
    claims = {
        "full_name": name, "date_of_birth": birth and birth.date().isoformat(), "gender": sex,
        "nationality": nationality, "id": number,
    }  # fmt: skip
    suffix = "" if output in (None, files.PIPE) else str(output).rpartition(".")[2].lower()
    if suffix not in ("", "pdf", "png", "svg", "txt"):
        raise Wrong(f"{output}: a card is written as .pdf, .png, .svg or .txt")
    with about(files.label(face)):
        data = files.read(face)
        with open_here(**store) as c:
            card = c.card(
                files.payload(data), {key: value for key, value in claims.items() if value is not None}, signing_key,
                expires=expires.date() if expires else None, max_bytes=max_bytes,
                model=model, version=version, effort=effort, frame=frame,
            )  # fmt: skip
            if suffix:
                card.save(str(output), dpi=int(dpi))
    facts = {"text": card.text, "characters": len(card.text), "bytes": len(card.payload), "qr_version": card.qr_version}
    if as_json:
        show.emit(facts)
    elif not suffix:
        click.echo(card.text)
    else:
        said = f"{len(card.text)} characters, with a face of {len(card.payload)} bytes"
        say(f"{output}: QR code of version {card.qr_version}, {said}")
