"""Imports point one way: ``app -> cameo`` and ``training -> cameo``; within ``app``, ``api -> engine -> cameo``."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = {"fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic_settings"}
LIBRARY = {"app", "training", "tests", "bench"} | WEB  # what no part of it imports

FORBIDDEN = {
    "cameo": LIBRARY,
    "cameo/cards": LIBRARY | {"torch", "cv2", "cameo.nn", "cameo.store", "cameo.coder", "cameo.faces"},
    "cameo/codec": LIBRARY | {"torch", "cv2", "cameo.nn", "cameo.store", "cameo.coder", "cameo.faces"},
    "cameo/store": LIBRARY | {"torch", "cv2", "cameo.nn", "cameo.codec", "cameo.coder", "cameo.faces"},
    "cameo/nn": LIBRARY | {"cameo.store", "cameo.coder"},
    "app": {"training", "tests", "bench"},
    "app/page": {"app", "cameo", "training", "tests", "bench"} | WEB,  # only files
    "app/engine": {"app.api", "app.serve", "app.main", "fastapi", "starlette", "uvicorn"},
    "training": {"app", "tests", "bench"} | WEB,
}


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, also inside functions; of ``from x import y`` both x and x.y."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def within(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"{folder} has no modules: the rule would hold for nothing"
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_nothing_imports_upwards(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(folder)
        for name in imports(path)
        if within(name, FORBIDDEN[folder])
    ]
    assert wrong == []


def test_resources_do_not_import_each_other() -> None:
    """What two of them need has a module of its own, such as ``app.api.parameters``."""
    resources = {path for path in files("app/api") if "\nrouter = APIRouter(" in path.read_text(encoding="utf-8")}
    names = {f"app.api.{path.stem}" for path in resources}
    assert len(names) > 5
    wrong = [f"{path.name} imports {name}" for path in resources for name in imports(path) if within(name, names)]
    assert wrong == []


def test_the_rules_see_what_they_forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    folder = tmp_path / "app" / "engine"
    folder.mkdir(parents=True)
    (folder / "x.py").write_text("def f():\n    from ..api import problems\n    import fastapi.routing as r\n")
    assert {"app.api", "app.api.problems", "fastapi.routing"} <= set(imports(folder / "x.py"))
    with pytest.raises(AssertionError):
        test_nothing_imports_upwards("app/engine")


def test_the_service_itself_imports_nothing() -> None:
    assert (ROOT / "app/__init__.py").read_bytes() == b""


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("cameo.nn", ["fastapi", "starlette", "prometheus_client", "uvicorn", "pydantic_settings"]),
        ("cameo", ["torch", "cv2", "onnxruntime", "PIL", "httpx", "click", "fastapi", "pydantic_settings"]),
        ("cameo.local", ["cwt", "segno", "typst", "zxingcpp"]),
        ("cameo.cards.card", ["torch", "cv2", "onnxruntime", "fastapi"]),
        ("cameo.cards.read", ["torch", "cv2", "onnxruntime", "fastapi"]),
        ("cameo.client", ["torch", "cv2", "onnxruntime", "fastapi", "pydantic_settings"]),
        ("cameo.cli.__main__", ["torch", "cv2", "onnxruntime", "PIL", "httpx", "filelock", "pyarrow", "fastapi"]),
        ("cameo.faces.template", ["torch", "cv2", "PIL", "fastapi"]),
        ("cameo.faces.recogniser", ["cv2", "PIL", "fastapi"]),
        ("cameo.codec", ["torch", "fastapi", "starlette", "prometheus_client", "cv2", "PIL"]),
        ("cameo.store", ["torch", "fastapi", "starlette", "prometheus_client", "cv2", "PIL"]),
    ],
)
def test_importing_a_part_loads_no_more_than_it_needs(module: str, unwanted: list[str]) -> None:
    code = f"import sys, {module}; print(*(name for name in {unwanted} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
