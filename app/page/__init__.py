"""The web page: its files, as browsers get them. Modules and styles as they are written; there is no build step."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent
INDEX: Final = "index.html"
_KINDS: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    body: bytes
    media_type: str
    etag: str  # of the body, quoted, as the header has it


def load(root_path: str) -> dict[str, File]:
    """All files by name. The page itself names the others with ``root_path`` in front, where a proxy shows them."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in _KINDS:
            body = path.read_bytes()
            if path.name == INDEX:
                body = body.replace(b"{root}", root_path.encode())
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            found[path.name] = File(body, _KINDS[path.suffix], etag)
    return found
