"""``cameo compare``."""

from typing import TYPE_CHECKING, Any

import click

from cameo.cli import files, show, terminal
from cameo.cli.group import about, say
from cameo.cli.options import as_json, open_source, search_options, source_options

if TYPE_CHECKING:
    from cameo.results import Row


@click.command(
    epilog="""\b
Examples:
  cameo compare photo.jpg                                    all models, beside all codecs
  cameo compare photo.jpg --codec webp --max-bytes 48 --max-bytes 96
  cameo compare photo.jpg --model cameo-128 -o sheet.png     as a picture, too
  cameo compare photo.jpg --model cameo-128 --show           as a picture in the terminal, too
"""
)
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--model", "models", multiple=True, metavar="NAME[/VERSION]", help="Which models; by default all.")
@click.option(
    "--codec", "codecs", multiple=True, metavar="NAME", help="Which of jpeg, webp, avif, jxl; by default all."
)
@click.option("--max-bytes", type=click.IntRange(min=1), multiple=True, metavar="N", help="At which budgets.")
@click.option("-o", "--output", metavar="PNG", type=click.Path(dir_okay=False, allow_dash=True), help="Draw a sheet.")
@click.option("--show", "show_it", is_flag=True, help="Show the sheet in the terminal.")
@search_options
@as_json
@source_options
def command(
    photo: str, models: tuple[str, ...], codecs: tuple[str, ...], max_bytes: tuple[int, ...], output: str | None,
    show_it: bool, effort: Any, frame: Any, as_json: bool, **source: Any,
) -> None:  # fmt: skip
    """Compare models with JPEG, WebP, AVIF and JPEG XL at the same bytes.

    identity: the recogniser's cosine of original and face; from .363 on they count as one person.
    """
    files.picture_format(output)
    if show_it:
        terminal.require()
    with about(files.label(photo)):
        data = files.read(photo)
        with open_source(**source) as c:
            drawn = output is not None or show_it
            asked: dict[str, Any] = {"sheet": drawn} if source["url"] is not None else {}
            if codecs:
                asked["codecs"] = codecs
            found = c.compare(data, models=models or None, max_bytes=max_bytes, effort=effort, frame=frame, **asked)
    if output is not None:
        files.write_picture(output, found.sheet())
        if output == files.PIPE:
            return
        say(f"{output}: a sheet of {len(found.rows)} faces")
    if show_it:
        terminal.show(found.sheet(), None)
    if as_json:
        show.emit([show.row_facts(row) for row in found.rows])
    else:
        show.table(["", "bytes", "identity", "PSNR", "MS-SSIM"], [_cells(row) for row in found.rows])


def _cells(row: "Row") -> list[str]:
    name = f"{row.name}/{row.version}" if row.kind == "model" else f"  {row.name} q{row.quality} {row.side} px"
    identity = "-" if row.identity is None else f"{row.identity:.3f}"
    return [name, str(row.bytes), identity, f"{row.psnr:.2f}", f"{row.ms_ssim:.3f}"]
