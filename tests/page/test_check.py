"""Check: what a card says, who says it, and whether a photo shows its person."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from cameo.cards import Claims, SigningKey, make_card, make_keys
from tests.page.conftest import WAIT, Desk, check_accessibility, narrow, wide
from tests.page.pictures import upload
from tests.service.pictures import FACE, PHOTO, landscape, pixels, png

expect.set_options(timeout=WAIT)
Visit = Callable[[str], Page]


def read_text(page: Page, text: str) -> None:
    page.get_by_text("The text of a scanner").click()
    page.get_by_label("What the QR code holds").fill(text)
    page.get_by_role("button", name="Read the text").click()


def verdict(page: Page, state: str) -> None:
    expect(page.get_by_role("heading", name=state, exact=True)).to_be_visible()


def payload(desk: Desk) -> bytes:
    asked = desk.server.client.post(
        "/compress", content=PHOTO, headers={"Content-Type": "image/png", "Accept": "application/vnd.cameo"}
    )
    return asked.content


def test_a_card_and_a_photo_from_files(visit: Visit, desk: Desk) -> None:
    page = visit("check")
    expect(page.get_by_text("Show a card to the camera")).to_be_visible()
    check_accessibility(page)
    upload(page, desk.card)
    verdict(page, "Valid")
    for said in ("Eileen Collins", "1956-11-19", "US", "2090-12-31", "https://office.example"):
        expect(page.get_by_role("definition").filter(has_text=said)).to_be_visible()
    assert page.get_by_alt_text("The face on the card").evaluate("(face) => face.naturalWidth") == 128
    upload(page, PHOTO, at=1)
    verdict(page, "The same person")
    strict = page.get_by_label("How strict")
    assert strict.input_value() == "0.001"
    strict.select_option("0.0001")
    verdict(page, "The same person")
    check_accessibility(page)


def test_a_card_and_a_person_before_the_camera(visit_refused: Visit) -> None:
    page = visit_refused("check")
    page.route("**/card/read", lambda route: route.fulfill(status=422, json=NO_CARD), times=1)  # the first frame
    page.get_by_role("button", name="Camera").click()
    verdict(page, "Valid")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("region", name="Is this the person?").get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the photo").click()
    verdict(page, "The same person")
    expect(page.get_by_text("There are 2 faces in the photo")).to_be_visible()


NO_MATCH = {"match": False, "decision": "no-match", "score": 0.11}
NO_CARD = {"type": "urn:cameo:problem:no-card", "title": "No QR code was found", "status": 422, "detail": "none"}


@narrow
def test_somebody_else_is_refused(visit: Visit, desk: Desk) -> None:
    page = visit("check")
    upload(page, desk.card)
    verdict(page, "Valid")
    page.route("**/verify*", lambda route: route.fulfill(json=route.fetch().json() | NO_MATCH))
    upload(page, PHOTO, at=1)
    verdict(page, "Not the same person")
    check_accessibility(page)


@wide
def test_a_card_that_is_not_valid_proves_nothing(visit: Visit, desk: Desk, tmp_path: Path) -> None:
    page = visit("check")
    face, claims, data = Image.fromarray(pixels(PHOTO)), Claims(full_name="田中花子"), payload(desk)
    stranger = SigningKey.load(make_keys("https://stranger.example", tmp_path)[0])
    impostor = SigningKey.load(make_keys("https://office.example", tmp_path)[0])
    past = datetime.now(UTC) - timedelta(days=9)
    expired = make_card(face, data, claims, desk.signing_key, expires=past + timedelta(days=2), now=past)
    cards = {
        "Unknown issuer": make_card(face, data, claims, stranger).text,
        "Broken": make_card(face, data, claims, impostor).text,
        "Expired": expired.text,
    }
    for state, text in cards.items():
        page.reload()
        read_text(page, text)
        verdict(page, state)
        expect(page.get_by_text("田中花子")).to_be_visible()
        check_accessibility(page)
    upload(page, PHOTO, at=1)
    expect(page.get_by_role("heading", name="No match: the card is not valid")).to_be_visible()


@wide
def test_two_cards_in_one_picture(visit: Visit, desk: Desk) -> None:
    page = visit("check")
    both = Image.new("RGB", (1100, 1400), "white")
    both.paste(Image.fromarray(pixels(desk.card)), (40, 20))
    other = desk.server.client.post("/card", files={"image": PHOTO}, headers={"Accept": "image/png"}).content
    both.paste(Image.fromarray(pixels(other)), (40, 720))
    upload(page, png(both))
    expect(page.get_by_text("There are 2 cards in the picture")).to_be_visible()
    assert page.get_by_role("heading", name="Valid", exact=True).count() == 2


@narrow
@pytest.mark.parametrize(
    ("picture", "said"),
    [(png(FACE), "No QR code was found in this picture."), (b"no picture", "This file is not a picture.")],
)
def test_pictures_without_a_card(visit_refused: Visit, picture: bytes, said: str) -> None:
    page = visit_refused("check")
    upload(page, picture)
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_text("Request ")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    check_accessibility(page)


@narrow
def test_texts_that_are_no_card(visit_refused: Visit, desk: Desk) -> None:
    page = visit_refused("check")
    read_text(page, "https://example.org")
    expect(page.get_by_text("This QR code is not a card.")).to_be_visible()
    text = make_card(Image.fromarray(pixels(PHOTO)), payload(desk), Claims(), desk.signing_key).text
    page.get_by_label("What the QR code holds").fill(text[:-9])
    page.get_by_role("button", name="Read the text").click()
    expect(page.get_by_text("This card cannot be read")).to_be_visible()


@narrow
def test_a_photo_with_nobody_in_it(visit_refused: Visit, desk: Desk) -> None:
    page = visit_refused("check")
    upload(page, desk.card)
    verdict(page, "Valid")
    upload(page, png(landscape()), at=1)
    expect(page.get_by_text("No face was found in this picture.")).to_be_visible()
