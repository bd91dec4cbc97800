from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.faceres import FACERES_STRIDES, FaceRes


def faceres_file(folder: Path, channels: int = 4) -> Path:
    """A file like FaceRes's, with few channels."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for i in range(len(FACERES_STRIDES)):
        shape = (channels, 3, 3, 3) if i == 0 else (channels, 1, 3, 3) if i % 2 else (channels, channels, 1, 1)
        arrays[f"w{i}"] = rng.normal(size=shape).astype(np.float32)
        arrays[f"b{i}"] = rng.normal(size=channels).astype(np.float32)
    np.savez(folder / "faceres.npz", **arrays)  # type: ignore[arg-type]
    return folder / "faceres.npz"


def test_faceres_moves_as_tensorflow_does(tmp_path: Path) -> None:
    path = faceres_file(tmp_path)
    network, x = FaceRes(path), torch.rand(2, 3, 128, 128) * 2 - 1
    embedding, maps = network.features(x)
    h = F.grid_sample(
        x, F.affine_grid(network.theta.expand(2, 2, 3), [2, 3, 160, 160], align_corners=False), align_corners=False
    )
    h = (h.flip(1) + 1) * 127.5 - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    with np.load(path) as arrays:
        for i, stride in enumerate(FACERES_STRIDES):
            w, b = (torch.from_numpy(arrays[f"{kind}{i}"]) for kind in "wb")
            # "SAME": what is lacking to a multiple of the stride, half before and the rest behind.
            lacks = (-(-h.shape[2] // stride) - 1) * stride + w.shape[2] - h.shape[2]
            before, behind = lacks // 2, lacks - lacks // 2
            h = F.conv2d(F.pad(h, (before, behind, before, behind)), w, b, stride, groups=4 if i % 2 else 1)
            h = h.clamp(0, 6)
    assert torch.allclose(embedding, F.normalize(h.mean((2, 3)), dim=1), atol=1e-4)
    assert [m.shape[2] for m in maps] == [80, 40, 20, 10, 5]


def test_another_file_is_not_faceres(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", w0=np.zeros(3))
    with pytest.raises(ValueError, match="python -m training weights"):
        FaceRes(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match="python -m training weights"):
        FaceRes(tmp_path / "missing.npz")
