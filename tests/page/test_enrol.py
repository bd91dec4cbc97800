"""Enrol: from a photo to a payload, its QR code, and a card."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import WAIT, Desk, check_accessibility, narrow, wide
from tests.page.pictures import drop, paste, upload
from tests.service.pictures import FACE, PHOTO, group, png

expect.set_options(timeout=WAIT)
Visit = Callable[[str], Page]
FINAL = "As it will be read, from {} bytes"


def finished(page: Page, size: int = 96) -> None:
    expect(page.get_by_text(FINAL.format(size))).to_be_visible()


def downloaded(page: Page, button: str) -> bytes:
    with page.expect_download() as started:
        page.get_by_role("button", name=button, exact=True).click()
    return started.value.path().read_bytes()


def test_from_a_photo_to_a_payload(visit: Visit, desk: Desk) -> None:
    page = visit("enrol")
    expect(page.get_by_text("appears here once there is a photo")).to_be_visible()
    check_accessibility(page)
    upload(page, PHOTO)
    finished(page)
    expect(page.get_by_text("taken for the same person")).to_be_visible()
    expect(page.get_by_text("QR code, version 6: 17 mm")).to_be_visible()
    check_accessibility(page)
    payload = downloaded(page, "Payload")
    assert len(payload) == 96
    page.get_by_role("button", name="Copy as base64").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == base64.b64encode(payload).decode()
    assert downloaded(page, "QR code").startswith(b"<?xml")
    asked = desk.server.client.post("/compress", content=PHOTO, headers={"Content-Type": "image/png"})
    assert base64.b64decode(asked.json()["payload"]) == payload, "the page asks for what anybody gets"


@wide
def test_the_slider_needs_no_photo_until_it_rests(visit: Visit) -> None:
    page = visit("enrol")
    upload(page, PHOTO)
    finished(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2].partition("?")[0]))
    slider = page.get_by_label("Size of the payload")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_text("Preview in 108 bytes")).to_be_visible()
    assert "compress" not in asked[: asked.index("reconstruct")], "the preview is made without the photo"
    expect(slider).to_have_attribute("aria-valuetext", "108 bytes")
    finished(page, 108)
    assert asked.count("compress") == 1
    page.keyboard.press("Home")
    finished(page, 32)
    page.keyboard.press("End")
    finished(page, 320)


def test_a_card_is_made_and_saved(visit: Visit, desk: Desk) -> None:
    page = visit("enrol")
    upload(page, PHOTO)
    finished(page)
    page.get_by_label("Name", exact=True).fill("إيلين كولينز")
    page.get_by_label("Date of birth").fill("1956-11-19")
    page.get_by_label("Sex").select_option("female")
    page.get_by_label("Last day").fill("2090-12-31")
    page.get_by_label("Last day").press("Enter")
    expect(page.get_by_alt_text("The card as it is printed")).to_be_visible()
    check_accessibility(page)
    assert downloaded(page, "PDF").startswith(b"%PDF")
    assert downloaded(page, "PNG, 300 dpi").startswith(b"\x89PNG")
    text = downloaded(page, "Text of the code").decode()
    [card] = desk.server.client.post("/card/read", json={"text": text}).json()["cards"]
    assert card["state"] == "valid"
    assert card["claims"] == {"full_name": "إيلين كولينز", "date_of_birth": "1956-11-19", "gender": "female"}
    assert base64.b64decode(card["payload"]) == downloaded(page, "Payload")
    page.emulate_media(media="print")
    size = page.get_by_alt_text("The card as it is printed").bounding_box()
    assert size is not None
    assert size["width"] == pytest.approx(85.6 / 25.4 * 96, abs=1), "in print it has its size"
    expect(page.get_by_role("heading", name="Enrol")).to_be_hidden()


@narrow
def test_what_cannot_be_on_a_card_is_said_at_its_field(visit_refused: Visit) -> None:
    page = visit_refused("enrol")
    upload(page, PHOTO)
    finished(page)
    page.get_by_label("Last day").fill("2001-01-01")
    page.get_by_role("button", name="Make the card").click()
    expect(page.get_by_label("Last day")).to_be_focused()
    assert "2001" in page.get_by_label("Last day").evaluate("(field) => field.validationMessage")
    page.get_by_label("Last day").fill("")
    page.get_by_label("Name", exact=True).fill("\U00013000")
    page.get_by_role("button", name="Make the card").click()
    expect(page.get_by_text("A letter cannot be printed.")).to_be_visible()
    check_accessibility(page)


@wide
@pytest.mark.parametrize("way", [drop, paste])
def test_a_photo_may_be_dropped_or_pasted(visit: Visit, way: Callable[[Page, bytes], None]) -> None:
    page = visit("enrol")
    way(page, PHOTO)
    finished(page)


def test_a_photo_from_the_camera(visit: Visit) -> None:
    page = visit("enrol")
    page.get_by_role("button", name="Camera").click()
    take = page.get_by_role("button", name="Take the photo")
    expect(take).to_be_focused()
    check_accessibility(page)
    take.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("There are 2 faces in the photo")).to_be_visible()  # the other one is on the card
    finished(page)
    assert page.locator(".preview .box").count() == 1


@wide
def test_doubts_are_shown(visit: Visit) -> None:
    page = visit("enrol")
    upload(page, png(group().rotate(90, expand=True)))
    expect(page.get_by_text("There are 2 faces in the photo")).to_be_visible()
    expect(page.get_by_text("The photo was turned by")).to_be_visible()
    upload(page, png(FACE.resize((48, 48)).resize((256, 256))))
    expect(page.get_by_text("The face is blurred")).to_be_visible()
    check_accessibility(page)


@narrow
def test_a_service_that_signs_nothing_says_how_it_would(visit: Visit) -> None:
    page = visit("models")
    page.route("**/readyz", lambda route: route.fulfill(json=route.fetch().json() | {"card_issuer": None}))
    page.get_by_role("link", name="Enrol").click()
    upload(page, PHOTO)
    finished(page)
    expect(page.get_by_text("has no key to sign cards with")).to_be_visible()
    expect(page.get_by_role("button", name="Make the card")).to_be_hidden()
    check_accessibility(page)
    assert len(downloaded(page, "Payload")) == 96


@narrow
def test_a_service_without_a_model_of_several_rates(visit: Visit) -> None:
    page = visit("check")
    page.route("**/models", lambda route: route.fulfill(json=without("cameo-128", route.fetch().json())))
    page.get_by_role("link", name="Enrol").click()
    upload(page, PHOTO)
    finished(page, 132)
    expect(page.get_by_text("No model here has several rates")).to_be_visible()
    expect(page.get_by_label("Size of the payload")).to_be_hidden()
    page.get_by_role("link", name="Latent").click()
    expect(page.get_by_role("region")).to_have_count(2)


def without(name: str, store: dict[str, Any]) -> dict[str, Any]:
    return store | {"models": [model for model in store["models"] if model["name"] != name]}
