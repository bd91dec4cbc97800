"""An issuer, the keys that are trusted, and a card. No model: a payload of random bytes is as good to a QR code."""

import random
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from PIL import Image

from cameo.cards import Card, Claims, Issuers, SigningKey, load_issuers, make_card, make_keys
from tests.faces import astronaut

NOW = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
PAYLOAD = random.Random(0).randbytes(96)  # noqa: S311
CLAIMS = Claims(full_name="Eileen Collins", date_of_birth="1956-11-19", gender="female", nationality="US")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("issuers")
    make_keys("https://office.example", folder)
    return folder


@pytest.fixture(scope="session")
def key(folder: Path) -> SigningKey:
    return SigningKey.load(folder / "office.example.key.pem")


@pytest.fixture(scope="session")
def issuers(folder: Path) -> Issuers:
    return load_issuers(folder)


@pytest.fixture(scope="session")
def face() -> Image.Image:
    return Image.fromarray(astronaut()[40:168, 160:288])


@pytest.fixture(scope="session")
def card(face: Image.Image, key: SigningKey) -> Card:
    return make_card(face, PAYLOAD, CLAIMS, key, expires=date(2030, 12, 31), now=NOW)
