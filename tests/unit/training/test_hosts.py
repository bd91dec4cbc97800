"""Several hosts that train as one: they share nothing but an object store, and each other's addresses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.server import free_port
from cameo.store.bucket import Bucket
from tests.s3 import S3
from tests.unit.training.conftest import MODELS, RECIPE
from tests.unit.training.test_loop import curve
from tests.unit.training.test_processes import PATIENCE, alone
from training.data.portraits import Portraits, open_portraits
from training.remote import LATEST, RemoteRun, data_folder, run_folder

STEPS, BATCH = 40, 8
ROOT = Path(__file__).parents[3]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "vqvae.toml"
    path.write_text(RECIPE.format(kind="vqvae", model=MODELS["vqvae"]).replace("steps = 12", f"steps = {STEPS}"))
    return path


@pytest.fixture
def data_url(s3: S3, prepared: Path) -> str:
    """The data set, as any tool copies it."""
    url = s3.url("data/blobs")
    for path in prepared.iterdir():
        if path.is_file():
            Bucket(url).put(path.name, path)
    return url


@pytest.fixture
def run_url(s3: S3, tmp_path: Path) -> str:
    return s3.url(f"runs/{tmp_path.name}")


class Host:
    """A machine of its own, as far as files go: with its own cache and folder for what is temporary."""

    def __init__(self, folder: Path, samples: Path) -> None:
        self._samples, self._folder = samples, folder
        self._log = folder / "log"
        self._env = os.environ | {
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "TMPDIR": str(folder),
            "CAMEO_CACHE": str(folder / "cache"),
        }  # fmt: skip
        folder.mkdir()
        samples.mkdir(exist_ok=True)

    def train(self, words: list[str], *torchrun: str) -> "subprocess.Popen[bytes]":
        before = ["-m", "torch.distributed.run", *torchrun] if torchrun else []
        script = str(Path(__file__).with_name("recorded.py"))
        command = [sys.executable, *before, script, str(self._samples), "run", *words]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
        return self._process

    def lose(self) -> None:
        """As when the power fails: torchrun and its workers end at once."""
        self._process.kill()
        for path in self._folder.glob("*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(path.stem), signal.SIGKILL)
        self._process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


def until(holds: Callable[[], bool], hosts: list[Host]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "\n".join(host.log for host in hosts)
        time.sleep(0.05)


def batches(samples: Path) -> dict[int, list[list[int]]]:
    """By step, the rows of the batch, of each time that it was taken: from the parts of all processes, in order."""
    found: dict[tuple[int, int, str], dict[int, list[int]]] = {}
    for path in samples.iterdir():
        for line in path.read_text().splitlines():
            if line.endswith("}"):
                one = json.loads(line)
                started = path.stem.rpartition("-")[2]
                found.setdefault((one["step"], one["world"], started), {})[one["rank"]] = one["rows"]
    whole: dict[int, list[list[int]]] = {}
    for (step, world, _), parts in found.items():
        if len(parts) == world:
            whole.setdefault(step, []).append([row for rank in range(world) for row in parts[rank]])
    return whole


def test_a_run_goes_on_on_other_hosts_with_another_number_of_processes(
    s3: S3, recipe: Path, prepared: Path, data_url: str, run_url: str, tmp_path: Path
) -> None:
    """Two hosts are lost in the middle; a third one, alone, goes on with the samples that they would have taken."""
    words = [str(recipe), "--data", data_url, "--out", run_url, "--device", "cpu", "--threads", "1"]
    samples = tmp_path / "samples"
    hosts = [Host(tmp_path / name, samples) for name in ("first", "second", "third")]
    rendezvous = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test"]
    rendezvous += ["--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--local-addr", "127.0.0.1"]
    bucket = Bucket(run_url)

    def saved() -> int:
        try:
            return int(json.loads(bucket.get(LATEST, 1000)[0])["step"])
        except FileNotFoundError:
            return 0

    for number, host in enumerate(hosts[:2]):
        host.train([*words, "--save-seconds", "0"], *rendezvous, "--node-rank", str(number))
    try:
        until(lambda: saved() >= 5, hosts[:2])
    finally:
        for host in hosts[:2]:
            host.lose()
    stood_at = saved()
    assert 5 <= stood_at < STEPS
    assert "2 processes" in "".join(host.log for host in hosts[:2])

    assert hosts[2].train(words).wait(PATIENCE) == 0, hosts[2].log
    assert f"resumed at step {stood_at}" in hosts[2].log
    assert saved() == STEPS

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone(recipe, prepared, tmp_path / "whole")
    torch.set_num_threads(threads)
    expected, taken = open_portraits([prepared], "train"), batches(samples)
    for step in range(STEPS):
        assert taken[step], f"nobody took step {step}"
        assert all(rows == step_rows(expected, step) for rows in taken[step]), step
    assert {path.name[0] for path in samples.iterdir()} == {"1", "2"}, "numbers of processes"
    with run_folder(run_url) as folder:
        one, other = curve(tmp_path / "whole"), curve(folder)
    assert [row["step"] for row in one] == [row["step"] for row in other]
    for mine, theirs in zip(one, other, strict=True):
        for name in mine:
            assert float(theirs[name]) == pytest.approx(float(mine[name]), rel=1e-2), name


def step_rows(data: Portraits, step: int) -> list[int]:
    """The batch of a step, by what :meth:`Portraits.batches` promises: of seed and step alone."""
    epoch, position = divmod(step, len(data) // BATCH)
    order = np.random.default_rng([3, 0, epoch]).permutation(len(data))
    return [int(row) for row in order[position * BATCH : (position + 1) * BATCH]]


def test_data_is_copied_once_and_checked(s3: S3, data_url: str, prepared: Path) -> None:
    s3.requests()
    folder = data_folder(data_url)
    assert data_folder(data_url) == folder
    asked = s3.requests()
    assert sum(path.endswith("portraits.bin") for path in asked) == 1
    assert (folder / "portraits.bin").read_bytes() == (prepared / "portraits.bin").read_bytes()
    assert open_portraits([data_url], "train").sources == open_portraits([prepared], "train").sources


def test_data_that_is_not_there_or_not_whole_is_an_error(s3: S3, data_url: str) -> None:
    with pytest.raises(FileNotFoundError):
        open_portraits([s3.url("data/nothing")], "train")
    half = s3.url("data/half")
    Bucket(half).put("dataset.json", Bucket(data_url).get("dataset.json", 10_000)[0] + b" ")
    with pytest.raises(ValueError, match=r"data/half is damaged: index\.csv is missing"):
        open_portraits([half], "train")


def test_two_jobs_on_one_run_are_an_error(run_url: str, tmp_path: Path) -> None:
    jobs = [RemoteRun(run_url, tmp_path / name) for name in ("one", "two")]
    for number, job in enumerate(jobs):
        job.pull()
        (job.folder / "checkpoint.pt").write_bytes(b"%d" % number)
    jobs[0].push(5, False)
    with pytest.raises(ValueError, match=r"another job has saved .* at step 5: two jobs cannot train one run"):
        jobs[1].push(6, False)
    (jobs[0].folder / "checkpoint.pt").write_bytes(b"next")
    jobs[0].push(7, False)
    with run_folder(run_url) as folder:
        assert (folder / "checkpoint.pt").read_bytes() == b"next"


def test_an_outage_delays_what_is_saved(s3: S3, run_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = RemoteRun(run_url, tmp_path / "job")
    job.pull()
    (job.folder / "checkpoint.pt").write_bytes(b"first")
    job.push(1, False)
    (job.folder / "checkpoint.pt").write_bytes(b"second")
    s3.refuse(True)
    try:
        job.push(2, False)
        assert "step 2 was not saved in the object store" in caplog.text
        with pytest.raises(Exception, match="There the run stands at step 1, from which the same command goes on"):
            job.push(2, True)
    finally:
        s3.refuse(False)
    job.push(3, True)
    with run_folder(run_url) as folder:
        assert (folder / "checkpoint.pt").read_bytes() == b"second"


def test_a_damaged_checkpoint_is_not_taken(run_url: str, tmp_path: Path) -> None:
    job = RemoteRun(run_url, tmp_path / "job")
    job.pull()
    (job.folder / "checkpoint.pt").write_bytes(b"whole")
    job.push(1, True)
    bucket = Bucket(run_url)
    (name,) = [one.path for one in bucket.list() if one.path.startswith("checkpoint-")]
    bucket.put(name, b"other")
    with pytest.raises(ValueError, match=f"{name} is damaged: it does not have its digest"):
        RemoteRun(run_url, tmp_path / "again").pull()
