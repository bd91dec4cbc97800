"""Perceptual distances, with networks of few channels: their shape is in the file of weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.perceptual import ALEX, LPIPS, VGG16, Conv, Perceptual

KERNELS = {VGG16: [3] * len(VGG16), ALEX: [11, 5, 3, 3, 3]}
CHANNELS = 6


def write_weights(path: Path, layout: tuple[Conv, ...], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    for i, kernel in enumerate(KERNELS[layout]):
        shape = (CHANNELS, CHANNELS if i else 3, kernel, kernel)
        arrays[f"w{i}"] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        arrays[f"b{i}"] = rng.normal(0, 0.1, CHANNELS).astype(np.float32)
    for i in range(sum(conv.seen for conv in layout)):
        arrays[f"lin{i}"] = rng.uniform(0, 1, (1, CHANNELS, 1, 1)).astype(np.float32)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture
def vgg(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "vgg.npz", VGG16)


@pytest.fixture
def alex(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "alex.npz", ALEX)


def portraits(count: int, size: int = 64) -> Tensor:
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count)) * 2 - 1
    return F.interpolate(coarse, size=size, mode="bicubic", align_corners=False).clamp(-1, 1)


def reference(path: Path, x: Tensor, y: Tensor) -> float:
    """LPIPS of two pictures as the paper's own code has it."""
    w = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)

    def features(h: Tensor) -> list[Tensor]:
        out, h = [], (h - shift) / scale
        for i, (stride, pad) in enumerate(((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))):
            h = F.max_pool2d(h, 3, 2) if i in (1, 2) else h
            h = F.relu(F.conv2d(h, w[f"w{i}"], w[f"b{i}"], stride, pad))
            out.append(h)
        return out

    total = 0.0
    for i, (p, q) in enumerate(zip(features(x[None]), features(y[None]), strict=True)):
        p, q = (t / (t.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for t in (p, q))  # noqa: PLW2901
        total += float(F.conv2d((p - q) ** 2, w[f"lin{i}"]).mean())
    return total


def test_lpips_is_the_papers(alex: Path) -> None:
    x, y = portraits(3, 128), portraits(4, 128)[:3]
    found = LPIPS(alex)(x, y)
    assert found.shape == (3,)
    assert found.tolist() == pytest.approx([reference(alex, a, b) for a, b in zip(x, y, strict=True)], abs=1e-5)


@pytest.mark.parametrize("size", [48, 64, 128])
def test_the_loss_is_zero_for_the_same_picture_and_grows_with_the_difference(vgg: Path, size: int) -> None:
    loss, x = Perceptual(vgg), portraits(2, size)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    losses = [float(loss(x + strength * noise, x)) for strength in (0.0, 0.02, 0.1, 0.5)]
    assert losses[0] == 0
    assert losses == sorted(set(losses))


def test_gradients_reach_the_reconstruction_and_nothing_else(vgg: Path) -> None:
    loss = Perceptual(vgg).train()
    out, x = (portraits(2) + 0.1).requires_grad_(), portraits(2).requires_grad_()
    loss(out, x).backward()
    assert out.grad is not None
    assert out.grad.isfinite().all()
    assert out.grad.abs().max() > 0
    assert x.grad is None
    assert not [name for name, parameter in loss.named_parameters() if parameter.requires_grad]


def test_a_step_along_the_gradient_makes_pictures_more_alike(vgg: Path) -> None:
    loss, x = Perceptual(vgg), portraits(2)
    out = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    before = loss(out, x)
    before.backward()
    assert out.grad is not None
    assert loss(out.detach() - out.grad / out.grad.norm(), x) < before


def test_black_pictures_and_half_precision_give_finite_losses(vgg: Path) -> None:
    loss, x = Perceptual(vgg), portraits(2)
    out = torch.full_like(x, -1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(out, x)
    found.backward()
    assert found.isfinite()
    assert out.grad is not None
    assert out.grad.isfinite().all()


def test_files_that_are_not_the_networks_are_refused(tmp_path: Path, alex: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m training weights"):
        Perceptual(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match="does not hold this network's weights"):
        Perceptual(alex)
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match="does not hold this network's weights"):
        LPIPS(tmp_path / "text.npz")
    alex.write_bytes(alex.read_bytes()[:2000])
    with pytest.raises(ValueError, match="does not hold this network's weights"):
        LPIPS(alex)
