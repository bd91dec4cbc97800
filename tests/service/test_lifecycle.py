"""Starting, stopping, and stores that are not as they should be."""

import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from app.__main__ import main
from cameo import codec
from cameo.coder.coder import Coder
from cameo.store import StoredVersion
from tests.service.pictures import PHOTO
from tests.service.server import START_SECONDS, STOP_SECONDS, Server, asked_to_go_on, problem, rest, serve, start, until
from tests.tiny import publish_tiny

UPLOAD = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> StoredVersion:
    """The second of two versions in a store, with one byte of its weights damaged."""
    root = tmp_path_factory.mktemp("damaged") / "store"
    publish_tiny(root, "tiny-vae", seed=1)
    newer = publish_tiny(root, "tiny-vae", seed=2)
    weights = bytearray(newer.weights.read_bytes())
    weights[-1] ^= 1
    newer.weights.chmod(0o644)
    newer.weights.write_bytes(weights)
    return newer


@pytest.fixture(scope="module")
def damaged(refused: StoredVersion, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("service") / "log", store=refused.folder.parents[1]) as server:
        yield server


def test_a_damaged_version_does_not_keep_others_from_serving(damaged: Server) -> None:
    face = damaged.client.post("/compress", content=PHOTO, headers=UPLOAD).json()
    assert (face["model"], face["version"]) == ("tiny-vae", 1)


def test_a_damaged_version_is_named_everywhere(damaged: Server) -> None:
    ready, models = damaged.client.get("/readyz").json(), damaged.client.get("/models").json()
    assert ready["ready"] is True
    assert ready["models"] == ["tiny-vae/1"]
    assert ready["refused"] == models["refused"]
    (refusal,) = models["refused"]
    assert (refusal["name"], refusal["version"]) == ("tiny-vae", 2)
    assert "SHA-256" in refusal["reason"]
    assert damaged.metric("cameo_refused_version_info", model="tiny-vae", version="2") == 1
    assert damaged.metric("cameo_model_info", model="tiny-vae") == 1
    assert "refused tiny-vae version 2: The weights have the SHA-256" in damaged.log


def test_a_damaged_version_is_refused_to_who_asks_for_it(damaged: Server, refused: StoredVersion) -> None:
    client = damaged.client
    problem(client.post("/compress?version=2", content=PHOTO, headers=UPLOAD), "refused-version", 503)
    problem(client.get("/models/tiny-vae/2"), "refused-version", 503)
    problem(client.post("/compare?models=tiny-vae/2", content=PHOTO, headers=UPLOAD), "refused-version", 503)
    sound = codec.wrap(codec.Payload(codec.Coding.FIXED, refused.tag, bytes(12)))
    answer = client.post("/reconstruct", content=sound, headers={"Content-Type": "application/vnd.cameo"})
    body = problem(answer, "refused-version", 503)
    assert (body["name"], body["version"]) == ("tiny-vae", 2)


def test_an_empty_store_is_live_and_not_ready(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    with serve(tmp_path / "log", lambda ready: "no usable version" in ready.json()["reason"], store=store) as server:
        assert server.client.get("/livez").status_code == 200
        ready = server.client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        for method, address in (("POST", "/compress"), ("POST", "/compare"), ("GET", "/models")):
            answer = server.client.request(method, address, content=PHOTO, headers=UPLOAD)
            assert "no usable version" in problem(answer, "not-ready", 503)["reason"]
            assert int(answer.headers["Retry-After"]) >= 1
        assert server.metric("cameo_ready") == 0


def test_a_request_in_hand_is_answered_after_sigterm(tiny_store: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "log", store=tiny_store) as server:
        with asked_to_go_on(server, "/compress", len(PHOTO)) as connection:
            server.process.send_signal(signal.SIGTERM)
            _wait_until_nobody_listens(server.port)
            connection.sendall(PHOTO)
            answer = rest(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"payload":' in answer
        assert f"listens on http://127.0.0.1:{server.port}, " in server.log
    # Leaving the block checks that the service has ended with 0.


def test_what_outlives_the_grace_period_is_told_so(tiny_store: Path, tmp_path: Path) -> None:
    with (
        serve(tmp_path / "log", store=tiny_store, grace_seconds=1) as server,
        asked_to_go_on(server, "/compress", len(PHOTO)) as connection,
    ):
        server.process.send_signal(signal.SIGTERM)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"type":"urn:cameo:problem:not-ready"' in answer
    # Leaving the block checks that the service has ended with 0, without a traceback.


def test_a_stream_that_outlives_the_grace_period_is_cut_where_clients_notice(tiny_store: Path, tmp_path: Path) -> None:
    pictures = [("image", ("face.png", PHOTO, "image/png"))] * 600
    settings: dict[str, Any] = {"store": tiny_store, "grace_seconds": 1, "max_body_bytes": 2**27}
    lines: list[str] = []
    with (
        serve(tmp_path / "log", **settings) as server,
        server.client.stream("POST", "/compress/batch", files=pictures) as answer,
    ):
        each = answer.iter_lines()
        lines.append(next(each))
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            lines.extend(each)
    assert 0 < len(lines) < len(pictures)
    assert all("payload" in line for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit stays as it is")
def test_connections_are_limited_by_what_the_system_allows(tiny_store: Path, tmp_path: Path) -> None:
    import resource  # noqa: PLC0415 - not on every system

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] // 2, before[1]))
    try:
        with serve(tmp_path / "log", store=tiny_store) as server:
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_ctrl_c_is_a_clean_end_too(tiny_store: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "log", store=tiny_store) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(START_SECONDS) == 0
    # Leaving the block checks that there is no traceback.


def _wait_until_nobody_listens(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise TimeoutError("the service still takes connections after SIGTERM")


BAD_SETTINGS = {
    "PORT": ("eighty", r"CAMEO_PORT=eighty: .*integer.*"),
    "DETECTOR": ("/nowhere/yunet.onnx", r".*/nowhere/yunet\.onnx \(CAMEO_DETECTOR\) is not a readable YuNet model\."),
    "JUDGE": (__file__, rf"CAMEO_JUDGE={re.escape(__file__)} is not an SFace network.*"),
    "DEVICE": ("cuda", r"CAMEO_DEVICE=cuda cannot be met: .*"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_setting_that_cannot_be_met_is_one_clear_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "DEVICE" and torch.cuda.is_available():
        pytest.skip("this machine has what the test wants to miss")
    value, said = BAD_SETTINGS[name]
    monkeypatch.setenv("CAMEO_PORT", "0")
    monkeypatch.setenv(f"CAMEO_{name}", value)
    assert main() == 2
    assert re.fullmatch(f"cameo: {said}\n", capsys.readouterr().err)


def test_searching_for_all_needs_what_a_search_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAMEO_PORT", "0")
    monkeypatch.setenv("CAMEO_EFFORT", "best")
    monkeypatch.setattr("cameo.work.installed_judge", lambda: None)
    assert main() == 2
    assert re.fullmatch(r"cameo: CAMEO_EFFORT=best needs a face recogniser, .*\n", capsys.readouterr().err)


def test_a_variable_that_is_no_setting_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAMEO_WORKER", "3")
    monkeypatch.setenv("CAMEO_ZZZ", "1")
    monkeypatch.setenv("CAMEO_REVISION", "of the image")
    assert main() == 2
    assert capsys.readouterr().err == (
        "cameo: CAMEO_WORKER is not a setting; is CAMEO_WORKERS meant?\n"
        "cameo: CAMEO_ZZZ is not a setting: docs/settings.md has them all\n"
    )


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # A detector that is not there would be found out next.
        process = start(tmp_path / "log", port=taken.getsockname()[1], detector="/nowhere/yunet.onnx")
        assert process.wait(START_SECONDS) == 1
    log = (tmp_path / "log").read_text()
    assert re.fullmatch(r"cameo: CAMEO_HOST=127\.0\.0\.1 CAMEO_PORT=\d+: .*already in use\n", log)


def test_a_closed_terminal_ends_it_as_sigterm_does(tiny_store: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "log", store=tiny_store) as server:
        connection = asked_to_go_on(server, "/compress?frame=asis", len(PHOTO))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "Shutting down" in server.log or "Waiting for connections" in server.log)
        with connection:
            connection.sendall(PHOTO)
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(STOP_SECONDS) == 0
        server.stop = lambda: None  # type: ignore[method-assign]


def test_a_bad_start_ends_the_process(tmp_path: Path) -> None:
    process = start(tmp_path / "log", detector="/nowhere/yunet.onnx")
    assert process.wait(START_SECONDS) == 2
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_coder_refuses_a_manifest_that_does_not_fit_its_weights(tmp_path: Path) -> None:
    stored = publish_tiny(tmp_path / "store", "tiny-vae")
    other = StoredVersion(
        stored.manifest.model_copy(update={"rates": (99,)}), stored.folder, stored.digest, stored.tag, stored.weights
    )
    with pytest.raises(ValueError, match="payloads have 16 bytes"):
        Coder(other, torch.device("cpu"))
