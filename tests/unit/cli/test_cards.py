"""Keys, cards and decisions from the command line."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cameo.cli.__main__ import main
from tests.faces import astronaut
from tests.unit.cli.conftest import Run

ISSUER = "https://office.example"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(astronaut()).save(path)
    return path


@pytest.fixture
def keys(run: Run) -> Path:
    """A folder with the public key; the private key is beside it."""
    made = run("key", ISSUER, "-o", "keys")
    assert made.exit_code == 0, made.output
    private, public = Path("keys/office.example.key.pem"), Path("keys/office.example.pem")
    assert made.stdout == f"{private}\n{public}\n"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    Path("trusted").mkdir()
    public.rename("trusted/office.pem")
    return Path("trusted")


def test_a_card_is_made_and_read(run: Run, photo: Path, keys: Path) -> None:
    claims = ("--name", "Eileen Collins", "--birth", "1956-11-19", "--sex", "female", "--nationality", "US")
    lasting = ("--expires", "2090-12-31")
    signed = ("--key", "keys/office.example.key.pem", "--model", "tiny-progressive", *claims, *lasting)
    made = run("card", photo, *signed, "--max-bytes", 96, "-o", "card.png")
    assert made.exit_code == 0, made.stderr
    assert "card.png: QR code of version" in made.stderr
    read = run("read", "card.png", "--issuers", keys, "-o", "face.png")
    assert read.exit_code == 0, read.stderr
    assert read.stdout.startswith("valid: ")
    assert "full_name: Eileen Collins" in read.stdout
    assert "last day: 2090-12-31\n" in read.stdout
    with Image.open("face.png") as face:
        assert face.size == (64, 64)
    piped = run("read", "card.png", "--issuers", keys, "-o", "-")
    assert piped.stdout_bytes == Path("face.png").read_bytes()
    assert "valid, signed by" in piped.stderr
    assert run("read", "card.png", "-o", "face.gif").exit_code == 2
    shown = run("read", "card.png", "--show")
    assert (shown.exit_code, "--show is for a terminal" in shown.stderr) == (2, True)
    text = run("card", photo, *signed).stdout
    Path("card.txt").write_text(text)
    facts = json.loads(run("read", "card.txt", "--issuers", keys, "--json").stdout)
    assert (facts["state"], facts["issuer"]) == ("valid", ISSUER)
    assert facts["claims"]["date_of_birth"] == "1956-11-19"
    assert facts["payload"]


def test_only_a_trusted_card_ends_with_0(run: Run, photo: Path, keys: Path) -> None:
    Path("card.txt").write_text(run("card", photo, "--key", "keys/office.example.key.pem").stdout)
    assert run("read", "card.txt", "--issuers", keys).exit_code == 0
    unknown = run("read", "card.txt")
    assert (unknown.exit_code, unknown.stdout.split(":")[0]) == (1, "unknown-issuer")
    past = run("card", photo, "--key", "keys/office.example.key.pem", "--expires", "2020-01-01")
    assert past.exit_code == 2
    assert "expires must be later than now" in past.stderr


def test_other_attributes_and_times(run: Run, photo: Path, keys: Path) -> None:
    signed = ("--key", "keys/office.example.key.pem", "--effort", "fast", "-o", "card.txt")
    asked = ("--birth", "1956-11", "--claim", "phone=+1 202 555 0100", "--claim", "guardian=a=b")
    assert run("card", photo, *signed, *asked, "--not-before", "2090-01-01").exit_code == 0
    read = run("read", "card.txt", "--issuers", keys, "--json")
    assert (read.exit_code, json.loads(read.stdout)["state"]) == (1, "not-yet-valid")
    claims = {"date_of_birth": "1956-11", "phone": "+1 202 555 0100", "guardian": "a=b"}
    assert json.loads(read.stdout)["claims"] == claims
    for wrong, said in (("phone", "write it as name=text"), ("height=1.62", "height")):
        done = run("card", photo, *signed, "--claim", wrong)
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_a_photo_that_is_not_good_enough_for_a_card(run: Run, photo: Path, keys: Path) -> None:
    signed = ("--key", keys.parent / "keys" / "office.example.key.pem", "-o", "card.pdf")
    with Image.open(photo) as image:
        face = image.crop((96, 0, 352, 256))
        image.point(lambda level: level // 12).save("dark.png")
    two = Image.new("RGB", (512, 256))
    for left in (0, 256):
        two.paste(face, (left, 0))
    two.save("two.png")
    dark = run("card", "dark.png", *signed)
    assert (dark.exit_code, "dark.png: warning: " in dark.stderr) == (0, True), dark.stderr
    assert run("card", "two.png", *signed).exit_code == 0
    only = run("card", "two.png", *signed, "--face", "only")
    assert (only.exit_code, "2 faces were found" in only.stderr) == (1, True), only.stderr


def test_without_a_key_it_says_who_could_sign(run: Run, photo: Path) -> None:
    done = run("card", photo)
    assert (done.exit_code, "--key FILE" in done.stderr) == (2, True)


def test_what_is_wrong_is_one_line(run: Run, photo: Path, keys: Path) -> None:
    again = run("key", ISSUER, "-o", "keys")
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1), again.output
    suffix = run("card", photo, "--key", "keys/office.example.key.pem", "-o", "card.gif")
    assert (suffix.exit_code, suffix.stderr) == (
        2, "cameo: card.gif: a card is written as .pdf, .png, .svg or .txt\n",
    )  # fmt: skip
    public = run("card", photo, "--key", keys / "office.pem")
    assert public.exit_code == 1
    assert "holds a public key" in public.stderr
    huge = run("card", photo, "--key", "keys/office.example.key.pem", "--name", "x" * 95, "-o", "card.pdf")
    assert huge.exit_code == 1
    said = "full_name is too long to be printed on a card; shorten it. Nothing was printed"
    assert huge.stderr.splitlines()[-1] == f"cameo: {photo}: {said}", "a warning about the photo may be before it"
    assert not Path("card.pdf").exists()
    no_card = run("read", photo, "--issuers", keys)
    assert no_card.exit_code == 1
    assert no_card.stderr.startswith(f"cameo: {photo}: ")


def test_a_decision(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shipped models, which have thresholds."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, arguments, prog_name="cameo")
        return result.exit_code, result.stdout

    assert invoke("compress", str(photo), "--effort", "fast", "-o", "face.cameo")[0] == 0
    code, said = invoke("verify", str(photo), "face.cameo")
    assert (code, said.split(":")[0]) == (0, "match")
    assert invoke("key", ISSUER)[0] == 0
    signed = ("--key", "office.example.key.pem", "--effort", "fast", "-o", "card.png")
    assert invoke("card", str(photo), *signed)[0] == 0
    code, said = invoke("verify", str(photo), "card.png", "--issuers", ".", "--json")
    assert (code, json.loads(said)["decision"], json.loads(said)["card"]["state"]) == (0, "match", "valid")
    code, said = invoke("verify", str(photo), "card.png")
    assert (code, said.split(",")[0]) == (1, "card not valid: unknown-issuer")
    stripes = np.zeros((512, 512, 3), np.uint8)
    Image.fromarray(stripes).save("nobody.png")
    assert invoke("verify", "nobody.png", "face.cameo")[0] == 1
