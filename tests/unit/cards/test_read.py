"""Pictures of cards, good and bad, one or several, and pictures of something else."""

import io
import random
from typing import Any

import numpy as np
import pytest
import segno
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.cards import photograph, some_card
from cameo.cards import Card, Issuers, SigningKey, make_card, read_picture
from cameo.cards.read import MOST_PIXELS, _sizes
from cameo.errors import DamagedCard, NoCard, NotACard
from tests.unit.cards.conftest import CLAIMS, NOW, PAYLOAD

PHOTOS = 16


def table(*prints: Image.Image) -> NDArray[np.uint8]:
    """Prints beside each other."""
    width = sum(each.width + 60 for each in prints) + 60
    page = Image.new("RGB", (width, max(each.height for each in prints) + 120), (120, 115, 110))
    x = 60
    for each in prints:
        page.paste(each, (x, 60))
        x += each.width + 60
    return np.asarray(page)


def printed(card: Card) -> Image.Image:
    return Image.open(io.BytesIO(card.encode("image/png"))).convert("RGB")


def code(text: str) -> Image.Image:
    file = io.BytesIO()
    segno.make(text).save(file, kind="png", scale=5, border=4)
    return Image.open(file).convert("RGB")


def test_bad_photos_are_read_byte_for_byte(face: Image.Image, key: SigningKey, issuers: Issuers) -> None:
    """``python -m bench.cards`` takes 500 of them."""
    random_ = random.Random(7)  # noqa: S311
    lost = 0
    for _ in range(PHOTOS):
        card = some_card(key, random_, face)
        try:
            [read] = read_picture(photograph(printed(card), random_), issuers)
        except NoCard:
            lost += 1
            continue
        assert read.is_valid
        assert (read.payload, read.claims) == (card.payload, card.claims)
    assert lost == 0


def test_two_cards_in_one_picture_are_both_read(
    card: Card, face: Image.Image, key: SigningKey, issuers: Issuers
) -> None:
    other = make_card(face, PAYLOAD[::-1], CLAIMS, key, now=NOW)
    found = read_picture(table(printed(card), printed(other)), issuers, NOW)
    assert {read.payload for read in found} == {PAYLOAD, PAYLOAD[::-1]}


def test_a_card_that_is_twice_in_a_picture_is_one(card: Card, issuers: Issuers) -> None:
    assert len(read_picture(table(printed(card), printed(card)), issuers, NOW)) == 1


def test_codes_of_something_else_beside_a_card_are_passed_over(card: Card, issuers: Issuers) -> None:
    [read] = read_picture(table(code("https://example.org/"), printed(card)), issuers, NOW)
    assert read.payload == PAYLOAD


def test_pictures_without_a_card(issuers: Issuers, face: Image.Image) -> None:
    with pytest.raises(NoCard, match="photograph the card from the front"):
        read_picture(np.asarray(face), issuers)
    with pytest.raises(NotACard, match="it holds .https://example"):  # noqa: RUF043
        read_picture(table(code("https://example.org/")), issuers)
    with pytest.raises(NotACard):
        read_picture(table(code("\u202eevil\x00")), issuers)


def test_a_card_that_is_damaged_says_so(card: Card, issuers: Issuers) -> None:
    with pytest.raises(DamagedCard, match="cut short"):
        read_picture(table(code(card.text[:-30])), issuers)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_scan_in_any_direction(card: Card, issuers: Issuers, turn: int, inverted: bool) -> None:
    scan: Any = np.asarray(printed(card).rotate(turn, expand=True))
    assert read_picture(255 - scan if inverted else scan, issuers, NOW)[0].payload == PAYLOAD


def test_a_photo_of_many_pixels_is_scaled_down(card: Card, issuers: Issuers) -> None:
    large = Image.new("RGB", (6000, 4000), (90, 90, 90))
    large.paste(printed(card).resize((3000, 1893)), (1500, 1000))
    assert read_picture(np.asarray(large), issuers, NOW)[0].payload == PAYLOAD


def test_no_search_is_in_a_picture_so_large_that_patterns_in_it_cost_minutes() -> None:
    """What looks like a corner of a code takes time: 200,000 of them fit into a picture of 12 megapixels."""
    for width, height in [(4000, 3000), (12_000, 1000), (2000, 2000), (1000, 900)]:
        sizes = list(_sizes(Image.new("L", (width, height))))
        assert sizes
        assert all(each.width * each.height <= MOST_PIXELS for each in sizes)


def test_the_smallest_patterns_are_smoothed_away() -> None:
    corner = Image.new("L", (8, 8), 255)
    ImageDraw.Draw(corner).rectangle((0, 0, 6, 6), outline=0)
    ImageDraw.Draw(corner).rectangle((2, 2, 4, 4), fill=0)
    full = Image.fromarray(np.tile(np.asarray(corner), (180, 180)))
    [found, *_] = _sizes(full)
    assert [np.mean(np.asarray(each) > 200) > 0.1 for each in (full, found)] == [True, False], "the light rings"
