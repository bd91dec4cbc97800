from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.quality import installed_judge
from training.recognisers import FACERES_STRIDES, FaceRes, FrozenPReLU, SFace, Strided, blurred, strayed


def test_a_frozen_prelu_is_torchs_without_the_gradient_of_its_slopes() -> None:
    slope, x, weight = torch.rand(4), torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    theirs = nn.PReLU(4)
    theirs.weight.data = slope
    gradients: list[torch.Tensor] = []
    for prelu in (theirs, FrozenPReLU(slope)):
        given = x.clone().requires_grad_()
        out = prelu(given)
        assert torch.allclose(out, theirs(x))
        (out * weight).sum().backward()
        assert given.grad is not None
        gradients.append(given.grad)
    assert torch.allclose(gradients[0], gradients[1])


def test_a_depthwise_convolution_without_its_stride_is_the_same() -> None:
    conv = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6)
    x = torch.randn(2, 6, 14, 14)
    expected = conv(x)
    conv.stride = (1, 1)
    assert torch.allclose(Strided(conv, 2)(x), expected, atol=1e-6)


def test_crops_stray_as_far_as_they_may_and_not_further() -> None:
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(strayed(3, 0.0, generator), torch.eye(3)[:2].expand(3, 2, 3))
    crop = strayed(1000, 0.1, generator)
    zoom = crop[:, :, :2].det().sqrt()
    assert 0.9 <= zoom.min() < 0.92
    assert 1.08 < zoom.max() <= 1.1 + 1e-6
    assert crop[:, :, 2].abs().max() <= 0.1


def test_a_crop_that_does_not_stray_shows_the_same() -> None:
    weights = installed_judge()
    assert weights is not None
    sface, x = SFace(weights), torch.rand(2, 3, 128, 128) * 2 - 1
    embedding, maps = sface.look(x, strayed(2, 0.0, torch.Generator()))
    assert torch.allclose(embedding, sface(x), atol=1e-5)
    assert [tuple(m.shape[1:]) for m in maps] == [(128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7)]
    assert embedding.norm(dim=1).tolist() == pytest.approx([1, 1])


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
    embedding, maps = network.look(x)
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


def test_every_picture_has_a_blur_of_its_own() -> None:
    x = torch.zeros(3, 3, 32, 32)
    x[:, :, 16, 16] = 1
    y = blurred(x, torch.tensor([0.0, 0.5, 1.5]))
    assert torch.equal(y[0], x[0])
    assert y.sum((2, 3)) == pytest.approx(1, abs=1e-5)
    at = torch.arange(32) - 16.0
    spread_B = ((y.sum(2) * at.square()).sum(2) / y.sum((2, 3))).sqrt()[:, 0]
    assert spread_B[2] == pytest.approx(1.5, rel=0.05)
    assert torch.allclose(blurred(torch.ones(3, 3, 32, 32), torch.tensor([0.0, 0.5, 1.5])), torch.ones(3, 3, 32, 32))
