"""``cameo card``."""

from datetime import datetime
from typing import Any

import click

from cameo.cli import files, show
from cameo.cli.group import Wrong, about, say
from cameo.cli.options import as_json, open_source, settings_options, source_options, split

SUFFIXES = ("pdf", "png", "svg", "txt")


@click.command(
    epilog="""\b
Examples:
  cameo key https://office.example -o keys
  cameo card photo.jpg --key keys/office.example.key.pem --name "Eileen Collins" --birth 1956-11-19 -o card.pdf
  cameo card photo.jpg --key keys/office.example.key.pem --name "Eileen Collins" -o card.png --dpi 600
  cameo card photo.jpg --key keys/office.example.key.pem --claim phone="+1 202 555 0100"
  cameo card face.cameo --url http://127.0.0.1:8000 -o card.pdf      signed by the service
"""
)
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--key", "signing_key", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="Private key of the issuer, see `cameo key`; with --url the service has its own.")  # fmt: skip
@click.option("--name", "full_name", metavar="TEXT", help="Full name.")
@click.option("--birth", "date_of_birth", metavar="YYYY-MM-DD", help="Date of birth; or YYYY-MM, or YYYY.")
@click.option("--sex", "gender", type=click.Choice(["male", "female", "other"]))
@click.option("--nationality", metavar="CODE", help="As DE or DEU.")
@click.option("--number", "id", metavar="TEXT", help="Number of the card or person.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=TEXT", help="Another attribute of Claim 169.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Last day, UTC.")
@click.option("--not-before", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="First day, UTC.")
@click.option("--dpi", type=click.Choice(["300", "600"]), default="300", show_default=True, help="Of a PNG.")
@files.output_option
@settings_options
@as_json
@source_options
def command(
    photo: str, signing_key: str | None, claims: tuple[str, ...], expires: datetime | None,
    not_before: datetime | None, dpi: str, output: str | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Make a signed card with the face of PHOTO, a photo or a payload.

    The name of the output says what it is: .pdf, .png, .svg, or .txt for the text of the QR code, which is printed
    without -o. Anybody can read the card with the issuer's public key, see `cameo read`.
    """
    from cameo.pictures.read import bytes_of_no_picture  # noqa: PLC0415 - Pillow

    source, settings = split(options)
    given = {name: settings.pop(name) for name in ("full_name", "date_of_birth", "gender", "nationality", "id")}
    given = {name: value for name, value in given.items() if value is not None} | dict(map(_attribute, claims))
    suffix = "" if output in (None, files.PIPE) else str(output).rpartition(".")[2].lower()
    if suffix not in ("", *SUFFIXES):
        raise Wrong(f"{output}: a card is written as .{', .'.join(SUFFIXES[:-1])} or .{SUFFIXES[-1]}")
    times: dict[str, Any] = {"expires": expires and expires.date(), "not_before": not_before and not_before.date()}
    signer = _signer(source["url"], signing_key)
    with about(files.label(photo)):
        data = files.payload(files.read(photo))
        with open_source(**source) as c:
            if bytes_of_no_picture(data) is None:
                face = c.compress(data, **settings)
                show.warn(files.label(photo), face)
                data = face.payload
            card = c.card(data, given, *signer, **times)
            if suffix:
                files.require_other(str(output))
                card.save(str(output), dpi=int(dpi))
    if as_json:
        size = {"characters": len(card.text), "bytes": len(card.payload), "qr_version": card.qr_version}
        show.emit({"text": card.text, **size})
    elif not suffix:
        click.echo(card.text)
    else:
        said = f"{len(card.text)} characters, with a face of {len(card.payload)} bytes"
        say(f"{output}: QR code of version {card.qr_version}, {said}")


def _attribute(claim: str) -> tuple[str, str]:
    name, found, value = claim.partition("=")
    if not found:
        raise Wrong(f"--claim is {claim!r}; write it as name=text, as phone='+1 202 555 0100'")
    return name.replace("-", "_"), value


def _signer(url: str | None, key: str | None) -> tuple[str, ...]:
    """The argument of the library's call that no service takes."""
    if url is None and key is None:
        raise Wrong("a card is signed: give --key FILE, which `cameo key` makes, or --url of a service that has a key")
    if url is not None and key is not None:
        raise Wrong(f"--key is for cards that are signed here; {url} signs with its own key, so leave one of them out")
    return () if key is None else (key,)
