import pytest

from cameo.pictures.junk import is_junk

JUNK = ["__MACOSX/._a.jpg", "a/__MACOSX/b.jpg", "._a.jpg", "a/._b.jpg", "a\\._b.jpg", ".DS_Store", "a/.DS_Store",
        "Thumbs.db", "a/thumbs.db", "desktop.ini", "a\\Desktop.ini"]  # fmt: skip
PICTURES = [
    "a.jpg",
    ".a.jpg",
    "a._b.jpg",
    "MACOSX/a.jpg",
    "__MACOSX",
    "a/Thumbs.db.jpg",
    "my desktop.ini.png",
    "._/a.jpg",
]


@pytest.mark.parametrize("path", JUNK)
def test_what_file_managers_leave(path: str) -> None:
    assert is_junk(path)


@pytest.mark.parametrize("path", PICTURES)
def test_what_people_put_there(path: str) -> None:
    assert not is_junk(path)
