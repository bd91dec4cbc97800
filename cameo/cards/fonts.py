"""The fonts of a card, Noto Sans for some thirty scripts, and what they cannot draw."""

import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import typst
import uharfbuzz

from cameo.cards.claims import JOINERS
from cameo.errors import CannotDraw

PACKAGES: Final = ("manimgx_fonts", "manimgx_fonts_cjk")
_LATIN: Final = "Noto Sans"
# One character has other shapes in other languages; without a language the script of the text tells.
_BY_LANGUAGE: Final = {"jpn": "JP", "ja": "JP", "kor": "KR", "ko": "KR", "zho": "SC", "zh": "SC"}
_KANA, _HANGUL = ("HIRAGANA", "KATAKANA"), "HANGUL"


@cache
def fonts() -> typst.Fonts:
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=_folders())


def families(text: str, language: str | None) -> list[str]:
    """Names of families, in the order in which they are asked for a character of ``text``."""
    east_asian = f"Noto Sans CJK {_east_asian(text, language)}"
    others = (name for name in fonts().families() if "CJK" not in name and "Emoji" not in name and name != _LATIN)
    return [_LATIN, *others, east_asian]


def require_glyphs(name: str, text: str) -> None:
    """CannotDraw where ``text``, the value of ``name``, has characters that no font has."""
    missing = sorted({c for c in text if ord(c) not in _drawable() and c not in JOINERS and not c.isspace()})
    if missing:
        shown = ", ".join(f"{c} (U+{ord(c):04X})" for c in missing[:5])
        raise CannotDraw(
            f"{name} has characters that no font here can draw: {shown}; nothing was printed. Write it in another "
            "script, and the original in an attribute that is only in the code",
            parameter=name, characters=[f"U+{ord(c):04X}" for c in missing],
        )  # fmt: skip


def is_right_to_left(text: str) -> bool:
    """By its first letter that has a direction, as in the Unicode Bidirectional Algorithm, rules P2 and P3."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in {"L", "R", "AL"}:
            return direction != "L"
    return False


def _east_asian(text: str, language: str | None) -> str:
    if known := _BY_LANGUAGE.get((language or "").lower()):
        return known
    names = [unicodedata.name(character, "") for character in text]
    if any(name.startswith(_KANA) for name in names):
        return "JP"
    return "KR" if any(name.startswith(_HANGUL) for name in names) else "SC"


@cache
def _drawable() -> frozenset[int]:
    files = (file for folder in _folders() for file in folder.glob("*.tt[fc]") if "Emoji" not in file.name)
    return frozenset().union(*(uharfbuzz.Face(uharfbuzz.Blob.from_file_path(str(file))).unicodes for file in files))


def _folders() -> list[Path]:
    """Located, not imported: only their files are wanted."""
    found = (find_spec(package) for package in PACKAGES)
    return [Path(folder) for spec in found if spec for folder in spec.submodule_search_locations or ()]
