from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cameo
from cameo.cli.__main__ import main

Run = Callable[..., Result]
# Of a job over a folder.
SETTINGS: dict[str, Any] = {
    "model": None, "version": None, "max_bytes": None, "effort": "fast", "frame": "asis", "likeness": None,
}  # fmt: skip


@pytest.fixture
def here(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[cameo.Cameo]:
    """The library, in an empty folder, on small models."""
    monkeypatch.chdir(tmp_path)
    with cameo.open(tiny_store, device="cpu") as opened:
        yield opened


@pytest.fixture
def run(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in an empty folder, on small models."""
    monkeypatch.chdir(tmp_path)
    for name in ("CAMEO_URL", "CAMEO_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def invoke(command: str, *arguments: str | Path, data: bytes = b"") -> Result:
        works = command not in {"completion", "key", "serve"}
        options = ["--store", str(tiny_store), "--device", "cpu"] if works else []
        result = CliRunner().invoke(main, [command, *map(str, arguments), *options], input=data, prog_name="cameo")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke
