"""The command as a process: pipes, a service, and SIGKILL in the middle."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cameo.cards import make_keys
from tests.service.pictures import FACE, PHOTO, png
from tests.service.server import ROOT, Server, serve, until

COMMAND = [sys.executable, "-m", "cameo.cli"]
ASIS = ["--frame", "asis", "--effort", "fast"]


def cameo(
    *arguments: str | Path, cwd: Path, data: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, input=data, capture_output=True, check=False, env=env(**environment)
    )


def env(**more: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


@pytest.fixture
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_a_service_gives_the_same_output_as_the_library(url: str, tiny_store: Path, tmp_path: Path) -> None:
    """Words and output are the same; and the environment may name the service."""
    (tmp_path / "photo.png").write_bytes(PHOTO)
    local: list[str | Path] = ["--store", tiny_store, "--device", "cpu"]
    wanted: tuple[list[str | Path], ...] = (
        ["compress", "photo.png", "--json", "--effort", "fast"],
        [
            "compare",
            "photo.png",
            "--model",
            "tiny-progressive",
            "--max-bytes",
            "48",
            "--codec",
            "webp",
            "--json",
            *ASIS,
        ],
        ["models"],
    )
    for asked in wanted:
        there, here = cameo(*asked, cwd=tmp_path, CAMEO_URL=url), cameo(*asked, *local, cwd=tmp_path)
        assert there.returncode == here.returncode == 0, there.stderr + here.stderr
        assert there.stdout == here.stdout
    piped = cameo("compress", "-", "-o", "-", "--url", url, *ASIS, cwd=tmp_path, data=PHOTO)
    drawn = cameo("reconstruct", "-", "--url", url, cwd=tmp_path, data=piped.stdout)
    assert drawn.stdout.startswith(b"\x89PNG")


def test_cards_are_made_read_and_verified_by_a_service_as_here(tiny_store: Path, tmp_path: Path) -> None:
    """All but the signature, which has the time in it."""
    (tmp_path / "photo.png").write_bytes(PHOTO)
    private, public = make_keys("https://office.example", tmp_path / "own")
    (tmp_path / "trusted").mkdir()
    public.rename(tmp_path / "trusted" / "office.pem")
    local: list[str | Path] = ["--store", tiny_store, "--device", "cpu"]
    asked = ["card", "photo.png", "--name", "Ada", "--expires", "2090-12-31", "--effort", "fast"]
    with serve(
        tmp_path / "log", store=tiny_store, workers=1, card_key=private, card_issuers=tmp_path / "trusted"
    ) as server:
        url = f"http://127.0.0.1:{server.port}"
        there = cameo(*asked, "-o", "there.png", cwd=tmp_path, CAMEO_URL=url)
        here = cameo(*asked, "-o", "there.png", "--key", private, *local, cwd=tmp_path)
        assert (there.returncode, there.stderr) == (here.returncode, here.stderr) == (0, there.stderr)
        verify = ["verify", "photo.png", "there.png", "--fmr", "0.01", "--face", "only", "--json"]
        for command in (["read", "there.png"], verify):
            one = cameo(*command, cwd=tmp_path, CAMEO_URL=url)
            other = cameo(*command, "--issuers", "trusted", *local, cwd=tmp_path)
            assert one.stdout == other.stdout
            assert (one.returncode, one.stderr) == (other.returncode, other.stderr) == (0, b"")
        drawn = cameo("read", "there.png", "-o", "face.png", cwd=tmp_path, CAMEO_URL=url)
        assert (drawn.returncode, (tmp_path / "face.png").read_bytes()[:4]) == (0, b"\x89PNG")
        for wrong in (["read", "there.png", "--issuers", "trusted"], [*asked, "--key", private]):
            done = cameo(*wrong, cwd=tmp_path, CAMEO_URL=url)
            assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_a_service_that_is_not_there_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(PHOTO)
    done = cameo("compress", "photo.png", "--url", "http://127.0.0.1:9", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"is the service running there?" in done.stderr


def test_a_reader_that_leaves_is_no_trouble(url: str, tmp_path: Path) -> None:
    command = " ".join([*COMMAND, "models", "--json", "--url", url])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"], cwd=tmp_path, env=env(), capture_output=True, check=False
    )
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("through", ["library", "service"])
@pytest.mark.parametrize("name", ["faces.parquet", "faces.jsonl"])
def test_a_job_that_is_killed_three_times_ends_with_the_same_file(
    through: str, name: str, request: pytest.FixtureRequest, tiny_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(150):
        (tmp_path / "photos" / f"{i}.png").write_bytes(png(FACE.rotate(2 * i).resize((128, 128))))
    source = ["--url", request.getfixturevalue("url")] if through == "service" else ["--store", str(tiny_store)]
    asked = ["compress", "photos", *ASIS, *source, "-o"]
    assert cameo(*asked, f"whole-{name}", cwd=tmp_path).returncode == 0
    journal = tmp_path / f"{name}.journal"
    for _ in range(3):
        kill_in_the_middle([*asked, name], tmp_path, journal)
        assert not (tmp_path / name).exists()
    assert cameo(*asked, name, cwd=tmp_path).returncode == 0
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not journal.exists()


def kill_in_the_middle(arguments: list[str], cwd: Path, journal: Path) -> None:
    """Once it has done some photos more than are in the journal already."""

    def lines() -> int:
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    before = lines()
    process = subprocess.Popen([*COMMAND, *arguments], cwd=cwd, env=env(), stderr=subprocess.DEVNULL)
    until(lambda: lines() > before + 10 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was in the middle"


def test_while_a_job_is_at_work_another_is_told_so(tiny_store: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(400):
        (tmp_path / "photos" / f"{i}.png").write_bytes(png(FACE.rotate(i / 2).resize((128, 128))))
    asked: list[Any] = ["compress", "photos", *ASIS, "--store", tiny_store, "-o", "faces.jsonl"]
    first = subprocess.Popen([*COMMAND, *map(str, asked)], cwd=tmp_path, env=env(), stderr=subprocess.DEVNULL)
    try:
        until((tmp_path / "faces.jsonl.journal").exists)
        first.send_signal(signal.SIGSTOP)
        second = cameo(*asked, cwd=tmp_path)
        assert second.returncode == 1
        assert b"faces.jsonl: another job is writing it" in second.stderr
    finally:
        first.kill()
        first.wait()


def test_serve_serves(tiny_store: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = env(
        CAMEO_STORE=str(tiny_store), CAMEO_DEVICE="cpu", CAMEO_DRAIN_SECONDS="0", CAMEO_URL="http://a.example"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", str(port)], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    try:
        with closing(Server(process, port, tmp_path / "log")) as server:
            server.wait(lambda ready: ready.is_success)
            server.stop()
    finally:
        process.kill()
        process.wait()


def test_ctrl_c_says_so_and_the_same_command_goes_on(tiny_store: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(300):
        (tmp_path / "photos" / f"{i}.png").write_bytes(png(FACE.rotate(i / 2).resize((128, 128))))
    asked = ["compress", "photos", *ASIS, "--store", str(tiny_store), "-o", "faces.jsonl"]
    process = subprocess.Popen([*COMMAND, *asked], cwd=tmp_path, env=env(), stderr=subprocess.PIPE)
    journal = tmp_path / "faces.jsonl.journal"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said.strip()) == (130, b"cameo: stopped")
    assert cameo(*asked, cwd=tmp_path).returncode == 0
    assert len((tmp_path / "faces.jsonl").read_bytes().splitlines()) == 300
    assert json.loads((tmp_path / "faces.jsonl").read_bytes().splitlines()[-1])["error"] is None
