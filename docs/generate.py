"""The pages made from code: ``settings.md`` and ``openapi.json``. ``python -m docs.generate``; a test compares them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from app.config import Settings
from app.main import create_app

DOCS = Path(__file__).parent
HEAD = """\
# Settings

The service reads these environment variables once, at its start. All are optional. A wrong value stops the start with
the name of the variable. [Deployment](deployment.md) explains when to change them.

This page is made from `app/config.py` by `python -m docs.generate`: change the text there.

| variable | default | allowed | meaning |
|---|---|---|---|
"""


def settings_page() -> str:
    fields = Settings.model_json_schema()["properties"]
    rows = (
        f"| `CAMEO_{name.upper()}` | {_default(field)} | {_allowed(field)} | {_cell(field['description'])} |\n"
        for name, field in fields.items()
    )
    return HEAD + "".join(rows)


def openapi() -> str:
    """The API's description as a service without settings gives it, with the version of pyproject.toml."""
    document: dict[str, Any] = create_app(Settings.model_construct()).openapi()
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    document["info"]["version"] = project["version"]
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _default(field: dict[str, Any]) -> str:
    value = field["default"]
    return "none" if value in (None, []) else f"`{json.dumps(value).strip(chr(34))}`"


def _allowed(field: dict[str, Any]) -> str:
    """What JSON Schema says of a setting, in words."""
    field = next((kind for kind in field.get("anyOf", ()) if kind["type"] != "null"), {}) | field
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    if choices := re.fullmatch(r"\^\(([a-z|]+)\)\$", field.get("pattern", "")):
        return ", ".join(f"`{choice}`" for choice in choices[1].split("|"))
    if field["type"] in ("integer", "number"):
        low = f"{field['minimum']:,} or more" if "minimum" in field else f"more than {field['exclusiveMinimum']:,}"
        return f"{low}, at most {field['maximum']:,}" if "maximum" in field else low
    if field["type"] == "boolean":
        return "`true`, `false`"
    return "a path" if field.get("format") == "path" else "text"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
    (DOCS / "openapi.json").write_text(openapi(), encoding="utf-8")


if __name__ == "__main__":
    main()
