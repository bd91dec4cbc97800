import pytest
import torch
from torch import nn

from cameo.faces.judge import installed_judge
from cameo.faces.recogniser import FrozenPReLU, Pointwise, SFace, Strided, blurred, random_crops


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


@pytest.mark.parametrize("count", [1, 3])
def test_a_convolution_of_single_pixels_is_torchs_and_so_is_its_way_back(count: int) -> None:
    conv, weight = nn.Conv2d(7, 5, 1).requires_grad_(False), torch.randn(5, 1)
    outs, gradients = [], []
    for layer in (conv, Pointwise(conv)):
        x = torch.linspace(-1, 1, count * 7 * 36).view(count, 7, 6, 6).requires_grad_()
        out = layer(x)
        (out.mean(3) * weight).sum().backward()  # a gradient of which rows share their memory
        assert x.grad is not None
        outs.append(out.detach())
        gradients.append(x.grad)
    assert torch.allclose(outs[0], outs[1], atol=1e-6)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)


def test_a_depthwise_convolution_without_its_stride_is_the_same() -> None:
    conv = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6)
    x = torch.randn(2, 6, 14, 14)
    expected = conv(x)
    conv.stride = (1, 1)
    assert torch.allclose(Strided(conv, 2)(x), expected, atol=1e-6)


def test_crops_stray_as_far_as_they_may_and_not_further() -> None:
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(random_crops(3, 0.0, generator), torch.eye(3)[:2].expand(3, 2, 3))
    crop = random_crops(1000, 0.1, generator)
    zoom = crop[:, :, :2].det().sqrt()
    assert 0.9 <= zoom.min() < 0.92
    assert 1.08 < zoom.max() <= 1.1 + 1e-6
    assert crop[:, :, 2].abs().max() <= 0.1


def test_a_crop_that_does_not_stray_shows_the_same() -> None:
    weights = installed_judge()
    assert weights is not None
    sface, x = SFace(weights), torch.rand(2, 3, 128, 128) * 2 - 1
    embedding, maps = sface.features(x, random_crops(2, 0.0, torch.Generator()))
    assert torch.allclose(embedding, sface(x), atol=1e-5)
    assert [tuple(m.shape[1:]) for m in maps] == [(128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7)]
    assert embedding.norm(dim=1).tolist() == pytest.approx([1, 1])


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
