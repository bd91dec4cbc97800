"""Set before torch is imported: the pictures are small, and tests share their machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny import calibrate, publish_tiny

settings.register_profile("cameo", deadline=None)  # no test asserts a time
settings.load_profile("cameo")


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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write tests/golden for new versions")
