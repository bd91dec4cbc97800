import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cameo.errors import NoFace
from cameo.faces.framing import Framer
from cameo.pictures.decode import decode
from tests.faces import astronaut
from tests.unit.training.conftest import picture
from training.data import augmentations
from training.recipe import Augment


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    augmentations.add_command(parser.add_subparsers())
    options = parser.parse_args(["augmentations", *map(str, arguments)])
    code: int = options.act(options)
    return code


def tiles(sheet: Image.Image) -> list[np.ndarray]:
    """The portraits of a sheet, row by row; blank places left out."""
    pixels, step = np.asarray(sheet), 128 + augmentations.GAP
    begin = augmentations.BORDER
    places = [
        (y, begin + column * step)
        for y in range(begin, sheet.height - 128, step + augmentations.CAPTION)
        for column in range(augmentations.ACROSS)
    ]
    found = [pixels[y : y + 128, x : x + 128] for y, x in places]
    return [tile for tile in found if not (tile == augmentations.PAPER).all()]


def test_shows_the_face_as_it_is_each_augmentation_and_all(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "photo.png")
    assert run("--picture", tmp_path / "photo.png", "--out", tmp_path / "sheet.png") == 0
    data = (tmp_path / "sheet.png").read_bytes()
    assert len(data) < 400_000
    shown = tiles(Image.fromarray(decode(data, 10**6)))
    assert len(shown) == 12
    framed = Framer().auto(astronaut(), 128, margin=8).portrait[8:136, 8:136]
    assert np.array_equal(shown[0], framed)
    assert np.array_equal(shown[1], framed[:, ::-1])
    assert len({tile.tobytes() for tile in shown}) == 12


def test_shows_what_a_recipe_asks_for(tmp_path: Path, recipe_file: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "photo.png")
    recipe_file.write_text(recipe_file.read_text() + "[augment]\nflip = 0\ntranslation = 3\nblur = 2\n")
    run("--picture", tmp_path / "photo.png", "--out", tmp_path / "sheet.png", "--recipe", recipe_file)
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown = tiles(sheet.convert("RGB"))
    assert len(shown) == 4
    wider = Framer().auto(astronaut(), 128, margin=8).portrait
    assert np.array_equal(shown[1], wider[11:139, 11:139])


def test_full_strength_is_the_end_of_what_can_be_drawn() -> None:
    parameters = augmentations.full(Augment(brightness=0.2, translation=8))
    assert parameters.factor("brightness").item() == pytest.approx(1.2)
    assert parameters.column("flip").item() < 1


def test_a_picture_without_a_face(tmp_path: Path) -> None:
    picture(1, 200).save(tmp_path / "photo.png")
    with pytest.raises(NoFace):
        run("--picture", tmp_path / "photo.png", "--out", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
