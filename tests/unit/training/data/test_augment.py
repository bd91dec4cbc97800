from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from torch import Tensor

from tests.unit.training.conftest import picture
from training.data.augment import COLUMNS, Parameters, apply, draw
from training.recipe import Augment

OFF: dict[str, float] = {"flip": 0, "translation": 0}
ALL = Augment(
    flip=0.5, brightness=0.2, contrast=0.3, sharpness=0.5, saturation=0.2, rotation=5, noise=0.02, translation=4,
    blur=1, zoom=0.9,
)  # fmt: skip
STORED_BHWC = torch.from_numpy(np.stack([np.asarray(picture(seed)) for seed in range(6)]))


def chosen(value: float, count: int = 1, /, **strengths: float) -> Parameters:
    """Parameters with every random number at ``value``: 0 is one end of what a strength allows, near 1 the other."""
    strength = Augment.model_validate(OFF | strengths)
    return Parameters(strength, torch.full((count, len(COLUMNS)), value), torch.arange(count))


def drawn(seed: int, count: int = 6, /, **strengths: float) -> Parameters:
    return draw(count, Augment.model_validate(OFF | strengths), torch.Generator().manual_seed(seed))


def centre(size: int, dx: int = 0, dy: int = 0) -> Tensor:
    x_BCHW = STORED_BHWC[:, 8 + dy : 136 + dy, 8 + dx : 136 + dx].permute(0, 3, 1, 2).float()
    return F.avg_pool2d(x_BCHW, 128 // size)


@pytest.mark.parametrize("size", [64, 128])
def test_all_off_is_the_centre_to_the_bit(size: int) -> None:
    out_BCHW = apply(STORED_BHWC.numpy(), size, drawn(0))
    assert out_BCHW.dtype == torch.float32
    assert out_BCHW.is_contiguous()
    assert torch.equal(out_BCHW, centre(size))


@pytest.mark.parametrize("size", [64, 128])
def test_flip_and_translation_are_a_crop_to_the_bit(size: int) -> None:
    assert torch.equal(apply(STORED_BHWC, size, chosen(0, 6, translation=8)), centre(size, -8, -8))
    assert torch.equal(apply(STORED_BHWC, size, chosen(0.9999, 6, translation=8)), centre(size, 8, 8))
    assert torch.equal(apply(STORED_BHWC, size, chosen(0, 6, flip=1, translation=3)), centre(size, -3, -3).flip(3))


def test_translation_reaches_all_its_pixels_and_flip_half_of_the_pictures() -> None:
    ramp_NHWC = torch.arange(144, dtype=torch.uint8)[None, None, :, None].expand(400, 144, 144, 3)
    out_BCHW = apply(ramp_NHWC, 128, drawn(1, 400, flip=0.5, translation=2))
    flipped_B = out_BCHW[:, 0, 0, 0] > out_BCHW[:, 0, 0, -1]
    assert 150 < int(flipped_B.sum()) < 250
    assert set(out_BCHW.amin((1, 2, 3)).tolist()) == {6, 7, 8, 9, 10}


@pytest.mark.parametrize("size", [64, 128])
def test_a_resampling_that_moves_nothing_is_the_crop(size: int) -> None:
    slight = drawn(2, flip=0.5, translation=8, rotation=1e-4)
    exact = Parameters(slight.strength.model_copy(update={"rotation": 0}), slight.uniform_BN, slight.seed_B)
    assert 0 < int((slight.column("flip") < 0.5).sum()) < 6
    assert torch.allclose(apply(STORED_BHWC, size, slight), apply(STORED_BHWC, size, exact), atol=0.02)


@pytest.mark.parametrize("size", [64, 128])
def test_rotation_is_that_of_pillow(size: int) -> None:
    out_BCHW = apply(STORED_BHWC, size, chosen(0, 6, rotation=5))
    for out_CHW, stored_HWC in zip(out_BCHW, STORED_BHWC, strict=True):
        turned = Image.fromarray(stored_HWC.numpy()).rotate(-5, Image.Resampling.BICUBIC)
        assert_near(out_CHW, np.asarray(turned)[8:136, 8:136], size, tolerance=3)


@pytest.mark.parametrize("size", [64, 128])
def test_zoom_enlarges_the_middle(size: int) -> None:
    out_BCHW = apply(STORED_BHWC, size, chosen(1, 6, zoom=0.875))
    for out_CHW, stored_HWC in zip(out_BCHW, STORED_BHWC, strict=True):
        middle = Image.fromarray(stored_HWC.numpy()[16:128, 16:128])
        assert_near(out_CHW, np.asarray(middle.resize((128, 128), Image.Resampling.BICUBIC)), size, tolerance=3)
    assert torch.allclose(apply(STORED_BHWC, size, chosen(0, 6, zoom=0.875)), centre(size), atol=0.01)


def test_past_the_margin_the_outermost_pixels_repeat() -> None:
    grey_NHWC = torch.full((1, 144, 144, 3), 200, dtype=torch.uint8)
    assert torch.allclose(apply(grey_NHWC, 128, chosen(1, rotation=45, translation=8)), torch.tensor(200.0), atol=0.01)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize(
    ("name", "enhance", "strength"),
    [
        ("brightness", ImageEnhance.Brightness, 0.2),
        ("contrast", ImageEnhance.Contrast, 0.3),
        ("sharpness", ImageEnhance.Sharpness, 0.5),
        ("saturation", ImageEnhance.Color, 0.2),
    ],
)
def test_four_are_those_of_pillow(
    name: str, enhance: Callable[[Image.Image], ImageEnhance._Enhance], strength: float, end: int
) -> None:
    grain = np.random.default_rng(0).integers(0, 16, STORED_BHWC.shape, np.uint8)  # something to sharpen
    stored_BHWC = STORED_BHWC ^ torch.from_numpy(grain)
    out_BCHW = apply(stored_BHWC, 128, chosen(end, 6, **{name: strength}))
    assert not torch.allclose(out_BCHW, centre(128), atol=2)
    for out_CHW, stored_HWC in zip(out_BCHW, stored_BHWC, strict=True):
        before = Image.fromarray(stored_HWC.numpy()[8:136, 8:136])
        after = np.asarray(enhance(before).enhance(1 + strength * (2 * end - 1)))
        # Pillow cuts decimals off, rounds the grey that it blends with, and does not sharpen the outermost pixels.
        assert_near(out_CHW[:, 1:-1, 1:-1], after[1:-1, 1:-1], 126, tolerance=1.2)


def test_blur_is_gaussian_and_scales_with_the_picture() -> None:
    dot_NHWC = torch.zeros(1, 144, 144, 3, dtype=torch.uint8)
    dot_NHWC[:, 72:74, 72:74] = 255  # one pixel of 64
    for size, sigma in ((128, 2.0), (64, 1.0)):
        place_W = torch.arange(size) - (64.5 if size == 128 else 32)
        out_CHW = apply(dot_NHWC, size, chosen(1, blur=2.0))[0]
        weight_W = out_CHW[0].sum(0) / out_CHW[0].sum()
        assert float((weight_W * place_W).sum()) == pytest.approx(0, abs=1e-3)
        spread = 0.25 if size == 128 else 0  # of the dot itself, which is two pixels wide there
        assert float((weight_W * place_W**2).sum()) == pytest.approx(sigma**2 + spread, rel=0.05)
        assert out_CHW.sum() == pytest.approx(3 * 255 * (size / 64) ** 2, rel=1e-3)


def test_blur_and_sharpness_together_are_one_after_the_other() -> None:
    both_BCHW = apply(STORED_BHWC, 128, chosen(1, 6, blur=1, sharpness=0.5))
    blurred_BHWC = apply(STORED_BHWC, 128, chosen(1, 6, blur=1)).permute(0, 2, 3, 1).round().to(torch.uint8)
    padded_BHWC = F.pad(blurred_BHWC, (0, 0, 8, 8, 8, 8))
    after_BCHW = apply(padded_BHWC, 128, chosen(1, 6, sharpness=0.5))
    assert (both_BCHW - after_BCHW)[:, :, 2:-2, 2:-2].abs().max() < 1.5


def test_noise_has_the_strength_and_a_seed_for_each_picture() -> None:
    grey_NHWC = torch.full((3, 144, 144, 3), 128, dtype=torch.uint8)
    parameters = chosen(1, 3, noise=0.05)
    out_BCHW = apply(grey_NHWC, 128, parameters)
    assert (out_BCHW - 128).std().item() == pytest.approx(0.05 * 255, rel=0.02)
    assert (out_BCHW - 128).mean().item() == pytest.approx(0, abs=0.2)
    assert torch.equal(out_BCHW, apply(grey_NHWC, 128, parameters))
    a, b, c = (noise_CHW.flatten() for noise_CHW in out_BCHW)
    for pair in ((a, b), (b, c)):
        assert torch.corrcoef(torch.stack(pair))[0, 1].abs() < 0.03


@pytest.mark.parametrize("size", [64, 128])
def test_slices_make_what_the_batch_makes(size: int) -> None:
    parameters = draw(6, ALL, torch.Generator().manual_seed(7))
    assert len(parameters) == 6
    whole_BCHW = apply(STORED_BHWC, size, parameters)
    for rank in range(2):
        part = slice(rank, None, 2)
        assert len(parameters[part]) == 3
        assert torch.allclose(apply(STORED_BHWC[part], size, parameters[part]), whole_BCHW[part], atol=1e-3)


@pytest.mark.parametrize("name", list(Augment.model_fields))
def test_switching_one_off_leaves_the_draws_of_the_rest(name: str) -> None:
    off = 1 if name == "zoom" else 0
    some = draw(4, ALL, torch.Generator().manual_seed(5))
    fewer = draw(4, ALL.model_copy(update={name: off}), torch.Generator().manual_seed(5))
    assert torch.equal(some.uniform_BN, fewer.uniform_BN)
    assert torch.equal(some.seed_B, fewer.seed_B)
    stored_BHWC = STORED_BHWC[:4]
    assert not torch.allclose(apply(stored_BHWC, 64, some), apply(stored_BHWC, 64, fewer), atol=0.5)


def test_pictures_differ_from_seed_to_seed_and_stay_in_range() -> None:
    extreme = Augment(brightness=1, contrast=1, sharpness=1, saturation=1, rotation=45, noise=0.5, blur=4, zoom=0.5)
    first, second = (apply(STORED_BHWC, 64, draw(6, extreme, torch.Generator().manual_seed(seed))) for seed in (1, 2))
    assert not torch.allclose(first, second, atol=5)
    assert first.isfinite().all()
    assert first.amin() == 0
    assert first.amax() == 255


def assert_near(out_CHW: Tensor, expected_HWC: np.ndarray, size: int, tolerance: float) -> None:
    expected_CHW = torch.from_numpy(expected_HWC.copy()).permute(2, 0, 1).float()
    expected_CHW = F.avg_pool2d(expected_CHW, expected_CHW.shape[1] // size)
    assert (out_CHW - expected_CHW).abs().max() <= tolerance
