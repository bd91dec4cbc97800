"""Writes requirements/*.txt, which say what is installed, by version and hash: ``make lock``.

Each file serves every platform and every Python of pyproject.toml, and they agree with each other. Torch is in files
of its own, for it comes in two builds, of which deploy/install_torch.py chooses one: torch.txt has the hashes of both,
torch-cpu.txt those of one, and cuda.txt is what the other runs on. The other files leave torch out, so they are
installed with ``--no-deps``.
"""

import re
import subprocess
import tomllib
import urllib.request

from deploy.install_torch import CPU, CPU_INDEX, REQUIREMENTS

ROOT = REQUIREMENTS.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# File -> extras of the project, or requirements of its own. ``bench`` is the widest: the others take its versions.
LOCKS = {
    "bench": ["dev", "bench"],
    "dev": ["dev"],
    "serve": ["serve", "objects"],
    "training": ["training", "objects"],
    "ray": ["serve", "ray"],
    "build": PROJECT["build-system"]["requires"],
    "sbom": ["cyclonedx-bom==7.5.0"],  # writes what the image holds as CycloneDX
}
HASH = re.compile("sha256:[0-9a-f]{64}")
HEADER = "# Written by `make lock`; change pyproject.toml instead.\n"
ENTRY = re.compile(r"^([a-z0-9-]+)==(?:.*\\\n)*.*\n", re.MULTILINE)  # a requirement and its hashes


def main() -> None:
    REQUIREMENTS.mkdir(exist_ok=True)
    torch = next(each for each in PROJECT["project"]["dependencies"] if each.startswith("torch=="))
    everything = entries(resolve(LOCKS["bench"]))
    for_cuda = {name for name in everything if re.match(r"nvidia-|cuda-|triton$", name)}
    for name, wanted in LOCKS.items():
        locked = entries(resolve(wanted, everything))
        write(name, {each: text for each, text in locked.items() if each not in for_cuda | {"torch"}})
    write("cuda", {name: everything[name] for name in for_cuda})
    of_cpu = cpu_hashes(torch)
    write_torch("torch", torch, {*HASH.findall(everything["torch"]), *of_cpu})
    write_torch("torch-cpu", f"{torch}+cpu", set(of_cpu))


def resolve(wanted: list[str], constraints: dict[str, str] | None = None) -> str:
    """What has to be installed for extras, or for requirements, as a requirements file."""
    requires = PROJECT["project"]["requires-python"].removeprefix(">=")
    options = ["--universal", "--python-version", requires, "--generate-hashes", "--no-annotate", "--no-header", "-q"]
    if "==" in wanted[0]:
        source, given = ["-"], "\n".join(wanted)
    else:
        source, given = ["pyproject.toml", *(f"--extra={extra}" for extra in wanted)], None
    if constraints:
        path = REQUIREMENTS / "constraints.tmp"
        path.write_text("".join(constraints.values()))
        options += ["--constraints", str(path)]
    command = ["uv", "pip", "compile", *options, *source]
    done = subprocess.run(command, cwd=ROOT, input=given, check=True, stdout=subprocess.PIPE, text=True)
    if constraints:
        path.unlink()
    return done.stdout


def entries(text: str) -> dict[str, str]:
    """A requirements file by the names of its packages; one that differs by platform has all its lines."""
    found: dict[str, str] = {}
    for entry in ENTRY.finditer(text):
        found[entry[1]] = found.get(entry[1], "") + entry[0]
    return found


def cpu_hashes(torch: str) -> list[str]:
    """Those that PyTorch's index gives; without it, those in the file, if they are of this version."""
    version = re.escape(torch.partition("==")[2])
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=10) as answer:  # noqa: S310 - it is https
            page = answer.read().decode()
    except OSError as error:
        before = CPU.read_text() if CPU.exists() else ""
        if f"{torch}+cpu " not in before:
            raise SystemExit(f"lock: no hashes of {torch}: {CPU_INDEX} does not answer ({error})") from error
        return HASH.findall(before)
    return [f"sha256:{each}" for each in re.findall(rf"/torch-{version}%2Bcpu-[^#]*#sha256=([0-9a-f]+)", page)]


def write(name: str, locked: dict[str, str]) -> None:
    (REQUIREMENTS / f"{name}.txt").write_text(HEADER + "".join(locked[each] for each in sorted(locked)))


def write_torch(name: str, pinned: str, hashes: set[str]) -> None:
    write(name, {"torch": " \\\n    ".join([pinned, *(f"--hash={each}" for each in sorted(hashes))]) + "\n"})


if __name__ == "__main__":
    main()
