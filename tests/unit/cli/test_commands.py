"""Each subcommand in this process: what it writes, where, and how it ends."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

import cameo
from cameo.cli import files
from cameo.cli.__main__ import main
from cameo.cli.group import say
from cameo.store.bucket import Bucket
from tests.s3 import S3
from tests.service.pictures import FACE, PHOTO, png
from tests.unit.cli.conftest import Run

ROOT = Path(__file__).parents[3]
ASIS = ("--frame", "asis", "--effort", "fast")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    return path


def one_line(text: str) -> str:
    assert text.startswith("cameo: "), text
    assert text.count("\n") == 1, text
    return text


def test_a_photo_goes_to_a_file_to_text_and_to_bytes(run: Run, photo: Path) -> None:
    to_file = run("compress", photo, "-o", "face.cameo", *ASIS)
    assert (to_file.exit_code, to_file.stdout) == (0, "")
    payload = Path("face.cameo").read_bytes()
    assert f"face.cameo: {len(payload)} bytes, tiny-vae/1" in to_file.stderr
    assert base64.b64decode(run("compress", photo, *ASIS).stdout) == payload
    assert run("compress", "-", "-o", "-", *ASIS, data=PHOTO).stdout_bytes == payload
    facts = json.loads(run("compress", photo, "--json", *ASIS).stdout)
    assert base64.b64decode(facts["payload"]) == payload
    assert (facts["bytes"], facts["model"], facts["version"]) == (len(payload), "tiny-vae", 1)
    assert facts["frame"]["method"] == "asis"


def test_options_are_those_of_the_library(run: Run, photo: Path, tiny_store: Path) -> None:
    done = run("compress", photo, "--model", "tiny-progressive", "--max-bytes", "48", "--no-likeness", *ASIS)
    with cameo.open(tiny_store, device="cpu") as c:
        face = c.compress(photo, model="tiny-progressive", max_bytes=48, frame="asis", effort="fast")
    assert base64.b64decode(done.stdout) == face.payload


def test_a_face_comes_back_from_bytes_or_text_in_the_format_of_its_name(run: Run, photo: Path) -> None:
    text = run("compress", photo, *ASIS).stdout_bytes
    run("compress", photo, "-o", "face.cameo", *ASIS)
    piped = run("reconstruct", "-", data=text)
    drawn = Image.open(io.BytesIO(piped.stdout_bytes))
    assert (drawn.format, drawn.size) == ("PNG", (64, 64))
    for name, kind in (("a.png", "PNG"), ("a.webp", "WEBP"), ("a.JPG", "JPEG")):
        assert run("reconstruct", "face.cameo", "-o", name).exit_code == 0
        with Image.open(name) as picture:
            assert picture.format == kind
    wrong = run("reconstruct", "face.cameo", "-o", "a.gif")
    assert wrong.exit_code == 2
    assert ".png" in one_line(wrong.stderr)


def test_a_payload_is_shortened_without_the_photo(run: Run, photo: Path) -> None:
    run("compress", photo, "-o", "face.cameo", "--model", "tiny-progressive", *ASIS)
    short = base64.b64decode(run("shorten", "face.cameo", "--max-bytes", "40").stdout)
    assert len(short) <= 40
    assert json.loads(run("shorten", "face.cameo", "--max-bytes", "40", "--json").stdout)["bytes"] == len(short)
    assert run("shorten", "face.cameo", "--max-bytes", "40", "-o", "-").stdout_bytes == short


def test_models_are_listed(run: Run) -> None:
    listed = run("models").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == [
        "tiny-progressive/1",
        "tiny-vae/1",
        "tiny-vae/2",
        "tiny-vqvae/1",
    ]
    facts = json.loads(run("models", "--json").stdout)
    assert [each["default"] for each in facts] == [True, True, False, True]


def test_a_comparison_is_a_table_json_or_a_sheet(run: Run, photo: Path) -> None:
    asked = ("--model", "tiny-vae", "--codec", "webp", *ASIS)
    table = run("compare", photo, *asked)
    assert [line.split()[0] for line in table.stdout.splitlines()[1:]] == ["tiny-vae/1", "webp"]
    rows = json.loads(run("compare", photo, *asked, "--json").stdout)
    assert [row["kind"] for row in rows] == ["model", "codec"]
    assert run("compare", photo, *asked, "-o", "sheet.png").exit_code == 0
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["compress", "none.png"], "none.png", 2),
        (["compress", "broken.png"], "broken.png: ", 1),
        (["compress", "photo.png", "--model", "none"], "none", 2),
        (["compress", "photo.png", "--max-bytes", "2"], "bytes", 2),
        (["compress", "photo.png", "--url", "127.0.0.1:8000"], "http://", 2),
        (["compress", "photo.png", "photo.png"], "-o faces.parquet", 2),
        (["compress", "photo.png", "--no-likeness", "-o", "none/face.cameo"], "none/face.cameo: No such file", 1),
        (["compress", "-", "photo.png", "--json"], "goes alone", 2),
        (["reconstruct", "photo.png"], "photo.png: ", 1),
        (["reconstruct", "empty"], "empty: ", 1),
        (["batch", "folder", "-o", "faces.csv"], ".parquet or .jsonl", 2),
        (["batch", "folder", "-o", "faces.jsonl"], "no photos", 2),
        (["compare", "photo.png", "--codec", "gif"], "gif", 2),
        (["dance"], "--help", 2),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_a_code(
    run: Run, photo: Path, arguments: list[str], said: str, code: int
) -> None:
    Path("broken.png").write_bytes(PHOTO[:1000])
    Path("empty").touch()
    Path("folder").mkdir()
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert said in one_line(done.stderr)


def test_pyarrow_is_asked_for_by_name(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = run("batch", photo.parent, "-o", "faces.parquet")
    assert done.exit_code == 2
    assert "pip install pyarrow, or write faces.jsonl" in one_line(done.stderr)


def test_payloads_are_read_as_people_have_them() -> None:
    payload = bytes.fromhex("10") + b"\n"
    assert files.payload(base64.b64encode(payload) + b"\r\n") == payload
    assert files.payload(b"\xff\xfe") == b"\xff\xfe"
    assert files.payload(b"") == b""


def test_serve_says_how_to_get_the_service(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cameo.cli.commands.serve.ROOT", tmp_path)
    done = run("serve")
    assert done.exit_code == 1
    assert "make run" in one_line(done.stderr)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_is_a_script(run: Run, shell: str) -> None:
    assert "_CAMEO_COMPLETE" in run("completion", shell).stdout


def test_help_shows_examples_of_every_command_and_loads_nothing_heavy() -> None:
    code = """
import sys
from click.testing import CliRunner
from cameo.cli.__main__ import main
for name in main.list_commands(None):
    shown = CliRunner().invoke(main, [name, "--help"], prog_name="cameo")
    assert shown.exit_code == 0, shown.output
    assert f"cameo {name}" in shown.stdout, name
assert "Examples:" in CliRunner().invoke(main, ["--help"], prog_name="cameo").stdout
print(*({"torch", "cv2", "onnxruntime", "httpx", "fastapi", "pyarrow"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_face_that_leaves_doubts_is_warned_of(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dark.png").write_bytes(png(FACE.point(lambda v: v // 12)))
    done = run("compress", "dark.png", *ASIS, "--json")
    codes = [warning["code"] for warning in json.loads(done.stdout)["warnings"]]
    assert all(line.startswith("cameo: dark.png: warning: ") for line in done.stderr.splitlines())
    assert len(done.stderr.splitlines()) == len(codes)


def test_a_store_behind_a_url(s3: S3, tiny_store: Path) -> None:
    url, folder = s3.url("command"), tiny_store / "tiny-vae" / "1"
    bucket = Bucket(url)
    for name in ("model.safetensors", "manifest.json"):  # as any tool copies them, the manifest last
        bucket.put(f"tiny-vae/1/{name}", folder / name)
    there = ["--store", url]
    listed = CliRunner().invoke(main, ["models", *there])
    assert "tiny-vae/1 *" in listed.output
    payload = CliRunner().invoke(main, ["compress", "-", "-o", "-", *ASIS, *there], input=PHOTO)
    assert payload.exit_code == 0, payload.stderr
    drawn = CliRunner().invoke(main, ["reconstruct", "-", "-o", "-", *there], input=payload.stdout_bytes)
    assert drawn.stdout_bytes.startswith(b"\x89PNG")
    nobody = CliRunner().invoke(main, ["models", "--store", "s3://nobody-else/store"])
    assert nobody.exit_code == 1
    assert "There is no bucket for s3://nobody-else/store; correct the name" in nobody.stderr
    typo = CliRunner().invoke(main, ["models", "--store", "modle_store"])
    assert typo.exit_code == 2
    assert "Directory 'modle_store' does not exist" in typo.stderr


def test_a_service_or_a_file_name_never_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2Jb\nc\u202ed \u00e9")
    assert capsys.readouterr().err == "cameo: a\\x1b[2Jb\\nc\\u202ed \u00e9\n"


def test_an_input_is_never_overwritten(run: Run, photo: Path) -> None:
    before = photo.read_bytes()
    for command, *more in (["compress"], ["compare", "--codec", "webp"], ["read"]):
        done = run(command, photo, "-o", photo, *more)
        assert done.exit_code != 0
        assert photo.read_bytes() == before
    assert "is an input, too" in run("compress", photo, "-o", photo).stderr


def test_a_key_that_cannot_be_is_a_wrong_option(run: Run) -> None:
    done = run("models", "--url", "http://127.0.0.1:9", "--api-key", "secret\r")
    assert (done.exit_code, "secret" in done.stderr) == (2, False)
    assert "API key" in one_line(done.stderr)
