"""Installs torch in the build that this machine needs: ``python deploy/install_torch.py [PYTHON]``.

PYTHON is the interpreter of the environment that torch goes into; by default the one that runs this file.

On Linux the package index's build of torch is the one for CUDA: gigabytes that a machine without an NVIDIA GPU cannot
use. There this takes the CPU build, from PyTorch's own index. Where that does not answer within 3 seconds, it takes
the CPU build from where pip is configured to look, if it is there, and else the build that is.

The variable TORCH_INDEX names another index, with a GPU too; or it is ``plain``: the build of the index that pip is
configured for. Every file must have a hash of requirements/torch.txt. Nothing happens where torch of that version is
installed, in any build, so install another one, such as that for an older CUDA, before.
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
CPU = REQUIREMENTS / "torch-cpu.txt"  # the same version, but the CPU build or none


def main() -> None:
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    pinned = re.search(r"^torch==(\S+)", TORCH.read_text(), re.MULTILINE)
    assert pinned
    if installed(python).partition("+")[0] == pinned[1]:
        return
    named = os.environ.get("TORCH_INDEX", "")
    if named == "plain" or (not named and (sys.platform != "linux" or has_gpu())):
        plain(python)
        return
    index, build = (named.rstrip("/"), TORCH) if named else (CPU_INDEX, CPU)
    if answers(index) and pip(python, build, "--index-url", index):
        return
    print(f"install_torch: torch {pinned[1]} is not to be had from {index}; looking where pip does", flush=True)
    if named or not pip(python, CPU, quiet=True):
        plain(python)


def plain(python: str) -> None:
    """The build that pip's index has, and what it needs beside it."""
    # A CPU build, which an index may have, too, says so in its version.
    if not pip(python, TORCH) or ("+cpu" not in installed(python) and not pip(python, CUDA)):
        sys.exit("install_torch: pip could not install torch, see above")


def has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def answers(index: str) -> bool:
    """Whether the index has a page about torch, and begins to send it within PATIENCE."""
    if not index.startswith(("http://", "https://")):
        return True  # a folder, which pip reads
    found = threading.Event()

    def ask() -> None:
        context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
        try:  # of http and https alone, see above
            urllib.request.urlopen(f"{index}/torch/", timeout=PATIENCE, context=context).close()  # noqa: S310
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


def pip(python: str, requirements: Path, *options: str, quiet: bool = False) -> bool:
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--require-hashes"]
    done = subprocess.run([*command, "-r", str(requirements), *options], check=False, capture_output=quiet)
    return done.returncode == 0


if __name__ == "__main__":
    main()
