import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cameo.store import Draft, StoredVersion, publish

Fields = dict[str, Any]


def _fields(name: str, version: int) -> Fields:
    return {
        "name": name,
        "version": version,
        "created": datetime(2026, 1, version, 12, tzinfo=UTC),
        "description": "A model for tests.",
        "model": {"kind": "vqvae", "width": 64},
        "portrait": 64,
        "tokens": {"shape": [8, 8], "codebook_size": 1024, "bits": 640},
        "rates": [84],
        "training": {
            "recipe": {"lr": 3e-4, "ema": None},
            "commit": "0123abcd",
            "seed": 7,
            "data": [{"name": "faces", "pictures": 1000, "people": None, "sha256": "ab" * 32, "licence": "CC0-1.0"}],
            "steps": 100,
            "images_seen": 6400,
            "seconds": 12.5,
            "machine": "2 CPU cores",
            "torch": "2.13.0",
            "started": datetime(2026, 1, 1, 10, tzinfo=UTC),
            "finished": datetime(2026, 1, 1, 11, tzinfo=UTC),
        },
        "quality": {"faces": {"psnr_db": 24.5, "pictures": 100}},
        "licence": "Apache-2.0",
    }


def draft(name: str = "vqvae-64", version: int = 1, **changes: Any) -> Draft:
    return Draft(**(_fields(name, version) | changes))


@pytest.fixture
def make_draft() -> Callable[..., Draft]:
    return draft


@pytest.fixture
def put(tmp_path: Path, make_draft: Callable[..., Draft]) -> Callable[..., StoredVersion]:
    """Publish a version into ``tmp_path``."""

    def put(name: str = "vqvae-64", version: int = 1, **changes: Any) -> StoredVersion:
        return publish(
            tmp_path,
            make_draft(name, version, **changes),
            weights=f"weights of {name}/{version}".encode(),
            dtype="float32",
            card="# A card\n",
            check=lambda stored: None,
        )

    return put


@pytest.fixture
def edit() -> Callable[..., None]:
    """Change top-level keys of a stored manifest."""

    def edit(folder: Path, **changes: Any) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit
