"""Where the models run, with the reason."""

from typing import NamedTuple

import torch

from cameo.coder.cpus import available_cpus


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
