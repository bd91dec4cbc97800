"""Files that file managers leave in folders and archives, beside the pictures that somebody put there."""

import re

_JUNK = re.compile(
    r"(.*[/\\])?(__MACOSX[/\\].*|\._[^/\\]*|\.DS_Store|Thumbs\.db|desktop\.ini)", re.IGNORECASE | re.DOTALL
)


def is_junk(path: str) -> bool:
    """Whether a path of a folder or an archive, with either slash, is such a file."""
    return _JUNK.fullmatch(path) is not None
