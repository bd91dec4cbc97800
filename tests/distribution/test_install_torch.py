"""deploy/install_torch.py with the real pip, and indexes on this machine that have torch, or hang, or are gone."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
import venv
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "install_torch.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch has one build")


def wheel(name: str, version: str) -> tuple[str, bytes]:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        info = f"{name}-{version}.dist-info"
        archive.writestr(f"{name}.py", f"build = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"{name}-{version}-py3-none-any.whl", file.getvalue()


CPU, CUDA, RUNTIME = wheel("torch", "2.0+cpu"), wheel("torch", "2.0"), wheel("nvidia_runtime", "13.0")


@contextmanager
def server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()


@contextmanager
def index(*wheels: tuple[str, bytes]) -> Iterator[str]:
    files = dict(wheels)

    class Simple(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").rpartition("/")[2]
            wanted = [each for each in files if each.startswith(name.replace("-", "_") + "-")]
            page = "".join(f'<a href="/{each}">{each}</a>' for each in wanted).encode()
            body = files.get(name.replace("%2B", "+"), page)
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "application/octet-stream" if name in files else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with server(Simple) as url:
        yield url


@contextmanager
def silent() -> Iterator[str]:
    """Takes connections and never answers."""
    over = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def handle(self) -> None:
            over.wait()

    with server(Silent) as url:
        yield url
        over.set()


@contextmanager
def dripping() -> Iterator[str]:
    """Sends a head that never ends, a byte at a time, so that no single read takes long."""
    over = threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.2):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return

    with server(Dripping) as url:
        yield url
        over.set()


@contextmanager
def gone() -> Iterator[str]:
    with server(BaseHTTPRequestHandler) as url:
        pass
    yield url


Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Runs the script for an empty environment: (the CPU index, the plain index, variables) -> torch's version."""

    def entry(pinned: str, *wheels: tuple[str, bytes]) -> str:
        return " ".join([pinned, *(f"--hash=sha256:{hashlib.sha256(data).hexdigest()}" for _, data in wheels)]) + "\n"

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "torch.txt").write_text(entry("torch==2.0", CPU, CUDA))
    (tmp_path / "requirements" / "torch-cpu.txt").write_text(entry("torch==2.0+cpu", CPU))
    (tmp_path / "requirements" / "cuda.txt").write_text(entry("nvidia-runtime==13.0", RUNTIME))
    shutil.copy(SCRIPT, tmp_path / "deploy")

    def install(cpu: str, plain: str, gpu: bool = False, **variables: str) -> str:
        script = tmp_path / "deploy" / "install_torch.py"
        script.write_text(script.read_text().replace("https://download.pytorch.org/whl/cpu", cpu))
        tools = tmp_path / "bin"
        tools.mkdir(exist_ok=True)
        if gpu:
            (tools / "nvidia-smi").touch(0o755)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "TORCH_"))}
        env |= {"PATH": str(tools), "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": plain, "PIP_RETRIES": "0"}
        python = environment / "bin" / "python"
        done = subprocess.run(
            [sys.executable, script, python], env=env | variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        code = "from importlib.metadata import distributions as d; print(*sorted(x.version for x in d()))"
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    return install


without_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
ON_CUDA = "13.0 2.0"


@without_gpu
def test_without_a_gpu_torch_is_the_cpu_build_of_pytorchs_index(install: Install) -> None:
    with index(CPU) as cpu, index(CUDA, RUNTIME) as plain:
        assert install(cpu, plain) == "2.0+cpu"
    assert install("http://127.0.0.1:9", "http://127.0.0.1:9") == "2.0+cpu", "it is there, so nobody is asked"


@without_gpu
@pytest.mark.parametrize("unreachable", [gone, silent, dripping, index])
def test_where_that_index_cannot_be_reached_the_plain_one_serves(
    install: Install, unreachable: Callable[[], AbstractContextManager[str]]
) -> None:
    with unreachable() as cpu, index(CUDA, RUNTIME) as plain:
        assert install(cpu, plain) == ON_CUDA


@without_gpu
def test_a_cpu_build_that_pip_finds_is_preferred(install: Install) -> None:
    with gone() as cpu, index(CPU, CUDA, RUNTIME) as plain:
        assert install(cpu, plain) == "2.0+cpu"


def test_with_a_gpu_it_is_the_plain_one(install: Install) -> None:
    with index(CPU) as cpu, index(CUDA, RUNTIME) as plain:
        assert install(cpu, plain, gpu=True) == ON_CUDA


def test_one_variable_asks_for_the_plain_one(install: Install) -> None:
    with index(CPU) as cpu, index(CUDA, RUNTIME) as plain:
        assert install(cpu, plain, TORCH_INDEX="plain") == ON_CUDA


def test_one_variable_names_another_index(install: Install) -> None:
    with index(CUDA) as cpu, index(CUDA, RUNTIME) as plain, index(CPU) as mirror:
        assert install(cpu, plain, gpu=True, TORCH_INDEX=mirror + "/") == "2.0+cpu"


def test_a_file_with_another_hash_is_not_installed(install: Install) -> None:
    name, data = wheel("torch", "2.0")
    with index() as cpu, index((name, data + b"x")) as plain, pytest.raises(AssertionError, match="HASHES"):
        install(cpu, plain)
