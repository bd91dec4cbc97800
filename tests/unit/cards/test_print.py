"""Cards on paper and screen: PDF, PNG, SVG; letters of all scripts; and what is refused before anything is printed."""

import io
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
import segno
from numpy.typing import NDArray
from PIL import Image

from cameo.cards import Card, Claims, Issuers, SigningKey, make_card, read_picture
from cameo.cards.card import MOST_CHARACTERS, MOST_VERSION
from cameo.cards.fonts import families, is_right_to_left
from cameo.errors import CameoError, CannotDraw, CardTooLarge, InvalidParameter
from tests.unit.cards.conftest import NOW, PAYLOAD

Make = Callable[..., Card]


@pytest.fixture
def make(face: Image.Image, key: SigningKey) -> Make:
    return lambda payload=PAYLOAD, **claims: make_card(face, payload, Claims.of(claims), key, now=NOW)


def pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(("dpi", "size"), [(300, (1011, 638)), (600, (2022, 1275))])
def test_a_png_is_a_card_of_85_by_54_mm(card: Card, issuers: Issuers, dpi: int, size: tuple[int, int]) -> None:
    image = Image.open(io.BytesIO(card.encode("image/png", dpi)))
    assert np.abs(np.subtract(image.size, size)).max() <= 1
    assert [read.payload for read in read_picture(np.asarray(image.convert("RGB")), issuers, NOW)] == [PAYLOAD]


def test_modules_are_whole_pixels(card: Card) -> None:
    """No grey edges, which a printer would turn into ragged ones."""
    picture = pixels(card.encode("image/png", 300))
    code = picture[150:500, 650:990]
    assert (np.isin(code, (0, 255))).all()


def test_a_pdf_is_vectors_but_for_the_face(card: Card, issuers: Issuers) -> None:
    document = pypdfium2.PdfDocument(card.encode("application/pdf"))
    [page] = document
    assert np.abs(np.subtract(page.get_size(), np.array([85.6, 53.98]) / 25.4 * 72)).max() < 0.1
    images = page.get_objects(filter=(pypdfium2.raw.FPDF_PAGEOBJ_IMAGE,), max_depth=9)
    assert len(list(images)) == 1
    text = page.get_textpage().get_text_bounded()
    for shown in ("Eileen Collins", "1956-11-19", "female", "US", "2030-12-31", "https://office.example"):
        assert shown in text
    drawn = np.asarray(page.render(scale=400 / 72).to_pil().convert("RGB"))
    assert [read.payload for read in read_picture(drawn, issuers, NOW)] == [PAYLOAD]


def test_an_svg_stands_alone(card: Card) -> None:
    svg = card.encode("image/svg+xml").decode()
    assert svg.startswith("<svg")
    assert not re.findall(r'(?:href|src)="(?!data:|#)', svg), "nothing is loaded"
    assert "<text" not in svg, "letters are shapes: no font is asked for"
    assert "<script" not in svg


def test_the_same_card_is_the_same_file(card: Card) -> None:
    for kind in ("application/pdf", "image/png", "image/svg+xml"):
        assert card.encode(kind) == card.encode(kind)


def test_a_suffix_says_what_is_saved(card: Card, tmp_path: Path) -> None:
    begins = {".pdf": b"%PDF", ".PNG": b"\x89PNG", ".svg": b"<svg", ".txt": card.text[:4].encode()}
    for suffix, begin in begins.items():
        card.save(tmp_path / f"card{suffix}")
        assert (tmp_path / f"card{suffix}").read_bytes().startswith(begin)
    with pytest.raises(InvalidParameter, match=r"\.pdf, \.png, \.svg, \.txt"):
        card.save(tmp_path / "card.docx")
    with pytest.raises(InvalidParameter, match="300 or 600"):
        card.save(tmp_path / "card.png", dpi=72)


@pytest.mark.parametrize(
    ("name", "language", "script"),
    [
        ("محمد عبد الله", "ara", "Noto Sans Arabic"),
        ("שרה כהן", "heb", "Noto Sans Hebrew"),
        ("山田 太郎", "jpn", "Noto Sans CJK JP"),
        ("やまだ", None, "Noto Sans CJK JP"),
        ("김민준", None, "Noto Sans CJK KR"),
        ("欧阳娜娜", None, "Noto Sans CJK SC"),
        ("राम शर्मा", "hin", "Noto Sans Devanagari"),
        ("สมชาย", "tha", "Noto Sans Thai"),
        ("Владимир", "rus", "Noto Sans"),
        ("Nguyễn Thị", "vie", "Noto Sans"),
        ("አበበ", "amh", "Noto Sans Ethiopic"),
    ],
)  # fmt: skip
def test_names_in_all_scripts_are_drawn(
    make: Make, issuers: Issuers, name: str, language: str | None, script: str
) -> None:
    claims = {"full_name": name} | ({"language": language} if language else {})
    card = make(**claims)
    assert script in families(name, language)
    assert read_picture(pixels(card.encode("image/png")), issuers, NOW)[0].claims.full_name == name
    # PDFium says which letters the fonts in the file draw.
    [page] = pypdfium2.PdfDocument(card.encode("application/pdf"))
    text = page.get_textpage().get_text_bounded()
    assert set(name) - {" "} <= set(text) or language in {"ara", "hin", "tha"}, "shaped letters have codes of their own"


def test_a_name_from_right_to_left_ends_at_the_left(make: Make) -> None:
    """Its ink is in the right half of the column, and Latin ink in the left one."""

    def inks(name: str) -> tuple[int, int]:
        line = pixels(make(full_name=name).encode("image/png"))[415:490, 40:600] < 128
        return int(line[:, :280].sum()), int(line[:, 280:].sum())

    left, right = inks("محمد")
    assert left == 0 < right
    left, right = inks("Ada")
    assert left > 0 == right
    assert is_right_to_left("123 שרה")
    assert not is_right_to_left("Ada שרה")


@pytest.mark.parametrize("name", ["\U00013000", "Ada \U0001f600", "ꔀ", "\ue000x"])
def test_letters_without_a_font_are_refused_before_anything_is_printed(make: Make, tmp_path: Path, name: str) -> None:
    with pytest.raises(CameoError) as caught:
        make(full_name=name).save(tmp_path / "card.pdf")
    assert "full_name" in caught.value.detail
    assert "U+" in caught.value.detail
    assert list(tmp_path.iterdir()) == []
    if not name.startswith("\ue000"):
        assert isinstance(caught.value, CannotDraw)
        make(full_name=name).save(tmp_path / "card.txt")  # needs no font


def test_long_names_are_drawn_smaller_and_not_cut(make: Make, issuers: Issuers) -> None:
    name = "Maria do Carmo Fernanda de Albuquerque e Castro Pereira da Silva Magalhães"
    [page] = pypdfium2.PdfDocument(make(full_name=name).encode("application/pdf"))
    text = " ".join(page.get_textpage().get_text_bounded().split())
    assert name in text


def test_what_is_too_long_to_print_is_refused_by_name(make: Make, tmp_path: Path) -> None:
    for name in ("full_name", "id"):
        with pytest.raises(CardTooLarge, match=f"{name} is too long to be printed"):
            make(**{name: "x" * 95}).save(tmp_path / "card.pdf")
    assert list(tmp_path.iterdir()) == []


def test_claims_are_text_and_never_markup(make: Make) -> None:
    name = '#panic("x") $a$ *b* <c> \\ "'
    [page] = pypdfium2.PdfDocument(make(full_name=name).encode("application/pdf"))
    assert name in " ".join(page.get_textpage().get_text_bounded().split())


def test_the_limit_is_what_the_largest_code_holds() -> None:
    fits: dict[str, Any] = {"mode": "alphanumeric", "error": "M", "version": MOST_VERSION, "boost_error": False}
    segno.make_qr("A" * MOST_CHARACTERS, **fits)
    with pytest.raises(segno.DataOverflowError):
        segno.make_qr("A" * (MOST_CHARACTERS + 1), **fits)


def test_the_largest_card_that_is_made_is_read(make: Make, issuers: Issuers) -> None:
    card = make(
        random.Random(3).randbytes(320),  # noqa: S311
        full_name="Ada King",
        address="1 High Street\n" + "London " * 8,
        id="12345678",
    )
    assert card.qr_version > 15
    assert read_picture(pixels(card.encode("image/png")), issuers, NOW)[0].payload == card.payload
