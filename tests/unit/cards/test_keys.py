"""Key files: made once, private, and refused with a reason where they are not what they should be."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cameo.cards import SigningKey, load_issuers, make_keys
from cameo.errors import InvalidKey, InvalidParameter


def test_a_pair_is_made_once_and_the_private_key_is_private(tmp_path: Path) -> None:
    private, public = make_keys("https://office.example/desk 2", tmp_path / "new")
    assert (private.name, public.name) == ("office.example-desk-2.key.pem", "office.example-desk-2.pem")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "PRIVATE" not in public.read_text()
    before = private.read_bytes()
    with pytest.raises(FileExistsError):
        make_keys("https://office.example/desk 2", tmp_path / "new")
    public.unlink()
    with pytest.raises(FileExistsError):
        make_keys("https://office.example/desk 2", tmp_path / "new")
    assert private.read_bytes() == before


def test_keys_carry_the_name_of_their_issuer(tmp_path: Path) -> None:
    private, _ = make_keys("Bürgeramt Köln", tmp_path)
    key = SigningKey.load(private)
    assert key.issuer == "Bürgeramt Köln"
    assert list(load_issuers(tmp_path)) == ["Bürgeramt Köln"]
    assert "cose" not in repr(key)


def test_an_issuer_may_have_several_keys(tmp_path: Path) -> None:
    for year in ("2026", "2027"):
        make_keys("office", tmp_path / year)
        (tmp_path / year / "office.pem").rename(tmp_path / f"office-{year}.pem")
    [(issuer, keys)] = load_issuers(tmp_path).items()
    assert (issuer, len(keys)) == ("office", 2)


@pytest.mark.parametrize("issuer", ["", " x", "x" * 101, "a\nb", "a\u202eb"])
def test_a_name_that_cannot_be_one(issuer: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="an issuer has a name of 1 to 100"):
        make_keys(issuer, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_private_key_that_everybody_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    private, _ = make_keys("office", tmp_path)
    private.chmod(mode)
    with pytest.raises(InvalidKey, match="chmod 600"):
        SigningKey.load(private)


def test_files_that_are_no_key(tmp_path: Path, folder: Path) -> None:
    public = (folder / "office.example.pem").read_text()
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    wrong = {
        "cannot be read as a key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "cannot be read as": "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
        "does not name its issuer": public.split("\n", 1)[1],
        "is not an Ed25519 key": "Issuer: x\n"
        + curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }
    for said, text in wrong.items():
        (tmp_path / "office.pem").write_text(text, encoding="utf-8")
        with pytest.raises(InvalidKey, match=said):
            load_issuers(tmp_path)
    with pytest.raises(InvalidKey, match="is not a folder"):
        load_issuers(tmp_path / "office.pem")
    with pytest.raises(InvalidKey, match="holds a public key"):
        SigningKey.load(folder / "office.example.pem")
    with pytest.raises(InvalidKey, match="cannot be read"):
        SigningKey.load(tmp_path / "nothing.key.pem")


def test_an_issuer_whose_name_ends_like_a_private_key_is_trusted(tmp_path: Path) -> None:
    private, public = make_keys("office.key", tmp_path)
    assert (private.name, public.name) == ("office.key.pem", "office.pem")
    assert list(load_issuers(tmp_path)) == ["office.key"]
