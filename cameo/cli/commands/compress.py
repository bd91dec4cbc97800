"""``cameo compress``."""

import base64
from pathlib import Path
from typing import Any

import click

from cameo.cli import files, show
from cameo.cli.folder.command import compress_many
from cameo.cli.group import about, say
from cameo.cli.options import as_json, open_source, settings_options, source_options, split
from cameo.cli.parts.command import RayOptions, compress_parts, is_parts
from cameo.cli.parts.places import is_remote

PACKED = {".parquet", ".tar", ".tgz", ".gz"}


class Address(click.Path):
    """A path that exists, or an address of an object store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_remote(str(value)) else super().convert(value, param, ctx)


@click.command(
    epilog="""\b
Examples:
  cameo compress photo.jpg                       prints the payload as base64
  cameo compress photo.jpg -o face.cameo         writes its bytes
  cameo compress photo.jpg --max-bytes 48 --effort best --json
  cameo compress - -o - < photo.jpg > face.cameo
  cameo compress photos/ -o faces.parquet        many; stopped, the same command goes on
  cameo compress s3://bucket/photos -o s3://bucket/faces --ray
"""
)
@click.argument("photos", nargs=-1, required=True, type=Address(exists=True, allow_dash=True), metavar="PHOTO...")
@click.option(
    "-o", "--output", metavar="FILE|FOLDER", help="Where to; - is stdout, a folder or s3://bucket/prefix gets Parquet."
)
@settings_options
@click.option("--column", default="image", show_default=True, help="Of Parquet files with photos.")
@click.option("--ray", is_flag=True, help="Many photos by Ray, on many machines; -o is a folder or prefix.")
@click.option(
    "--ray-address",
    envvar="RAY_ADDRESS",
    default="local",
    show_default=True,
    metavar="auto|HOST:PORT",
    help="Ray cluster; local: one of this machine's cores, for this command. [RAY_ADDRESS]",
)
@click.option("--ray-workers", type=click.IntRange(min=1), metavar="N", help="By default one a core, or one a GPU.")
@as_json
@source_options
def command(
    photos: tuple[str, ...], output: str | None, column: str, ray: bool, ray_address: str, ray_workers: int | None,
    as_json: bool, **options: Any,
) -> int:  # fmt: skip
    """Turn the face in PHOTO into a payload of about a hundred bytes.

    PHOTO is a file, or - for stdin. Several photos or a folder go to one table with a row for each: .parquet or
    .jsonl by the name of the output, or lines of JSON with --json.

    Where the output is a folder or s3://bucket/prefix, PHOTO may also be an s3:// prefix, a Parquet file with a column
    of images, or a WebDataset tar. The folder gets Parquet files with a row for each photo that differs.
    """
    source, settings = split(options)
    if output is not None and (ray or (_many(photos) and is_parts(output))):
        if not is_parts(output):
            raise click.UsageError(f"-o {output}: with --ray the output is a folder or a prefix, not a file")
        return compress_parts(
            photos, output, settings, source, column=column, ray=RayOptions(ray_address, ray_workers) if ray else None
        )
    if any(map(is_remote, photos)):
        raise click.UsageError("what is in an object store goes to a folder or prefix: give -o")
    if len(photos) > 1 or Path(photos[0]).is_dir():
        return compress_many(photos, output, settings, source, as_json=as_json)
    (photo,) = photos
    with about(files.label(photo)):
        data = files.read(photo)
        with open_source(**source) as c:
            face = c.compress(data, **settings)
    show.warn(files.label(photo), face)
    if output is not None:
        files.write(output, face.payload)
    if as_json:
        show.emit(show.face_facts(face))
    elif output is None:
        click.echo(base64.b64encode(face.payload).decode())
    elif output != files.PIPE:
        say(f"{output}: {show.summary(face)}")
    return 0


def _many(photos: tuple[str, ...]) -> bool:
    return len(photos) > 1 or is_remote(photos[0]) or Path(photos[0]).is_dir() or Path(photos[0]).suffix in PACKED
