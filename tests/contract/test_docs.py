"""The docs agree with the code: generated pages, records of decisions, a site without broken links."""

import importlib.util
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import cameo
from docs import generate, use

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
STALE = "run: python -m docs.generate"


def test_the_page_of_settings_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == generate.settings_page(), STALE


def test_the_openapi_document_is_that_of_the_code() -> None:
    stored = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    assert stored == json.loads(generate.openapi()), STALE


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_its_form(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    number = int(record.stem[:4])
    assert text.startswith(f"# {number}. ")
    assert len(text.splitlines()) <= 60
    assert re.search(r"^Date: \d{4}-\d\d-\d\d  $", text, re.MULTILINE)
    status = re.search(r"^Status: (.+)$", text, re.MULTILINE)
    assert status
    assert re.fullmatch(r"accepted|superseded by \[\d+\]\(\d{4}-[a-z0-9-]+\.md\)", status[1])
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_the_index_has_every_record() -> None:
    index = (ROOT / "docs" / "decisions" / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", index) == [record.name for record in RECORDS]
    assert [int(record.stem[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_links_outside_of_the_site_are_there() -> None:
    """MkDocs checks those within docs/; these are of the pages that a repository's visitor reads first."""
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    for page in (*pages, ROOT / "model_store" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_picture_of_the_readme_shows_what_it_says() -> None:
    with cameo.open() as c:
        shown = use.facts(c, effort="fast")
    assert {name: check["decision"] for name, check in shown["checks"].items()} == {
        "same": "match", "other": "no-match", "changed": "card-not-valid",
    }  # fmt: skip
    assert shown["checks"]["changed"]["state"] == "broken"
    assert (90 <= shown["bytes"] <= 96, shown["characters"] < 420) == (True, True)
    with Image.open(ROOT / "docs" / "use.png") as stored, Image.open(io.BytesIO(use.draw(shown))) as drawn:
        assert stored.size == drawn.size


@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="needs the extra docs")
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"?([^\s\">]+)", html)
        loaded += re.findall(r"<link[^>]*\brel=\"?stylesheet[^>]*\bhref=\"?([^\s\">]+)", html)
        assert not [url for url in loaded if "//" in url], page
