"""``make release`` refuses what does not fit together. On a repository of its own."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "release.py"
ENTRY = "## 1.2.0 - 2026-11-29\n\n### Added\n\n- Something.\n"


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def repository(root: Path, changelog: str) -> Path:
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.0"\n')
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n" + changelog)
    (root / "model_store" / "m" / "1").mkdir(parents=True)
    lines = []
    for name in ("manifest.json", "model.safetensors"):
        (root / "model_store" / "m" / "1" / name).write_text(name)
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  m/1/{name}\n")
    (root / "model_store" / "FOREVER").write_text("".join(lines))
    git(root, "init", "--quiet")
    git(root, "config", "user.name", "t")
    git(root, "config", "user.email", "t@example.org")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "x")
    return root


def release(root: Path, tag: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), tag, "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_release_that_fits_is_tagged_once(tmp_path: Path) -> None:
    root = repository(tmp_path, ENTRY)
    assert release(root, "v1.2.0").returncode == 0
    assert git(root, "tag") == "v1.2.0\n"
    again = release(root, "v1.2.0")
    assert again.returncode == 1
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    ("tag", "changelog", "says"),
    [
        ("v1.3.0", ENTRY, "the tag must be v1.2.0"),
        ("1.2.0", ENTRY, "the tag must be v1.2.0"),
        ("v1.2.0", "## 1.1.0 - 2026-11-01\n\n- Older.\n", "no entry for 1.2.0"),
        ("v1.2.0", "## 1.2.0 - unreleased\n\n- Something.\n", "has no date"),
        ("v1.2.0", "## 1.2.0 - 2026-11-29\n\n## 1.1.0 - 2026-11-01\n\n- Older.\n", "is empty"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, tag: str, changelog: str, says: str) -> None:
    root = repository(tmp_path, changelog)
    done = release(root, tag)
    assert done.returncode == 1
    assert says in done.stderr
    assert git(root, "tag") == ""


def test_changes_that_are_not_committed_are_refused(tmp_path: Path) -> None:
    root = repository(tmp_path, ENTRY)
    (root / "new").write_text("x")
    done = release(root, "v1.2.0")
    assert done.returncode == 1
    assert "not committed" in done.stderr


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "y")


def test_a_version_that_left_or_changed_is_refused(tmp_path: Path) -> None:
    root = repository(tmp_path, ENTRY)
    (root / "model_store/m/1/model.safetensors").write_text("other")
    commit(root)
    assert "m/1/model.safetensors has changed" in release(root, "v1.2.0").stderr
    (root / "model_store/m/1/model.safetensors").unlink()
    commit(root)
    done = release(root, "v1.2.0")
    assert done.returncode == 1
    assert "m/1/model.safetensors has left" in done.stderr


def test_what_a_release_promised_stays_on_the_list(tmp_path: Path) -> None:
    root = repository(tmp_path, ENTRY)
    assert release(root, "v1.2.0").returncode == 0
    for path in [*(root / "model_store/m/1").iterdir()]:
        path.unlink()
    (root / "model_store/FOREVER").write_text("")
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.3.0"\n')
    (root / "CHANGELOG.md").write_text("# Changelog\n\n" + ENTRY.replace("1.2.0", "1.3.0"))
    commit(root)
    done = release(root, "v1.3.0")
    assert done.returncode == 1
    assert done.stderr.count("in v1.2.0, and has it no more") == 2
