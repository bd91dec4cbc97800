"""Cards over HTTP: made of photos and payloads, read again, and refused."""

import base64
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import claim169
import httpx
import numpy as np
import pytest
from PIL import Image

import cameo
from app.config import Settings
from app.main import create_app
from cameo.cards import SigningKey, load_issuers, make_card, make_keys, read_text
from cameo.cards.claims import Claims
from cameo.errors import CardTooLarge, InvalidParameter, NoCard
from tests.blocking import CLIENTS
from tests.service.pictures import FACE, PHOTO, group, png
from tests.service.server import Server, problem, serve

CLAIMS = {"full_name": "Eileen Collins", "date_of_birth": "1956-11-19", "gender": "female", "nationality": "US"}
KINDS = {"application/pdf": b"%PDF", "image/png": b"\x89PNG", "image/svg+xml": b"<svg", "text/plain": b"NC"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_keys("https://office.example", folder / "own")
    make_keys("https://other.example", folder)
    return folder


@pytest.fixture(scope="module")
def office(folder: Path, tiny_store: Path) -> Iterator[Server]:
    """A service that signs, and trusts one other issuer."""
    key = folder / "own" / "office.example.key.pem"
    log = folder / "log"
    with serve(log, store=tiny_store, workers=1, effort="fast", card_key=key, card_issuers=folder) as server:
        yield server


@pytest.fixture
def desk(office: Server) -> httpx.Client:
    return office.client


def make(desk: httpx.Client, claims: Any = CLAIMS, accept: str = "text/plain", **query: Any) -> httpx.Response:
    form = {"claims": json.dumps(claims)}
    return desk.post("/card", files={"image": PHOTO}, data=form, params=query, headers={"Accept": accept})


def read(desk: httpx.Client, text: str) -> dict[str, Any]:
    answer = desk.post("/card/read", json={"text": text})
    assert answer.status_code == 200, answer.text
    [card] = answer.json()["cards"]
    return dict(card)


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_becomes_a_card(desk: httpx.Client, kind: str) -> None:
    answer = make(desk, accept=kind, expires="2090-12-31")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith(kind)
    assert answer.content.startswith(KINDS[kind]) or kind == "text/plain"
    assert "qr-version=" in answer.headers["Cameo-Card"]
    assert 'name="tiny-vae"' in answer.headers["Cameo-Model"]


def test_a_pdf_is_the_default(desk: httpx.Client) -> None:
    assert make(desk, accept="*/*").content.startswith(b"%PDF")
    assert make(desk, accept="application/octet-stream").content.startswith(b"%PDF")
    problem(make(desk, accept="image/gif"), "not-acceptable", 406)


def test_what_was_signed_is_read_from_the_picture(desk: httpx.Client) -> None:
    picture = make(desk, accept="image/png", expires="2090-12-31", dpi=300).content
    forms: list[dict[str, Any]] = [
        {"content": picture, "headers": {"Content-Type": "image/png"}},
        {"files": {"image": picture}},
    ]
    for form in forms:
        [card] = desk.post("/card/read", **form).json()["cards"]
        assert (card["state"], card["issuer"]) == ("valid", "https://office.example")
        assert card["claims"] == CLAIMS
        assert card["expires"] == "2091-01-01T00:00:00Z"
        face = desk.post("/reconstruct", json={"payload": card["payload"]})
        assert face.status_code == 200
        plain = desk.post("/card/read", content=card["text"], headers={"Content-Type": "text/plain"})
        assert plain.json() == {"cards": [card]}


def test_a_payload_becomes_a_card(desk: httpx.Client) -> None:
    payload = desk.post("/compress", files={"image": PHOTO}).json()["payload"]
    answer = desk.post("/card", json={"payload": payload, "claims": CLAIMS}, headers={"Accept": "text/plain"})
    assert read(desk, answer.text)["payload"] == payload
    alone = desk.post("/card", json={"payload": payload}, headers={"Accept": "text/plain"})
    assert read(desk, alone.text)["claims"] == {}
    damaged = base64.b64decode(payload)[:-1] + b"\0"
    body = {"payload": base64.b64encode(damaged).decode(), "claims": CLAIMS}
    problem(desk.post("/card", json=body), "damaged-payload", 400)


def test_who_signs_is_said_before_anybody_asks(desk: httpx.Client, api: httpx.Client) -> None:
    assert desk.get("/readyz").json()["card_issuer"] == "https://office.example"
    assert api.get("/readyz").json()["card_issuer"] is None


def test_states_of_cards(desk: httpx.Client, folder: Path, tmp_path: Path) -> None:
    other = SigningKey.load(folder / "other.example.key.pem")
    stranger = SigningKey.load(make_keys("https://stranger.example", tmp_path)[0])
    face = Image.new("RGB", (128, 128))
    texts = {issuer.issuer: make_card(face, bytes(20), Claims(), issuer).text for issuer in (other, stranger)}
    assert read(desk, texts[other.issuer])["state"] == "valid"
    unknown = read(desk, texts[stranger.issuer])
    assert unknown["state"] == "unknown-issuer"
    assert "https://office.example, https://other.example" in unknown["detail"]
    early = read(desk, make(desk, not_before="2090-01-01").text)
    assert early["state"] == "not-yet-valid"


def test_an_issuer_that_is_taken_out_is_trusted_no_more(desk: httpx.Client, folder: Path, tmp_path: Path) -> None:
    private, public = make_keys("https://leaving.example", tmp_path)
    text = make_card(Image.new("RGB", (64, 64)), bytes(20), Claims(), SigningKey.load(private)).text
    trusted = folder / public.name
    trusted.write_bytes(public.read_bytes())
    assert read(desk, text)["state"] == "valid"
    trusted.unlink()
    assert read(desk, text)["state"] == "unknown-issuer"


ALIKE = {"fmr": 0.01}  # at which the tiny model's threshold lets everybody match


def verify(desk: httpx.Client, card: str | bytes, photo: bytes = PHOTO, **query: Any) -> httpx.Response:
    fields: dict[str, Any] = {"files": {"image": photo, "card": card}}
    if isinstance(card, str):
        fields = {"files": {"image": photo}, "data": {"card": card}}
    return desk.post("/verify", params=ALIKE | query, **fields)


def test_a_photo_against_a_card(desk: httpx.Client) -> None:
    text = make(desk, expires="2090-12-31").text
    done = verify(desk, text).json()
    assert (done["match"], done["decision"]) == (True, "match")
    assert done["card"] == read(desk, text)
    assert (done["card"]["state"], done["card"]["claims"]) == ("valid", CLAIMS)
    payload = base64.b64decode(done["card"]["payload"])
    alone = desk.post("/verify", files={"image": PHOTO, "payload": payload}, params=ALIKE).json()
    assert done == alone | {"card": done["card"]}
    strict = verify(desk, text, fmr=0.0001).json()
    assert (strict["match"], strict["decision"]) == (False, "no-match")
    picture = make(desk, accept="image/png", expires="2090-12-31").content
    assert verify(desk, picture).json()["decision"] == "match"
    assert verify(desk, text.encode() + b"\n").json()["card"]["state"] == "valid", "a file with the text"


def test_a_card_that_is_not_valid_never_matches(desk: httpx.Client, folder: Path, tmp_path: Path) -> None:
    """The same face, so that only the signature or the time is wrong."""
    payload = base64.b64decode(read(desk, make(desk).text)["payload"])
    office = SigningKey.load(folder / "own" / "office.example.key.pem")
    stranger = SigningKey.load(make_keys("https://stranger.example", tmp_path)[0])

    def signed(key: SigningKey, **times: Any) -> str:
        return make_card(Image.new("RGB", (64, 64)), payload, Claims.of(CLAIMS), key, **times).text

    past = {"now": datetime(2020, 1, 1, tzinfo=UTC), "expires": date(2021, 1, 1)}
    states = {
        "unknown-issuer": signed(stranger),
        "broken": signed(replace(stranger, issuer=office.issuer)),
        "expired": signed(office, **past),
        "not-yet-valid": signed(office, not_before=date(2090, 1, 1)),
    }
    for state, text in states.items():
        done = verify(desk, text).json()
        assert (done["card"]["state"], done["match"], done["decision"]) == (state, False, "card-not-valid")
        assert done["score"] >= done["threshold"], "the faces are alike"


def test_cards_that_give_no_decision(desk: httpx.Client, folder: Path) -> None:
    key = SigningKey.load(folder / "other.example.key.pem")
    text = make(desk).text
    pictures = [np.asarray(Image.open(io.BytesIO(make(desk, {"full_name": n}, "image/png").content))) for n in "ab"]
    problem(verify(desk, png(Image.fromarray(np.vstack(pictures)))), "several-cards", 422)
    problem(verify(desk, PHOTO), "no-card", 422)
    problem(verify(desk, b"\0 no picture"), "not-an-image", 400)
    problem(verify(desk, "https://example.org"), "not-a-card", 422)
    problem(verify(desk, text[:-20]), "damaged-card", 400)
    foreign = make_card(Image.new("RGB", (64, 64)), bytes(20), Claims(), key).text
    problem(verify(desk, foreign), "foreign-payload", 400)
    problem(verify(desk, without_face(key)), "card-without-face", 422)
    problem(verify(desk, text, png(group()), face="only"), "too-many-faces", 422)
    assert verify(desk, text, png(group())).json()["frame"]["faces"] == 2
    problem(verify(desk, text, face="only", frame="asis"), "invalid-parameter", 422)
    both = {"image": PHOTO, "card": text.encode(), "payload": b"x"}
    assert problem(desk.post("/verify", files=both), "payload-field-missing", 422)["count"] == 2


def without_face(key: SigningKey) -> str:
    """As another writer of Claim 169 may have made it."""
    seed = key.cose.key.private_bytes_raw()
    given, meta = claim169.Claim169Input(full_name="Ada King"), claim169.CwtMetaInput(issuer=key.issuer)
    return str(claim169.encode_with_ed25519(given, meta, seed))


@pytest.mark.parametrize("kind", CLIENTS, ids=["Client", "AsyncClient"])
def test_clients_give_what_the_library_gives(kind: Any, office: Server, folder: Path, tiny_store: Path) -> None:
    key = folder / "own" / "office.example.key.pem"
    asked: dict[str, Any] = {"expires": date(2090, 12, 31), "not_before": date(2020, 1, 1), "model": "tiny-vae"}
    with kind(str(office.client.base_url)) as there, cameo.open(tiny_store, device="cpu", effort="fast") as here:
        one, other = there.card(PHOTO, CLAIMS, **asked), here.card(PHOTO, CLAIMS, key, **asked)
        assert type(one) is type(other) is cameo.Card
        names = ("payload", "claims", "issuer", "not_before", "expires", "qr_version")
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
        assert one.face.tobytes() == other.face.tobytes()
        picture = one.encode("image/png")
        (folder / "card.png").write_bytes(picture)
        shutil.copy(folder / "own" / "office.example.pem", folder)  # which the service trusts anyway
        for given in (one.text, picture, folder / "card.png"):
            assert there.read_card(given) == here.read_card(given, issuers=folder)
            assert there.read_cards(given) == [there.read_card(given)]
            done, wanted = there.verify(PHOTO, given, fmr=0.01), here.verify(PHOTO, given, issuers=folder, fmr=0.01)
            assert (done.decision, done.card) == (wanted.decision, wanted.card) == ("match", there.read_card(one.text))
        assert there.verify(PHOTO, there.read_card(one.text), fmr=0.01).match
        assert there.card(one.payload, cameo.Claims(full_name="Ada")).payload == one.payload
        with pytest.raises(NoCard):
            there.read_card(PHOTO)
        with pytest.raises(CardTooLarge, match="Nothing was printed"):
            there.card(PHOTO, {"address": "".join(chr(0x4E00 + 37 * i) for i in range(200)), "guardian": "一" * 100})
        with pytest.raises(InvalidParameter, match="height: there is no such name; there are"):
            there.card(PHOTO, {"height": "1.62"})


def test_what_does_not_fit_or_cannot_be_is_refused(desk: httpx.Client) -> None:
    address = "".join(chr(0x4E00 + 37 * i) for i in range(200))
    names = dict.fromkeys(("full_name", "guardian", "legal_status", "email"), address[:100])
    assert "Nothing was printed" in problem(make(desk, {"address": address} | names), "card-too-large", 422)["detail"]
    problem(make(desk, {"full_name": "x" * 10_000}), "card-too-large", 422)
    assert problem(make(desk, {"full_name": "x" * 101}), "invalid-parameter", 422)["parameter"] == "full_name"
    unknown = problem(make(desk, {"height": "1.62"}), "invalid-parameter", 422)
    assert unknown["parameter"] == "height"
    assert unknown["detail"].startswith("height: there is no such name; there are id, version, language, full_name")
    problem(make(desk, {"full_name": "\U00013000"}, "application/pdf"), "cannot-draw", 422)
    problem(make(desk, expires="2020-01-01"), "invalid-parameter", 422)
    problem(make(desk, expires="soon"), "invalid-parameter", 422)
    problem(make(desk, dpi=72), "invalid-parameter", 422)
    problem(desk.post("/card", files={"image": PHOTO}, data={"claims": "{"}), "bad-request", 400)
    problem(desk.post("/card", files={"image": PHOTO}, data={"name": "Ada"}), "invalid-parameter", 422)
    twice = [("image", PHOTO), ("claims", b"{}"), ("claims", b"{}")]
    problem(desk.post("/card", files=twice), "invalid-parameter", 422)
    problem(desk.post("/card", content=PHOTO, headers={"Content-Type": "image/png"}), "unsupported-media-type", 415)
    problem(desk.post("/card", files={"image": b"no picture"}), "not-an-image", 400)


def test_pictures_and_texts_that_are_no_card(desk: httpx.Client) -> None:
    problem(desk.post("/card/read", files={"image": png(FACE)}), "no-card", 422)
    problem(desk.post("/card/read", json={"text": "https://example.org"}), "not-a-card", 422)
    problem(desk.post("/card/read", content="", headers={"Content-Type": "text/plain"}), "not-a-card", 422)
    problem(desk.post("/card/read", content="é" * 9000, headers={"Content-Type": "text/plain"}), "not-a-card", 422)
    problem(desk.post("/card/read", json={"text": make(desk).text[:-20]}), "damaged-card", 400)
    problem(desk.post("/card/read", files={"image": b"x"}), "not-an-image", 400)
    problem(desk.post("/card/read", json={"words": "x"}), "invalid-parameter", 422)


def test_a_service_without_a_key_says_what_to_set(api: httpx.Client, folder: Path) -> None:
    body = problem(api.post("/card", files={"image": PHOTO}), "no-signing-key", 404)
    assert body["setting"] == "CAMEO_CARD_KEY"
    key = SigningKey.load(folder / "other.example.key.pem")
    text = make_card(Image.new("RGB", (64, 64)), bytes(20), Claims(), key).text
    answer = api.post("/card/read", json={"text": text}).json()
    assert answer["cards"][0]["state"] == "unknown-issuer"
    assert read_text(text, load_issuers(folder)).is_valid


def test_a_key_that_is_none_stops_the_start(tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CAMEO_CARD_KEY: .* cannot be read"):  # noqa: RUF043
        create_app(Settings(store=tiny_store, device="cpu", card_key=tmp_path / "none.pem"))
    with pytest.raises(ValueError, match="CAMEO_CARD_ISSUERS: .* is not a folder"):  # noqa: RUF043
        create_app(Settings(store=tiny_store, device="cpu", card_issuers=tmp_path / "none"))
