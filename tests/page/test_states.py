"""What is in the way: a key, a busy service, one that goes away, a camera that is refused."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.page.conftest import WAIT, Desk, check_accessibility, narrow
from tests.page.pictures import upload
from tests.service.pictures import PHOTO, landscape, png

expect.set_options(timeout=WAIT)
Visit = Callable[[str], Page]
BUSY = {
    "type": "urn:cameo:problem:overloaded", "title": "The service is overloaded", "status": 429,
    "detail": "the queue is full", "request_id": "made-up",
}  # fmt: skip


def test_a_key_is_asked_for(visit_without_key: Visit, desk: Desk) -> None:
    page = visit_without_key("models")
    dialog = page.get_by_role("dialog", name="This service needs an API key")
    field = dialog.get_by_label("API key")
    expect(field).to_be_focused()
    check_accessibility(page)
    field.fill("wrong")
    field.press("Enter")
    expect(dialog.get_by_text("The key was refused")).to_be_visible()
    field.fill(desk.secret)
    dialog.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("vae-64/2", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_text("vae-64/2", exact=True)).to_be_visible()
    page.get_by_role("button", name="Forget API key").click()
    page.reload()
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("This service needs an API key.")).to_be_visible()
    check_accessibility(page)
    assert desk.secret not in desk.server.log


def test_a_busy_service_is_asked_again(visit_refused: Visit) -> None:
    page = visit_refused("enrol")
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) <= 2:
            route.fulfill(status=429, json=BUSY, headers={"Retry-After": "2"})
        else:
            route.continue_()

    page.route("**/compress*", refuse)
    upload(page, PHOTO)
    expect(page.get_by_text("The service is busy. Trying again in 2 s.")).to_be_visible()
    check_accessibility(page)
    expect(page.get_by_text("As it will be read, from")).to_be_visible()


@narrow
def test_a_service_that_stays_busy(visit_refused: Visit) -> None:
    page = visit_refused("enrol")
    page.route("**/compress*", lambda route: route.fulfill(status=429, json=BUSY))
    upload(page, PHOTO)
    expect(page.get_by_text("The service is busy.")).to_be_visible()
    expect(page.get_by_text("made-up")).to_be_visible()
    page.unroute("**/compress*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("As it will be read, from")).to_be_visible()


def test_a_service_that_goes_away_and_comes_back(visit_refused: Visit, context: BrowserContext) -> None:
    page = visit_refused("enrol")
    page.get_by_role("heading", level=1).wait_for()
    context.set_offline(True)
    upload(page, PHOTO)
    banner = page.get_by_text("Trying again until it does")
    expect(banner).to_be_visible()
    check_accessibility(page)
    context.set_offline(False)
    expect(page.get_by_text("The service answers again.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("As it will be read, from")).to_be_visible()
    expect(banner).to_be_hidden()


def test_a_photo_with_nobody_in_it(visit_refused: Visit) -> None:
    page = visit_refused("enrol")
    upload(page, png(landscape()))
    expect(page.get_by_text("No face was found in this picture.")).to_be_visible()
    check_accessibility(page)


@narrow
def test_a_camera_that_is_refused(visit: Visit, context: BrowserContext) -> None:
    context.clear_permissions()
    page = visit("enrol")
    page.get_by_role("button", name="Camera").click()
    expect(page.get_by_text("The camera was refused.")).to_be_visible()
    check_accessibility(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    upload(page, PHOTO)
    expect(page.get_by_text("As it will be read, from")).to_be_visible()


@narrow
def test_no_camera(visit: Visit, context: BrowserContext) -> None:
    context.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError') }"
    )
    page = visit("check")
    page.get_by_role("button", name="Camera").click()
    expect(page.get_by_text("There is no camera.")).to_be_visible()
