"""A real browser for the tests of the page, and the pictures that its camera sees."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from tests.faces import astronaut

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = f"no browser: none of {', '.join(NAMES)} is on the PATH, and CAMEO_CHROMIUM names none"
SIZE = 1280, 960  # what the page asks the camera for


def find() -> str | None:
    """The path of a Chromium."""
    return os.environ.get("CAMEO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def options(camera: Path) -> dict[str, Any]:
    """For Playwright's ``launch``: this browser, whose camera sees the frames of a file in MJPEG."""
    arguments = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}"]
    return {"executable_path": find(), "args": arguments}


def desk_scene(card: bytes) -> bytes:
    """A frame in MJPEG: a person, and beside her a card, whose picture is given."""
    scene = Image.new("RGB", SIZE, (168, 172, 178))
    scene.paste(Image.fromarray(astronaut()[0:200, 120:320]).resize((470, 470)), (20, 0))
    with Image.open(io.BytesIO(card)) as picture:
        scene.paste(picture.convert("RGB").resize((760, 480)), (500, 470))
    frame = io.BytesIO()
    scene.save(frame, "JPEG", quality=95)
    return frame.getvalue()
