"""Installs torch in the build that this machine needs: ``python deploy/install_torch.py [PYTHON]``.

PYTHON is the interpreter of the environment that torch goes into; by default the one that runs this file.

On Linux the package index's build of torch is the one for CUDA: gigabytes that a machine without an NVIDIA GPU cannot
use. There this takes the CPU build from PyTorch's own index. The variable TORCH_INDEX names another index, which is
then taken with a GPU too, or is ``plain``: torch from the index that pip is configured for, as it comes.

Where the index does not answer within 3 seconds, or pip cannot take torch from it, the plain one serves. Every file
must have a hash of requirements/torch.txt. Nothing happens where torch of that version is installed, in any build.
"""

import http.client
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PATIENCE = 3.0  # seconds until an index counts as unreachable
REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
TORCH, CUDA = REQUIREMENTS / "torch.txt", REQUIREMENTS / "cuda.txt"


def main() -> None:
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    pinned = re.search(r"^torch==(\S+)", TORCH.read_text(), re.MULTILINE)
    assert pinned
    if installed(python).partition("+")[0] == pinned[1]:
        return
    index = wanted_index()
    if index and not (answers(index) and pip(python, TORCH, "--index-url", index)):
        print(f"install_torch: torch {pinned[1]} is not to be had from {index}; taking the plain one", flush=True)
        index = None
    if not index:
        if not pip(python, TORCH):
            sys.exit(f"install_torch: pip could not install torch {pinned[1]}")
        # What the CUDA build runs on. A plain index may also give a CPU build, which says so in its version.
        if "+cpu" not in installed(python) and not pip(python, CUDA):
            sys.exit(f"install_torch: pip could not install {CUDA}")


def wanted_index() -> str | None:
    """The index that torch should come from; None for the one that pip is configured for."""
    named = os.environ.get("TORCH_INDEX")
    if named:
        return None if named == "plain" else named.rstrip("/")
    return CPU_INDEX if sys.platform == "linux" and not has_gpu() else None


def has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def answers(index: str) -> bool:
    """Whether the index has a page about torch, and begins to send it within PATIENCE."""
    if not index.startswith(("http://", "https://")):
        return True  # a folder, which pip reads
    found = threading.Event()

    def ask() -> None:
        context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
        try:
            urllib.request.urlopen(f"{index}/torch/", timeout=PATIENCE, context=context).close()
        except (OSError, ValueError, http.client.HTTPException):
            return
        found.set()

    # In a thread, for the timeout above covers neither the name's lookup nor an answer that comes byte by byte.
    threading.Thread(target=ask, daemon=True).start()
    return found.wait(PATIENCE)


def installed(python: str) -> str:
    """The version of torch in the environment, with its build; empty where there is none."""
    code = "from importlib.metadata import distributions as d; print(*(x.version for x in d(name='torch')))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def pip(python: str, requirements: Path, *options: str) -> bool:
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--require-hashes"]
    return subprocess.run([*command, "--requirement", str(requirements), *options], check=False).returncode == 0


if __name__ == "__main__":
    main()
