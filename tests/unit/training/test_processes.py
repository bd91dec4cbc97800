"""Training as people run it: processes that are killed, several that train as one, a disk that fills up."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.unit.training.conftest import MODELS, RECIPE
from tests.unit.training.test_loop import checkpoint, curve, same_weights
from training.data.portraits import open_portraits
from training.loop import train
from training.ranks import ALONE
from training.recipe import read_recipe

PATIENCE = 500  # seconds until a process must have come to something, on a busy machine
SMALL_DISK = 512 * 1024  # bytes: a checkpoint fits, the next one beside it does not


def recipe(folder: Path, kind: str, steps: int) -> Path:
    path = folder / f"{kind}.toml"
    path.write_text(RECIPE.format(kind=kind, model=MODELS[kind]).replace("steps = 12", f"steps = {steps}"))
    return path


def command(recipe: Path, data: Path, out: Path, *more: str) -> list[str]:
    train = ["-m", "training", "run", str(recipe), "--data", str(data), "--out", str(out), "--device", "cpu"]
    return [*train, "--threads", "1", *more]


def alone(recipe: Path, data: Path, out: Path) -> None:
    portraits = open_portraits([data], "train")
    assert train(read_recipe(recipe), out, portraits, portraits, device=torch.device("cpu"), ranks=ALONE)


def wait_for_progress(process: "subprocess.Popen[bytes]", path: Path, before: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.stat().st_mtime_ns > before:
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint was written")


def test_a_run_killed_again_and_again_ends_with_the_same_curve(prepared: Path, tmp_path: Path) -> None:
    """With SIGKILL, each time at another moment after a checkpoint; and once with SIGTERM, which saves and exits 0."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    file = recipe(tmp_path, "vqvae", steps=100)
    alone(file, prepared, tmp_path / "whole")
    torch.set_num_threads(threads)
    out = tmp_path / "killed"
    saved = out / "checkpoint.pt"
    stopped_at = []
    with (tmp_path / "log").open("wb") as log:
        for end, pause in ((signal.SIGKILL, 0.0), (signal.SIGKILL, 0.13), (signal.SIGTERM, 0.07), (None, 0.0)):
            before = saved.stat().st_mtime_ns if saved.exists() else 0
            arguments = command(file, prepared, out, "--validation", str(prepared), "--save-seconds", "0.1")
            process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log)
            if end is not None:
                wait_for_progress(process, saved, before)
                time.sleep(pause)
                process.send_signal(end)
            status = process.wait(PATIENCE)
            assert status == (-signal.SIGKILL if end == signal.SIGKILL else 0), (tmp_path / "log").read_text()
            stopped_at.append(checkpoint(out)["state"]["step"])
    assert stopped_at[-1] == 100
    assert stopped_at == sorted(stopped_at)
    assert curve(out) == curve(tmp_path / "whole")
    assert same_weights(out, tmp_path / "whole")


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_two_processes_walk_the_path_of_one(kind: str, prepared: Path, tmp_path: Path) -> None:
    file = recipe(tmp_path, kind, steps=20)
    alone(file, prepared, tmp_path / "one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, *command(file, prepared, tmp_path / "two")],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stdout
    (one,), (two,) = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-3), name
    mine, theirs = (checkpoint(tmp_path / name)["model"] for name in ("one", "two"))
    for name, weights in mine.items():
        if weights.is_floating_point() and "codebook" not in name:
            torch.testing.assert_close(theirs[name], weights, rtol=1e-2, atol=1e-3)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's unshare")
def test_a_full_disk_is_an_error_and_loses_nothing(prepared: Path, tmp_path: Path) -> None:
    """On a small file system of its own, in a name space of its own: nobody needs to be root for that."""
    disk = tmp_path / "disk"
    disk.mkdir()
    file = recipe(tmp_path, "vqvae", steps=400)
    trained = " ".join(["python", *command(file, prepared, disk / "run", "--save-seconds", "0")])
    script = f"""
        mount -t tmpfs -o size={SMALL_DISK} none {disk} || exit 99
        {trained.replace("python", sys.executable, 1)}
        status=$?
        cp {disk}/run/checkpoint.pt {tmp_path}/kept.pt
        ls {disk}/run
        exit $status
    """
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    if done.returncode in (99, 127) or "unshare" in done.stderr:
        pytest.skip(f"no name space with a file system of its own: {done.stderr}")
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "checkpoint.tmp" not in done.stdout
    kept = torch.load(tmp_path / "kept.pt", weights_only=True)
    assert kept["state"]["step"] >= 0
