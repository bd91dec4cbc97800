import os
from pathlib import Path

import pytest
import torch

from cameo.coder.cpus import available_cpus
from cameo.coder.device import choose

V1_QUOTA, V1_PERIOD = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("files", "cpus", "reason"),
    [
        ({"cpu.max": "200000 100000\n"}, 2, "cgroup quota of 2 CPUs"),
        ({"cpu.max": "250000 100000\n"}, 3, "cgroup quota of 2.5 CPUs"),
        ({"cpu.max": "10000 100000\n"}, 1, "cgroup quota of 0.1 CPUs"),
        ({"cpu.max": "800000 100000\n"}, 8, "8 CPUs"),
        ({"cpu.max": "9900000 100000\n"}, 8, "8 CPUs"),
        ({"cpu.max": "max 100000\n"}, 8, "8 CPUs"),
        ({"cpu.max": "nonsense\n"}, 8, "8 CPUs"),
        ({V1_QUOTA: "150000\n", V1_PERIOD: "100000\n"}, 2, "cgroup quota of 1.5 CPUs"),
        ({V1_QUOTA: "-1\n", V1_PERIOD: "100000\n"}, 8, "8 CPUs"),
        ({V1_QUOTA: "150000\n"}, 8, "8 CPUs"),
        ({}, 8, "8 CPUs"),
    ],
)
def test_the_quota_counts_where_it_is_less(tmp_path: Path, files: dict[str, str], cpus: int, reason: str) -> None:
    assert available_cpus(put(tmp_path, files)) == (cpus, reason)


def test_the_affinity_mask_counts_where_it_is_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert available_cpus(put(tmp_path, {"cpu.max": "400000 100000"})) == (1, "1 CPUs")


@pytest.fixture
def cuda_devices(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)


@pytest.mark.parametrize(
    ("cuda_devices", "wish", "device", "reason"),
    [
        (0, "auto", "cpu", "torch "),
        (0, "cpu", "cpu", "asked for"),
        (2, "auto", "cuda:0", "first of 2 CUDA devices"),
        (2, "cpu", "cpu", "asked for"),
        (2, "cuda", "cuda:0", "asked for"),
        (2, "cuda:1", "cuda:1", "asked for"),
    ],
    indirect=["cuda_devices"],
)
@pytest.mark.usefixtures("cuda_devices")
def test_a_wish_that_can_be_met(wish: str, device: str, reason: str) -> None:
    chosen = choose(wish)
    assert str(chosen.torch) == device
    assert chosen.reason.startswith(reason)
    assert chosen.cpus == available_cpus()[0]


@pytest.mark.parametrize(
    ("cuda_devices", "wish", "found"),
    [(0, "cuda", "no CUDA device"), (0, "cuda:0", "no CUDA device"), (2, "cuda:2", "2 CUDA devices")],
    indirect=["cuda_devices"],
)
@pytest.mark.usefixtures("cuda_devices")
def test_a_wish_that_cannot_be_met(wish: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"^CAMEO_DEVICE={wish} cannot be met: .* finds {found}; use auto or cpu$"):
        choose(wish)
