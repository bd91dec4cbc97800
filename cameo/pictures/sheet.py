"""The picture of a comparison: a labelled sheet of portraits."""

from PIL import Image, ImageDraw, ImageFont

from cameo.pictures.quality import SIDE
from cameo.results import Pixels, Row

TILE = 2 * SIDE
GAP = 16
MARGIN = 32
CAPTION = 64
TITLE = 56
PAPER, INK, SOFT, ACCENT = (250, 250, 248), (24, 24, 27), (113, 113, 122), (30, 64, 175)


def draw(original: Pixels, groups: list[list[Row]]) -> Image.Image:
    """For each group a line with the original, the model, and every codec at the model's rate."""
    columns = 1 + max(len(group) for group in groups)
    width = 2 * MARGIN + columns * TILE + (columns - 1) * GAP
    height = MARGIN + TITLE + len(groups) * (TILE + CAPTION + GAP)
    page = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(page)
    large, normal, small = (ImageFont.load_default(size) for size in (24, 17, 15))
    pen.text((MARGIN, MARGIN - 8), "The same face, the same bytes", INK, large)
    note = "bytes: whole payload or file   id: SFace cosine with the original   dB: PSNR"
    pen.text((width - MARGIN, MARGIN), note, SOFT, small, anchor="ra")
    for line, group in enumerate(groups):
        y = MARGIN + TITLE + line * (TILE + CAPTION + GAP)
        tiles = [(original, "original", f"{original.size:,} bytes raw", INK)]
        tiles += [(_pixels(row), _title(row), _figures(row), ACCENT if row.kind == "model" else INK) for row in group]
        for column, (pixels, title, figures, colour) in enumerate(tiles):
            x = MARGIN + column * (TILE + GAP)
            page.paste(Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BICUBIC), (x, y))
            if colour == ACCENT:
                pen.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=ACCENT, width=3)
            pen.text((x, y + TILE + 8), title, colour, normal)
            pen.text((x, y + TILE + 34), figures, SOFT, small)
    return page


def _pixels(row: Row) -> Pixels:
    assert row.pixels is not None, "a service, which keeps them, draws its own sheet"
    return row.pixels


def _title(row: Row) -> str:
    if row.kind == "model":
        return f"{row.name}/{row.version}   {row.bytes:,} bytes"
    scaled = f" at {row.side} px" if row.side != SIDE else ""
    return f"{row.name.upper()} q{row.quality}{scaled}   {row.bytes:,} bytes"


def _figures(row: Row) -> str:
    identity = "" if row.identity is None else f"id {row.identity:.2f}   "
    return f"{identity}{row.psnr:.1f} dB"
