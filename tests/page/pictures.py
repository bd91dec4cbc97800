"""The ways of a picture into the page."""

import base64

from playwright.sync_api import Locator, Page

_EVENT = """([kind, data]) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "photo.png", { type: "image/png" }));
  const at = document.querySelector(kind === "drop" ? ".picker" : "body");
  const more = kind === "drop" ? { dataTransfer: transfer } : { clipboardData: transfer };
  const event = kind === "drop" ? DragEvent : ClipboardEvent;
  at.dispatchEvent(new event(kind, { bubbles: true, cancelable: true, ...more }));
}"""


def upload(within: Page | Locator, data: bytes, name: str = "photo.png", at: int = 0) -> None:
    """Through the file input, of several the one with this number."""
    field = within.locator("input[type=file]").nth(at)
    field.set_input_files({"name": name, "mimeType": "image/png", "buffer": data})


def drop(page: Page, data: bytes) -> None:
    page.evaluate(_EVENT, ["drop", base64.b64encode(data).decode()])


def paste(page: Page, data: bytes) -> None:
    page.evaluate(_EVENT, ["paste", base64.b64encode(data).decode()])
