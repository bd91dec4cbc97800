"""requirements/*.txt: what `make run`, `make test` and the image install, by version and hash."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {path.stem: path.read_text() for path in (ROOT / "requirements").glob("*.txt")}
EXTRAS = {
    "serve": ["serve"],
    "training": ["training"],
    "ray": ["serve", "ray"],
    "dev": ["dev"],
    "bench": ["dev", "bench"],
}
BUILD = PROJECT["build-system"]["requires"]


def locked(name: str) -> dict[str, list[Requirement]]:
    """The lines of a lock file without their hashes, by package."""
    found: dict[str, list[Requirement]] = {}
    for line in re.findall(r"^\w.*", LOCKS[name], re.MULTILINE):
        requirement = Requirement(line.removesuffix("\\"))
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def pins(extras: list[str]) -> list[Requirement]:
    """What pyproject.toml asks for, with the extras that extras name."""
    optional = PROJECT["project"]["optional-dependencies"]
    wanted = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    for extra in extras:
        for each in map(Requirement, optional[extra]):
            wanted += pins(sorted(each.extras)) if each.name == PROJECT["project"]["name"] else [each]
    return wanted


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_each_line_has_one_version_and_hashes(name: str) -> None:
    entries = re.findall(r"^\w(?:.*\\\n)*.*", LOCKS[name], re.MULTILINE)
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==[^\s;]+( ;[^\\]*)? \\\n +--hash=sha256:[0-9a-f]{64}\b", entry), entry


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_has_what_the_project_asks_for(name: str) -> None:
    versions = {each: {str(line.specifier) for line in lines} for each, lines in locked(name).items()}
    for pin in pins(EXTRAS[name]):
        if pin.name != "torch":
            assert versions[canonicalize_name(pin.name)] == {str(pin.specifier)}, f"run `make lock`: {pin}"


def test_torch_is_of_the_projects_version() -> None:
    (torch,) = (pin for pin in pins([]) if pin.name == "torch")
    assert [str(each.specifier) for each in locked("torch")["torch"]] == [str(torch.specifier)]
    assert [str(each.specifier) for each in locked("torch-cpu")["torch"]] == [f"{torch.specifier}+cpu"]
    of_cpu, of_all = (set(re.findall("sha256:[0-9a-f]{64}", LOCKS[name])) for name in ("torch-cpu", "torch"))
    assert of_cpu < of_all


def test_what_builds_is_pinned_once() -> None:
    (hatchling,) = (pin for pin in pins(["dev"]) if pin.name == "hatchling")
    assert [str(hatchling)] == BUILD
    assert {str(line.specifier) for line in locked("build")["hatchling"]} == {str(Requirement(BUILD[0]).specifier)}


def test_locks_agree() -> None:
    """So that one environment can be made of several."""
    shared = locked("bench")
    for name in LOCKS.keys() - {"bench", "torch", "torch-cpu", "cuda"}:
        for package, lines in locked(name).items():
            if package in shared:
                assert {str(each.specifier) for each in lines} <= {str(each.specifier) for each in shared[package]}


@pytest.mark.parametrize("name", [*EXTRAS, "build"])
def test_a_lock_is_complete(name: str) -> None:
    """It is installed with --no-deps: whatever its packages ask for must be in it, in a version that they take."""
    here = {
        package: Version(next(iter(line.specifier)).version)
        for package, lines in locked(name).items()
        for line in lines
        if not line.marker or line.marker.evaluate()
    }
    torch = next(iter(locked("torch")["torch"][0].specifier)).version
    for package in [*here, *(["torch"] if name != "build" else [])]:
        try:
            asked = [Requirement(line) for line in requires(package) or []]
        except PackageNotFoundError:  # of the extra bench, which tests do without
            continue
        for each in asked:
            if each.marker and not each.marker.evaluate({"extra": ""}):
                continue
            found = canonicalize_name(each.name)
            if found == "torch" or re.match("nvidia-|cuda-|triton", found):  # see deploy/install_torch.py
                assert found != "torch" or each.specifier.contains(torch)
                continue
            assert found in here, f"{package} needs {each}: run `make lock`"
            assert each.specifier.contains(here[found], prereleases=True), f"{package} needs {each}"


@pytest.mark.parametrize("name", [*EXTRAS, "build"])
def test_a_lock_has_nothing_of_cuda(name: str) -> None:
    assert not locked(name).keys() & {*locked("cuda"), "torch"}
