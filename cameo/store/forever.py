"""Versions that stay for ever: the file FOREVER in a store, lines as of ``sha256sum``, and what is wrong with it.

    cd model_store && sha256sum --check FOREVER

Lines are added when a version is published and never go. Only the standard library, so that a release is checked before
anything is installed.
"""

import hashlib
from pathlib import Path

FILE = "FOREVER"
KEPT = ("manifest.json", "model.safetensors")  # of each version; its card and thresholds may be corrected


def problems(store: Path) -> list[str]:
    """A sentence for each file that is gone or changed, and for each version that is not listed; empty if none."""
    listed = _read(store)
    found = []
    for place, sha256 in listed.items():
        path = store / place
        if not path.is_file():
            found.append(f"{place} has left {store}: put it back, or payloads of it cannot be read any more.")
        elif (now := _sha256(path)) != sha256:
            found.append(f"{place} has changed: its SHA-256 is {now}, and {FILE} says {sha256}. Put the old file back.")
    found += [
        f"{place} is not listed in {store / FILE}: add the line '{_sha256(store / place)}  {place}'."
        for place in sorted(_present(store) - set(listed))
    ]
    return found


def add(store: Path, name: str, version: int) -> None:
    """Put a version on the list of a store that has one."""
    if (store / FILE).is_file():
        with (store / FILE).open("a", encoding="ascii") as file:
            for kept in KEPT:
                place = f"{name}/{version}/{kept}"
                file.write(f"{_sha256(store / place)}  {place}\n")


def lists(store: Path, name: str, version: int) -> bool:
    """Whether the store has a list, and this version is on it."""
    return (store / FILE).is_file() and f"{name}/{version}" in versions(store)


def removed(before: str, after: str) -> list[str]:
    """Lines of an older list that are not in a newer one: there must be none."""
    return [line for line in before.splitlines() if line not in after.splitlines()]


def versions(store: Path) -> list[str]:
    """NAME/VERSION of each version on the list, as they were published."""
    return list(dict.fromkeys(place.rpartition("/")[0] for place in _read(store)))


def _read(store: Path) -> dict[str, str]:
    """SHA-256 by path. OSError without the list, ValueError for a line of another form."""
    listed = {}
    for line in (store / FILE).read_text(encoding="ascii").splitlines():
        sha256, gap, place = line.partition("  ")
        if len(sha256) != 64 or not gap or place.rpartition("/")[2] not in KEPT or place in listed:
            raise ValueError(
                f"{store / FILE} has a line that is not of the form 'SHA-256  NAME/VERSION/FILE', or twice: {line!r}"
            )
        listed[place] = sha256
    return listed


def _present(store: Path) -> set[str]:
    return {path.relative_to(store).as_posix() for kept in KEPT for path in store.glob(f"[!.]*/[0-9]*/{kept}")}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
