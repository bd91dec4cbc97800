"""Where the models run, with the reason, and how many CPUs the process may use."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import torch


class Device(NamedTuple):
    """``cpus`` is the number of workers that make sense."""

    torch: torch.device
    reason: str
    cpus: int


def choose(wish: str) -> Device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` -> a device that works; ValueError where the wish can't be met."""
    cpus, limit = available_cpus()
    if wish == "cpu":
        return Device(torch.device("cpu"), f"asked for; {limit}", cpus)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        if count:
            return Device(torch.device("cuda:0"), f"first of {count} CUDA devices", cpus)
        build = "finds no CUDA device" if torch.version.cuda else "is a CPU build"
        return Device(torch.device("cpu"), f"torch {torch.__version__} {build}; {limit}", cpus)
    index = int(wish.partition(":")[2] or 0)
    if index >= count:
        found = f"{count} CUDA devices" if count else "no CUDA device"
        raise ValueError(f"CAMEO_DEVICE={wish} cannot be met: torch {torch.__version__} finds {found}; use auto or cpu")
    return Device(torch.device("cuda", index), "asked for", cpus)


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[int, str]:
    """CPUs of the affinity mask, less where a cgroup quota (v2 or v1) allows less; and which of them decided."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    if quota is not None and quota < affinity:
        return max(1, math.ceil(quota)), f"cgroup quota of {quota:g} CPUs"
    return affinity, f"{affinity} CPUs"


def _quota(cgroup: Path) -> float | None:
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((cgroup / "cpu/cpu.cfs_period_us").read_text())
        return limit_us / period_us if limit_us > 0 else None
    except (OSError, ValueError):
        return None
