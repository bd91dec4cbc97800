"""``c.card`` and ``c.read_card``: from a photo, or a payload, to a card and back."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cameo
from cameo.cards import SigningKey
from cameo.errors import (
    CardWithoutFace,
    ForeignPayload,
    InvalidKey,
    InvalidParameter,
    NoCard,
    SeveralCards,
    TooManyFaces,
)
from tests.faces import astronaut

CLAIMS = {"full_name": "Eileen Collins", "date_of_birth": "1956-11-19", "gender": "female", "nationality": "US"}


@pytest.fixture(scope="module")
def tiny(tiny_store: Path) -> Iterator[cameo.Cameo]:
    with cameo.open(tiny_store, device="cpu", effort="fast") as opened:
        yield opened


def test_a_photo_becomes_a_card_and_is_read(tiny: cameo.Cameo, folder: Path, tmp_path: Path) -> None:
    card = tiny.card(astronaut(), CLAIMS, folder / "office.example.key.pem", expires=date(2090, 12, 31))
    assert card.payload == tiny.compress(astronaut()).payload
    card.save(tmp_path / "card.png")
    for given in (tmp_path / "card.png", str(tmp_path / "card.png"), card.text):
        read = tiny.read_card(given, issuers=folder)
        assert read.is_valid
        assert (read.claims, read.payload) == (cameo.Claims.of(CLAIMS), card.payload)
        assert read.text == card.text
    assert tiny.reconstruct(card.payload).tobytes() == card.face.tobytes()
    assert tiny.read_card(card.text).state == "unknown-issuer", "nobody is trusted without a folder"


def test_a_payload_becomes_a_card(tiny: cameo.Cameo, key: SigningKey) -> None:
    payload = tiny.compress(astronaut(), model="tiny-vqvae").payload
    for given in (payload, bytearray(payload)):
        card = tiny.card(given, {}, key)
        assert (card.payload, card.issuer) == (payload, key.issuer)


def test_budgets_are_the_models(tiny: cameo.Cameo, key: SigningKey) -> None:
    card = tiny.card(astronaut(), CLAIMS, key, model="tiny-progressive", max_bytes=48)
    assert 42 <= len(card.payload) <= 48


def test_a_photo_is_verified_against_a_card(tiny: cameo.Cameo, folder: Path, tmp_path: Path) -> None:
    card = tiny.card(astronaut(), CLAIMS, folder / "office.example.key.pem")
    card.save(tmp_path / "card.png")
    alone = tiny.verify(astronaut(), card.payload, fmr=0.01)
    assert (alone.match, alone.decision, alone.card) == (True, "match", None)
    for given in (card.text, tmp_path / "card.png", (tmp_path / "card.png").read_bytes()):
        done = tiny.verify(astronaut(), given, issuers=folder, fmr=0.01)
        assert (done.match, done.decision, done.score) == (True, "match", alone.score)
        assert done.card == tiny.read_card(card.text, issuers=folder)
        stranger = tiny.verify(astronaut(), given, fmr=0.01)
        assert stranger.card
        assert (stranger.match, stranger.decision, stranger.card.state) == (False, "card-not-valid", "unknown-issuer")
        assert stranger.score == alone.score
    assert tiny.verify(astronaut(), tiny.read_card(card.text, issuers=folder), fmr=0.01).match
    two = np.hstack([astronaut()[:256, 96:352]] * 2)
    with pytest.raises(TooManyFaces):
        tiny.verify(two, card.text, issuers=folder, face="only")
    with pytest.raises(CardWithoutFace):
        tiny.verify(astronaut(), replace(tiny.read_card(card.text), payload=None))


def test_two_cards_in_one_picture_are_told(tiny: cameo.Cameo, key: SigningKey, folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file, name in zip(files, ("Ada", "Eva"), strict=True):
        tiny.card(astronaut(), {"full_name": name}, key).save(file)
    both = np.vstack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    with pytest.raises(SeveralCards, match="has 2 cards"):
        tiny.read_card(both, issuers=folder)
    assert {card.claims.name for card in tiny.read_cards(both, issuers=folder)} == {"Ada", "Eva"}


def test_what_is_wrong_is_said(tiny: cameo.Cameo, key: SigningKey, folder: Path) -> None:
    with pytest.raises(InvalidParameter, match="height"):
        tiny.card(astronaut(), {"height": "1.62"}, key)
    with pytest.raises(ForeignPayload):
        tiny.card(b"no photo and no payload", CLAIMS, key)
    with pytest.raises(InvalidKey):
        tiny.card(astronaut(), CLAIMS, folder / "nothing.pem")
    with pytest.raises(NoCard):
        tiny.read_card(astronaut(), issuers=folder)
    with pytest.raises(InvalidKey, match="is not a folder"):
        tiny.read_card(astronaut(), issuers=folder / "nothing")
    with pytest.raises(FileNotFoundError):
        tiny.read_card("nothing.png")
