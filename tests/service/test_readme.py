"""The README's commands and its Python, typed as they stand, against the shipped models."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cameo.cards import make_keys
from cameo.pictures.decode import decode
from tests.faces import astronaut
from tests.service.server import ROOT, serve

CARDS = (ROOT / "docs" / "cards.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = re.search(r"^## Tour$(.*?)^## ", README, re.MULTILINE | re.DOTALL)
PYTHON = re.search(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_library_does_what_the_readme_says(tmp_path: Path) -> None:
    assert PYTHON is not None
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        Image.fromarray(astronaut()).save(tmp_path / name, quality=95)
    script = PYTHON[1] + "\nprint(len(small))\n"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) in (47, 48)
    assert decode((tmp_path / "face.png").read_bytes(), 128 * 128).shape == (128, 128, 3)
    written = [(tmp_path / "photos" / name).read_bytes() for name in ("a.cameo", "b.cameo")]
    assert written[0] == written[1]
    assert len(written[0]) in (95, 96)


def shell(commands: list[str], port: int, folder: Path) -> str:
    """What they print, typed as they stand, but for the port."""
    script = 'set -e\ncurl() { command curl --fail-with-body --silent --show-error "$@"; echo; }\n'
    script += "".join(commands).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour is in curl")
def test_the_tour_does_what_it_says(tmp_path: Path) -> None:
    assert TOUR is not None
    commands = re.findall(r"^```sh\n(.*?)^```", TOUR[1], re.MULTILINE | re.DOTALL)
    assert commands
    Image.fromarray(astronaut()).save(tmp_path / "photo.jpg", quality=95)
    key, _ = make_keys("https://office.example", tmp_path / "keys")
    with serve(tmp_path / "log", store=ROOT / "model_store", card_key=key) as server:
        said = shell(commands, server.port, tmp_path)
        of_cards = shell(
            re.findall(r"^```sh\n(# The card.*?)^```", CARDS, re.MULTILINE | re.DOTALL), server.port, tmp_path
        )
    assert '"payload":' in said
    assert '"ready":true' in said
    assert "cameo_requests_total" in said
    assert (tmp_path / "card.pdf").read_bytes().startswith(b"%PDF")
    assert '"state":"valid"' in of_cards
    assert '"decision":"match"' in of_cards
    assert [len((tmp_path / name).read_bytes()) for name in ("face.cameo", "small.cameo")] in (
        [96, 48],
        [95, 48],
        [96, 47],
    )
    assert decode((tmp_path / "face.png").read_bytes(), 128 * 128).shape == (128, 128, 3)
    sheet = decode((tmp_path / "sheet.png").read_bytes(), 10_000_000)
    assert sheet.shape[0] > 800
    assert sheet.std() > 10
