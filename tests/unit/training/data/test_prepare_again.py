"""Preparing photos, stopped at any moment and called again."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.training.conftest import picture
from tests.unit.training.data.test_prepare import TRAIN, command, contents, refused, rows
from training.data import prepare as module
from training.data.journal import Journal
from training.data.prepare import Settings, prepare


class TestGoingOn:
    """Stopped anywhere, the same call ends with the same bytes."""

    @pytest.fixture
    def mixed(self, tmp_path: Path) -> Path:
        """Portraits and duplicates by turns."""
        folder = tmp_path / "mixed"
        folder.mkdir()
        for number in range(12):
            picture(number // 2).save(folder / f"{number:02}.png", compress_level=number % 2)
        return folder

    def test_from_any_point_at_which_it_was_cut(self, mixed: Path, tmp_path: Path) -> None:
        whole = tmp_path / "whole"
        prepare(mixed, whole, TRAIN)
        expected = contents(whole)
        assert (len(rows(whole)), len(refused(whole))) == (6, 6)
        rng = np.random.default_rng(0)
        for trial in range(25):
            out = tmp_path / f"cut {trial}"
            out.mkdir()
            made = json.loads(expected["dataset.json"])["made"]
            (out / "unfinished.json").write_text(json.dumps({"made": made}))
            (out / "dataset.tmp").write_text("{")
            for name in ("portraits.bin", "index.csv", "refused.csv"):
                (out / name).write_bytes(expected[name][: rng.integers(0, len(expected[name]) + 1)])
            prepare(mixed, out, TRAIN)
            (out / "dataset.tmp").unlink(missing_ok=True)
            assert contents(out) == expected

    def test_a_killed_process(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        for number in range(60):  # a face is looked for in every second one, which takes a while
            picture(number, 144 + number % 2).save(folder / f"{number:02}.png")
        line = [sys.executable, "-m", "training", "prepare", str(folder), "--licence", "x", "--workers", "1", "--out"]
        index = tmp_path / "killed" / "index.csv"
        first = subprocess.Popen([*line, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (index.exists() and index.read_bytes().count(b"\n") > 5):
            time.sleep(0.002)
        first.kill()
        assert first.wait() == -signal.SIGKILL
        assert not (tmp_path / "killed" / "dataset.json").exists()
        settings = Settings("photos", "x")
        prepare(folder, tmp_path / "killed", settings)
        prepare(folder, tmp_path / "whole", settings)
        assert contents(tmp_path / "killed") == contents(tmp_path / "whole")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_stops_it_with_a_word(
        self,
        mixed: Path,
        tmp_path: Path,
        number: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        add = Journal.add

        def stop_at_four(journal: Journal, source: str, *rest: Any) -> None:
            if source == "04.png":
                os.kill(os.getpid(), number)
            add(journal, source, *rest)

        line = (mixed, "--out", tmp_path / "out", "--licence", "for tests", "--name", "faces", "--split", "train")
        before = signal.getsignal(signal.SIGTERM)
        # Whoever runs the tests in the background may have SIGINT ignored, and that is inherited.
        interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(Journal, "add", stop_at_four)
                assert command(*line) == 130
        finally:
            signal.signal(signal.SIGINT, interrupt)
        assert signal.getsignal(signal.SIGTERM) == before
        assert "the same command goes on" in capsys.readouterr().err
        assert not (tmp_path / "out" / "dataset.json").exists()
        assert command(*line) == 0
        assert "6 portraits, 6 refused" in capsys.readouterr().out
        prepare(mixed, tmp_path / "whole", TRAIN)
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")

    def test_a_full_disk_is_named_and_survived(self, mixed: Path, tmp_path: Path) -> None:
        line = (mixed, "--out", tmp_path / "out", "--licence", "for tests", "--name", "faces", "--split", "train")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
        try:
            with pytest.raises(OSError, match=r"no space left for .*out: free some, and the same command goes on"):
                command(*line)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert command(*line) == 0
        prepare(mixed, tmp_path / "whole", TRAIN)
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")

    def test_a_finished_one_is_left_alone(self, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = prepare(mixed, tmp_path / "out", TRAIN)
        before = contents(tmp_path / "out")
        (tmp_path / "out" / "unfinished.json").write_text("{}")  # as a kill at the last moment leaves it
        monkeypatch.setattr(module, "look", lambda *_: pytest.fail("looked at a picture"))
        assert prepare(mixed, tmp_path / "out", TRAIN) == made
        assert contents(tmp_path / "out") == before

    @pytest.mark.parametrize("finished", [True, False])
    def test_other_settings_or_pictures_are_refused(self, mixed: Path, tmp_path: Path, finished: bool) -> None:
        out = tmp_path / "out"
        made = prepare(mixed, out, TRAIN)
        if not finished:
            (out / "unfinished.json").write_text(json.dumps({"made": made["made"]}))
            (out / "dataset.json").unlink()
        before = contents(out)
        with pytest.raises(ValueError, match=r"holds another data set; .* \(split was train, is val\)"):
            prepare(mixed, out, Settings("faces", "for tests", split="val"))
        picture(77).save(mixed / "77.png")
        with pytest.raises(ValueError, match=r"holds another data set; .*found was 12, is 13"):
            prepare(mixed, out, TRAIN)
        assert contents(out) == before

    def test_two_at_once(self, mixed: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        with Journal(out, ["00.png"]), pytest.raises(ValueError, match="another process is preparing"):
            Journal(out, ["00.png"])
