"""Set before torch is imported: the pictures are small, and tests share their machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import browser
from tests.s3 import S3, s3_server
from tests.tiny import calibrate, publish_tiny

settings.register_profile("cameo", deadline=None)  # no test asserts a time
settings.load_profile("cameo")

# Who starts tests in the background has these ignored, and so would the processes that tests start, and send them to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed: ``tiny-vae`` in two versions, the first of them its default, and two others in one each.

    Payloads of the first are verified, with thresholds of no meaning.
    """
    root = tmp_path_factory.mktemp("stores") / "tiny"
    calibrate(publish_tiny(root, "tiny-vae", seed=1), {16: (-0.9, 0.5, 0.9)})
    publish_tiny(root, "tiny-vae", seed=2)
    publish_tiny(root, "tiny-vqvae")
    publish_tiny(root, "tiny-progressive")
    (root / "store.json").write_text('{"default_model": "tiny-vae", "default_versions": {"tiny-vae": 1}}')
    return root


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_process: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3:
    """An S3 server, as this process's environment names it; the cache is this test's own."""
    for name, value in s3_process.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CAMEO_CACHE", raising=False)
    return s3_process


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write tests/golden for new versions")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if browser.find() is None:
        terminalreporter.write_line(f"tests/page in a browser: left out. {browser.MISSING}", yellow=True)
