from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cameo.cli.__main__ import main

Run = Callable[..., Result]


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
