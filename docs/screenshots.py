"""The pictures of ``docs/page.md``, and how long each step of the page takes. ``python -m docs.screenshots``.

It needs a Chromium, see ``tests/browser.py``. The service is a real one with the models of the repository; times are
from the click to the end of what it starts, as a person at this machine has them.
"""

import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, sync_playwright

from bench.server import ROOT, Server
from cameo.cards import make_keys
from tests import browser
from tests.faces import astronaut

FOLDER = Path(__file__).with_name("page")
SCHEMES: dict[str, tuple[int, Literal["light", "dark"]]] = {"": (1280, "light"), "-phone": (390, "dark")}
LARGEST = 150_000  # bytes of a picture
SIZES = ((1, 256), (0.9, 256), (0.8, 256), (0.7, 256), (0.6, 256), (0.6, 128), (0.5, 128))  # scale, colours
FACE = Image.fromarray(astronaut()[0:256, 96:352])


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        key, _ = make_keys("https://office.example", folder)
        (folder / "desk.mjpeg").write_bytes(browser.desk_scene(_png(FACE)))
        with Server(ROOT / "model_store", settings={"CAMEO_CARD_KEY": str(key)}) as server:
            print(f"service started: {server.start_seconds:.1f} s, {server.workers} workers")
            chromium = playwright.chromium.launch(**browser.options(folder / "desk.mjpeg"))
            for suffix, (width, scheme) in SCHEMES.items():
                Desk(chromium, f"http://127.0.0.1:{server.port}/", folder, suffix, width, scheme).show()
            chromium.close()


class Desk:
    """Somebody who goes through all views."""

    def __init__(
        self, chromium: Browser, base: str, folder: Path, suffix: str, width: int, scheme: Literal["light", "dark"]
    ) -> None:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce", locale="en-GB"
        )
        self.page: Page = context.new_page()
        self.page.set_default_timeout(120_000)
        self.base, self.folder, self.suffix = base, folder, suffix

    def show(self) -> None:
        for view in (self.enrol, self.check, self.compare, self.latent, self.models):
            self.page.goto(f"{self.base}#{view.__name__}")
            view()
            self._picture(view.__name__)

    def enrol(self) -> None:
        page = self.page
        with self._step("face found, first preview"):
            self._upload(0, _png(FACE))
            page.get_by_text("Preview in 96 bytes").wait_for()
        page.get_by_text("As it will be read, from 96 bytes").wait_for()
        slider = page.get_by_label("Size of the payload")
        with self._step("slider moved, preview"):
            slider.press("ArrowRight")
            page.get_by_text("Preview in 100 bytes").wait_for()
        with self._step("preview, face as it will be read"):
            page.get_by_text("As it will be read, from 100 bytes").wait_for()
        slider.press("ArrowLeft")
        page.get_by_text("As it will be read, from 96 bytes").wait_for()
        page.get_by_label("Name", exact=True).fill("Eileen Collins")
        page.get_by_label("Date of birth").fill("1956-11-19")
        page.get_by_label("Sex").select_option("female")
        page.get_by_label("Nationality").fill("US")
        page.get_by_label("Last day").fill("2031-12-31")
        with self._step("card made"):
            page.get_by_role("button", name="Make the card").click()
            page.get_by_role("button", name="Print").wait_for()
        for button, file in (("PDF", "card.pdf"), ("PNG, 300 dpi", "card.png")):
            with self._step(f"{button} saved"), page.expect_download() as download:
                page.get_by_role("button", name=button, exact=True).click()
            download.value.save_as(self.folder / file)

    def check(self) -> None:
        page = self.page
        with self._step("card read"):
            self._upload(0, (self.folder / "card.png").read_bytes())
            page.get_by_role("heading", name="Valid").wait_for()
        with self._step("photo compared with the card"):
            self._upload(1, _png(ImageOps.mirror(FACE)))
            page.get_by_role("heading", name="The same person").wait_for()

    def compare(self) -> None:
        page = self.page
        page.get_by_label("96", exact=True).wait_for()
        with self._step("compared with three codecs"):
            self._upload(0, _png(FACE))
            page.locator("tbody tr").nth(3).wait_for()

    def latent(self) -> None:
        page = self.page
        with self._step("eight faces of nobody"):
            page.locator(".faces canvas").nth(7).wait_for()
        with self._step("a face in 16 steps"):
            self._upload(0, _png(FACE))
            page.get_by_role("region", name="A face as its tokens").locator(".status").wait_for(state="hidden")
        page.get_by_label("Tokens", exact=True).fill("8")
        self._upload(1, _png(FACE))
        with self._step("walk of twelve faces"):
            self._upload(2, _png(ImageOps.mirror(ImageOps.grayscale(FACE).convert("RGB"))))
            page.locator(".faces").nth(0).locator("canvas").nth(11).wait_for()

    def models(self) -> None:
        self.page.get_by_text("Signs cards as").wait_for()

    def _upload(self, at: int, data: bytes) -> None:
        field = self.page.locator("input[type=file]").nth(at)
        field.set_input_files({"name": "photo.png", "mimeType": "image/png", "buffer": data})

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        print(f"{self.page.viewport_size}: {name}: {time.perf_counter() - began:.2f} s", flush=True)

    def _picture(self, view: str) -> None:
        with Image.open(io.BytesIO(self.page.screenshot(full_page=True))) as shot:
            picture = shot.convert("RGB")
        for scale, colours in SIZES:
            smaller = picture.resize(
                (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
            )
            data = _png(smaller.quantize(colours, dither=Image.Dither.NONE))
            if len(data) <= LARGEST:
                break
        (FOLDER / f"{view}{self.suffix}.png").write_bytes(data)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main()
