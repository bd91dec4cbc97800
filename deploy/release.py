#!/usr/bin/env python3
"""Check a release, then tag it: ``make release TAG=v1.2.0``. Only the standard library, so it runs before any install.

Refused: a tag that is not ``v`` and the version of pyproject.toml, a changelog without a dated entry for that version,
an entry that says nothing, a work tree with changes, a tag that exists; a model store that is not what its list FOREVER
says, and a list without a line that a release since 1.0.0 had.
"""

import argparse
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOREVER = runpy.run_path(str(ROOT / "cameo" / "store" / "forever.py"))  # the package itself needs an installation


def problems(tag: str, root: Path) -> list[str]:
    """What is wrong with the files of ``root`` for this tag, a sentence each; empty if nothing is."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    found = []
    if tag != f"v{version}":
        found.append(f"The tag is {tag}, and pyproject.toml has version {version}: the tag must be v{version}.")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    entry = re.search(
        rf"^## \[?{re.escape(version)}\]? - ([^\n]+)$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    if entry is None:
        found.append(f"CHANGELOG.md has no entry for {version}: add a heading '## {version} - YYYY-MM-DD'.")
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", entry[1]):
        found.append(f"CHANGELOG.md's entry for {version} has no date, but '{entry[1]}': write YYYY-MM-DD there.")
    elif not re.search(r"^- ", entry[2], re.MULTILINE):
        found.append(f"CHANGELOG.md's entry for {version} is empty: say what changes, one line with a dash for each.")
    return [*found, *FOREVER["problems"](root / "model_store")]


def withdrawn(root: Path) -> list[str]:
    """Versions that a release since 1.0.0 promised to keep, and that are not on the list any more."""
    place = f"model_store/{FOREVER['FILE']}"
    now = (root / place).read_text(encoding="ascii")
    return [
        f"{place} had the line '{line}' in {tag}, and has it no more: versions stay for ever."
        for tag in git(root, "tag", "--list", "v[1-9]*").split()
        for line in FOREVER["removed"](git(root, "show", f"{tag}:{place}"), now)
    ]


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", help="v and the version: v1.2.0")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository; default: this one")
    options = parser.parse_args()
    found = problems(options.tag, options.root) + withdrawn(options.root)
    if git(options.root, "status", "--porcelain"):
        found.append("The work tree has changes that are not committed: commit them, or put them aside.")
    if git(options.root, "tag", "--list", options.tag):
        found.append(f"The tag {options.tag} exists already: a release is never changed, raise the version instead.")
    if found:
        print("release refused:", *found, sep="\n  ", file=sys.stderr)
        return 1
    git(options.root, "tag", "--annotate", options.tag, "--message", f"Cameo {options.tag.removeprefix('v')}")
    print(f"Tagged. Publish it with: git push origin {options.tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
