"""Compare, Latent and Models, and the way between the views."""

from collections.abc import Callable

from PIL import ImageOps
from playwright.sync_api import Locator, Page, expect

from tests.page.conftest import WAIT, check_accessibility, narrow, wide
from tests.page.pictures import upload
from tests.service.pictures import FACE, PHOTO, png

expect.set_options(timeout=WAIT)
Visit = Callable[[str], Page]
OTHER = png(ImageOps.mirror(ImageOps.grayscale(FACE).convert("RGB")))


def test_compare(visit: Visit) -> None:
    page = visit("compare")
    page.get_by_label("96", exact=True).wait_for()
    for codec in ("AVIF", "JPEG XL"):
        page.get_by_label(codec).uncheck()
    check_accessibility(page)
    upload(page, PHOTO)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("cameo-128/5")
    expect(rows.nth(1)).to_contain_text("its smallest")
    assert page.get_by_alt_text("The photo, and beside it").evaluate("(sheet) => sheet.naturalWidth") > 500
    check_accessibility(page)


@wide
def test_compare_with_all_of_them(visit: Visit) -> None:
    page = visit("compare")
    page.get_by_label("96", exact=True).wait_for()
    page.get_by_label("320").check()
    upload(page, PHOTO)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(8)
    for name in ("WebP", "AVIF", "JPEG XL"):
        assert rows.filter(has_text=name).count() == 2
    page.get_by_label("320").uncheck()
    page.get_by_role("button", name="Compare").press("Enter")
    expect(rows).to_have_count(4)


def test_latent(visit: Visit) -> None:
    page = visit("latent")
    tokens = page.get_by_role("region", name="A face as its tokens come in")
    walk = page.get_by_role("region", name="A walk between two faces")
    nobody = page.get_by_role("region", name="Faces of nobody")
    expect(nobody.get_by_role("img")).to_have_count(8)
    check_accessibility(page)
    upload(tokens, PHOTO)
    slider = tokens.get_by_label("Tokens", exact=True)
    expect(slider).to_have_value("15")
    last = canvas(tokens)
    slider.press("ArrowLeft")
    assert canvas(tokens) != last
    tokens.get_by_role("button", name="Play").click()
    expect(slider).to_have_value("15")
    upload(walk, PHOTO)
    upload(walk, OTHER, at=1)
    expect(walk.locator(".faces canvas")).to_have_count(12)
    middle = canvas(walk)
    walk.get_by_label("From the first face to the second").press("Home")
    assert canvas(walk) != middle
    check_accessibility(page)
    with page.expect_response("**/sample?*seed=7&*"):
        nobody.get_by_label("Number").fill("7")


def canvas(within: Locator) -> str:
    """What is drawn in the first canvas."""
    data: str = within.locator("canvas").first.evaluate("(canvas) => canvas.toDataURL()")
    return data


def test_models(visit: Visit) -> None:
    page = visit("models")
    region = page.locator("section.panel").filter(has_text="cameo-128/5")
    expect(region.get_by_text("default", exact=True)).to_be_visible()
    expect(region.locator("tbody tr")).to_have_count(8)
    expect(page.get_by_text("vae-64/2", exact=True)).to_be_visible()
    expect(page.get_by_text("https://office.example")).to_be_visible()
    region.get_by_text("How this was measured").click()
    expect(region.get_by_text("Research use only")).to_be_visible()
    check_accessibility(page)


def test_views_have_addresses_and_keep_what_is_in_them(visit: Visit) -> None:
    page = visit("compare")
    upload(page, PHOTO)
    nav = page.get_by_role("navigation", name="Views")
    for name in ("Enrol", "Check", "Latent", "Models", "Compare"):
        link = nav.get_by_role("link", name=name)
        link.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1, name=name)).to_be_focused()
        expect(link).to_have_attribute("aria-current", "page")
        assert page.url.endswith(f"#{name.lower()}")
        assert page.title() == f"{name} · Cameo"
    assert page.get_by_alt_text("The photo that you chose").count() == 1
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="Models")).to_be_visible()
    nav.get_by_role("link", name="Enrol").click()
    page.get_by_role("button", name="Use the same photo").click()
    expect(page.get_by_text("As it will be read, from")).to_be_visible()


@narrow
def test_the_keyboard_reaches_the_content_past_the_navigation(visit: Visit) -> None:
    page = visit("enrol")
    page.get_by_role("heading", level=1).wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("input[type=file]")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Camera")).to_be_focused()
