"""One service and one browser for all tests of the page.

The service has everything that can be in the way: API keys, and a path prefix. Pages get the key, and permission for
the camera, unless a test takes them away.

Both end with the last test of the page that a process runs: Playwright keeps an event loop running in the main thread
until then, and no test of anything else could start one.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from app.api.access import make
from cameo.cards import SigningKey, make_keys
from tests import browser as browsers
from tests.service.pictures import PHOTO
from tests.service.server import ROOT, Server, serve

PREFIX = "/cameo"
WIDTHS = {390: 844, 1280: 900}
REFUSED = "Failed to load resource: the server responded with a status of "  # how the console has each problem
GONE = "Failed to load resource: net::ERR_INTERNET_DISCONNECTED"
WAIT = 60_000  # milliseconds, on a busy machine
CLAIMS = {"full_name": "Eileen Collins", "date_of_birth": "1956-11-19", "gender": "female", "nationality": "US"}


class Desk(NamedTuple):
    """A service that signs cards, the key for it, a card of it, and its folder of keys."""

    server: Server
    secret: str
    card: bytes
    keys: Path

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.port}{PREFIX}/"

    @property
    def signing_key(self) -> SigningKey:
        return SigningKey.load(self.keys / "office.example.key.pem")


@pytest.fixture(scope="package")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    store = folder / "store"
    for name, version in (("cameo-128", "5"), ("vae-64", "2")):
        shutil.copytree(ROOT / "model_store" / name / version, store / name / version)
    (store / "store.json").write_text('{"default_model": "cameo-128"}')
    private, _ = make_keys("https://office.example", folder)
    secret, line = make("desk")
    (folder / "keys").write_text(line + "\n")
    settings: dict[str, Any] = {
        "store": store,
        "workers": 1,
        "effort": "fast",
        "root_path": PREFIX,
        "keys": folder / "keys",
    }
    with serve(folder / "log", card_key=private, **settings) as server:
        server.client.headers["X-Api-Key"] = secret
        card = server.client.post(
            "/card", files={"image": PHOTO}, data={"claims": json.dumps(CLAIMS)}, params={"expires": "2090-12-31"},
            headers={"Accept": "image/png"},
        )  # fmt: skip
        assert card.status_code == 200, card.text
        yield Desk(server, secret, card.content, folder)


@pytest.fixture(scope="package")
def browser(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if browsers.find() is None:
        pytest.skip(browsers.MISSING)
    camera = tmp_path_factory.mktemp("camera") / "desk.mjpeg"
    camera.write_bytes(browsers.desk_scene(desk.card))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browsers.options(camera))
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def context(request: pytest.FixtureRequest, browser: Browser, desk: Desk) -> Iterator[BrowserContext]:
    """At each width, or at one: see ``narrow`` and ``wide``."""
    size = {"width": request.param, "height": WIDTHS[request.param]}
    with browser.new_context(viewport=size, reduced_motion="reduce", accept_downloads=True) as context:  # type: ignore[arg-type]
        context.set_default_timeout(WAIT)
        context.grant_permissions(["camera", "clipboard-read", "clipboard-write"], origin=desk.base[:-1])
        yield context


class Visit:
    """A page, and what went wrong in it: how many requests failed, what else the console says, who else was asked."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.refused = 0
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.text.startswith((REFUSED, GONE)):
            self.refused += 1
        elif message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _request(self, url: str) -> None:
        if not url.startswith((self.base, "blob:", "data:")):
            self.elsewhere.append(url)


@pytest.fixture
def visit(context: BrowserContext, desk: Desk) -> Iterator[Callable[[str], Page]]:
    """Opens a view. At the end nothing was refused, nothing failed, and nobody else was asked."""
    context.add_init_script(f"sessionStorage.setItem('cameo-api-key', '{desk.secret}')")
    yield from _visits(context, desk, refusals=False)


@pytest.fixture
def visit_refused(context: BrowserContext, desk: Desk) -> Iterator[Callable[[str], Page]]:
    """The same where the service has to refuse something."""
    context.add_init_script(f"sessionStorage.setItem('cameo-api-key', '{desk.secret}')")
    yield from _visits(context, desk, refusals=True)


@pytest.fixture
def visit_without_key(context: BrowserContext, desk: Desk) -> Iterator[Callable[[str], Page]]:
    """The same in a tab that has no API key yet."""
    yield from _visits(context, desk, refusals=True)


def _visits(context: BrowserContext, desk: Desk, *, refusals: bool) -> Iterator[Callable[[str], Page]]:
    visits: list[Visit] = []

    def open_(view: str) -> Page:
        visits.append(Visit(context.new_page(), desk.base))
        visits[-1].page.goto(f"{desk.base}#{view}")
        return visits[-1].page

    yield open_
    for visit in visits:
        assert visit.errors == []
        assert visit.elsewhere == []
        assert (visit.refused > 0) == refusals


AXE = Axe()
narrow = pytest.mark.parametrize("context", [390], indirect=True)
wide = pytest.mark.parametrize("context", [1280], indirect=True)


def check_accessibility(page: Page) -> None:
    """axe-core finds nothing serious in what is shown now, in either colour scheme."""
    for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = AXE.run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
        serious = [
            (each["id"], [node["html"] for node in each["nodes"]], each["nodes"][0]["failureSummary"])
            for each in found
            if each["impact"] in {"serious", "critical"}
        ]
        assert serious == [], scheme
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
