"""Ten augmentations of a batch of portraits, in torch, on any device. Their strengths are a recipe's ``Augment``.

B pictures, H x W pixels. ``draw`` makes the random numbers of a whole batch, ``apply`` uses them, or a slice of them:
so several processes that draw from the same seed and take a slice each make together what one makes alone. Every
augmentation has its own column of numbers, drawn whether it is on or off, so that switching one does not move the rest.

Geometry first: flip, rotation, zoom and translation are one resampling of the stored record, whose margin shows what a
shift or a turn brings in; past the margin the outermost pixels repeat, as in the service's own framing. With flip and
translation alone it is a crop, to the bit. A zoom of 0.9 shows from all of the portrait's width down to 90% of it, so
the face is up to 1.11 times as large, about the middle: what a framing with landmarks too close together gives. Faces
are never made smaller: the margin is there for shifts.

Then, at the model's size: blur and sharpness, one convolution; brightness, contrast and saturation, one matrix product;
noise. All are linear, so values are clipped once, at the end. Those that Pillow's ``ImageEnhance`` has are as there.

The augmented picture is input and target alike: an autoencoder learns to code what it is given. So of some, strengths
are to be chosen with care:

- rotation, zoom, translation: the service aligns faces, and what stays in its place costs no bits. A few pixels and
  degrees stand for the landmarks' errors; more teaches the model faces that it will never be given.
- blur and sharpness: the model also sees soft and over-sharp photos, and keeps them so. It does not learn to deblur.
- noise: nothing can predict it, so the loss cannot fall below its variance, and bits go into drawing what can be drawn
  of it. A little keeps a codec calm with grainy photos; more is paid for in faces.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.recipe import Augment

PORTRAIT: Final = 128  # px, the side of the canonical portrait in the middle of a stored record
BLOCK: Final = 16  # pictures at once: what stays in a CPU's cache
COLUMNS: Final = ("flip", "brightness", "contrast", "sharpness", "saturation", "rotation", "noise", "shift_x",
                  "shift_y", "blur", "zoom")  # fmt: skip
GREY: Final = (0.299, 0.587, 0.114)  # ITU-R 601-2, as in Pillow


@dataclass(frozen=True, eq=False)
class Parameters:
    """What happens to each picture of a batch. Always on the CPU."""

    strength: Augment
    uniform_BN: Tensor
    """In [0, 1), a column for each of ``COLUMNS``."""
    seed_B: Tensor
    """Of the pixels' noise."""

    def __len__(self) -> int:
        return len(self.seed_B)

    def __getitem__(self, part: slice) -> "Parameters":
        return Parameters(self.strength, self.uniform_BN[part], self.seed_B[part])

    def column(self, name: str) -> Tensor:
        return self.uniform_BN[:, COLUMNS.index(name)]

    def factor(self, name: str) -> Tensor:
        """Uniform in [1 - strength, 1 + strength]."""
        strength: float = getattr(self.strength, name)
        return 1 + strength * (2 * self.column(name) - 1)


def draw(count: int, strength: Augment, generator: torch.Generator) -> Parameters:
    """Parameters of ``count`` pictures, from a generator of the CPU."""
    uniform_BN = torch.rand(count, len(COLUMNS), generator=generator)
    return Parameters(strength, uniform_BN, torch.randint(2**63 - 1, (count,), generator=generator))


def apply(stored_NHWC: NDArray[np.uint8] | Tensor, size: int, parameters: Parameters) -> Tensor:
    """Stored records, uint8, to portraits of ``size`` pixels: floats in [0, 255], pixels_BCHW, on the records' device.

    The same parameters give the same pictures, however a batch is sliced; the noise differs between CPU and GPU.
    """
    stored_BHWC = torch.as_tensor(stored_NHWC)
    out_BCHW = torch.empty(len(parameters), 3, size, size, device=stored_BHWC.device)
    for start in range(0, len(parameters), BLOCK):
        block = slice(start, start + BLOCK)
        x_BCHW = _augmented(stored_BHWC[block], size, parameters[block])
        torch.clamp(x_BCHW, 0, 255, out=out_BCHW[block])
    return out_BCHW


def _augmented(stored_BHWC: Tensor, size: int, parameters: Parameters) -> Tensor:
    """Not clipped yet."""
    strength = parameters.strength
    x_BCHW = _place(stored_BHWC, size, parameters)
    if strength.blur or strength.sharpness:
        x_BCHW = _filter(x_BCHW, parameters)
    if strength.brightness or strength.contrast or strength.saturation:
        x_BCHW = _colour(x_BCHW, parameters)
    if strength.noise:
        x_BCHW = _noise(x_BCHW, parameters)
    return x_BCHW


def _place(stored_BHWC: Tensor, size: int, parameters: Parameters) -> Tensor:
    """Flip, rotation, zoom and translation: the canonical portrait out of the record, pixels_BCHW."""
    strength = parameters.strength
    flip_B = parameters.column("flip") < strength.flip
    choices = 2 * strength.translation + 1
    shift_B2 = torch.stack([parameters.column(name) for name in ("shift_x", "shift_y")], 1)
    shift_B2 = (shift_B2 * choices).floor().clamp(max=choices - 1) - strength.translation
    if strength.rotation or strength.zoom < 1:
        angle_B = math.radians(strength.rotation) * (2 * parameters.column("rotation") - 1)
        field_B = 1 - (1 - strength.zoom) * parameters.column("zoom")
        return _resample(stored_BHWC, size, flip_B, angle_B, field_B, shift_B2)
    margin = (stored_BHWC.shape[1] - PORTRAIT) // 2
    crops = []
    for record_HWC, flip, shift in zip(stored_BHWC, flip_B.tolist(), shift_B2.int().tolist(), strict=True):
        left, top = margin + shift[0], margin + shift[1]
        crop_HWC = record_HWC[top : top + PORTRAIT, left : left + PORTRAIT]
        crops.append(crop_HWC.flip(1) if flip else crop_HWC)
    x_BCHW = _floats(torch.stack(crops))
    return x_BCHW if size == PORTRAIT else _halve(x_BCHW, step=2)


def _resample(
    stored_BHWC: Tensor, size: int, flip_B: Tensor, angle_B: Tensor, field_B: Tensor, shift_B2: Tensor
) -> Tensor:
    """Bicubic: turns by up to 5 degrees take 15% of the energy of the portraits' Laplacian, bilinear ones 40%.

    For 64 pixels the record is averaged over every 2 x 2 pixels first and then sampled at 64 x 64 places, which is a
    quarter of the work of sampling at 128 x 128 and averaging, and differs by the turn of the 2 x 2 squares alone.
    """
    x_BCHW = _floats(stored_BHWC)
    if size < PORTRAIT:
        x_BCHW = _halve(x_BCHW, step=1)
    cos_B, sin_B = field_B * angle_B.cos(), field_B * angle_B.sin()
    mirror_B = torch.where(flip_B, -1.0, 1.0)
    x_B, y_B = shift_B2.T
    matrix_B23 = torch.stack([mirror_B * cos_B, -sin_B, x_B, mirror_B * sin_B, cos_B, y_B], 1).view(-1, 2, 3)
    matrix_B23 = matrix_B23.to(x_BCHW.device) * (2 / x_BCHW.shape[-1])
    place_W = (torch.arange(size, device=x_BCHW.device) - (size - 1) / 2) * (PORTRAIT / size)
    across_BW2 = place_W[:, None] * matrix_B23[:, None, :, 0] + matrix_B23[:, None, :, 2]
    down_BH2 = place_W[:, None] * matrix_B23[:, None, :, 1]
    grid_BHW2 = across_BW2[:, None] + down_BH2[:, :, None]
    return F.grid_sample(x_BCHW, grid_BHW2, mode="bicubic", padding_mode="border", align_corners=False)


def _floats(x_BHWC: Tensor) -> Tensor:
    return x_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)


def _halve(x_BCHW: Tensor, step: int) -> Tensor:
    """Means of 2 x 2 pixels, ``step`` apart. Several times faster than ``avg_pool2d`` on a CPU."""
    end = x_BCHW.shape[-1] - 1
    x_BCHW = x_BCHW[:, :, :end:step] + x_BCHW[:, :, 1::step]
    return (x_BCHW[..., :end:step] + x_BCHW[..., 1::step]).mul_(0.25)


def _filter(x_BCHW: Tensor, parameters: Parameters) -> Tensor:
    """Blur and sharpness as one kernel a picture. Past the edge the outermost pixels repeat."""
    batch, channels, size, _ = x_BCHW.shape
    scale = size / PORTRAIT
    radius = math.ceil(3 * parameters.strength.blur * scale)
    offset_K = torch.arange(-radius, radius + 1)
    sigma_B = (parameters.strength.blur * scale * parameters.column("blur")).clamp(min=1e-3)
    blur_BK = (-0.5 * (offset_K / sigma_B[:, None]).square()).exp()
    blur_BK = F.pad(blur_BK / blur_BK.sum(1, keepdim=True), (1, 1))
    wide_BK = F.avg_pool1d(F.pad(blur_BK, (1, 1)), 3, 1) * 3
    # Pillow's smooth picture is (4 * picture + sum of 3 x 3 pixels) / 13.
    factor_B11 = parameters.factor("sharpness")[:, None, None]
    kernel_BKK = (factor_B11 + (1 - factor_B11) * 4 / 13) * blur_BK[:, :, None] * blur_BK[:, None, :]
    kernel_BKK += (1 - factor_B11) / 13 * wide_BK[:, :, None] * wide_BK[:, None, :]
    kernel_GKK = kernel_BKK.to(x_BCHW.device).repeat_interleave(channels, 0)
    reach = radius + 1
    x_1GHW = F.pad(x_BCHW, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)[None]
    return F.conv2d(x_1GHW, kernel_GKK[:, None], groups=batch * channels).view_as(x_BCHW)


def _colour(x_BCHW: Tensor, parameters: Parameters) -> Tensor:
    """Brightness towards black, contrast towards the mean grey, saturation towards grey: y = M x + offset."""
    grey_3 = torch.tensor(GREY)
    brightness_B, contrast_B, saturation_B = map(parameters.factor, ("brightness", "contrast", "saturation"))
    matrix_B33 = saturation_B[:, None, None] * torch.eye(3) + (1 - saturation_B)[:, None, None] * grey_3
    matrix_B33 = matrix_B33 * (brightness_B * contrast_B)[:, None, None]
    device = x_BCHW.device
    offset_B = ((1 - contrast_B) * brightness_B).to(device) * (x_BCHW.mean((2, 3)) @ grey_3.to(device))
    x_BCN = torch.baddbmm(offset_B[:, None, None], matrix_B33.to(device), x_BCHW.flatten(2))
    return x_BCN.view_as(x_BCHW)


def _noise(x_BCHW: Tensor, parameters: Parameters) -> Tensor:
    """Gaussian, for each pixel and channel; a generator for each picture, so that a slice of a batch has its own."""
    generator = torch.Generator(x_BCHW.device)
    sigma_B = 255 * parameters.strength.noise * parameters.column("noise")
    for x_CHW, seed, sigma in zip(x_BCHW, parameters.seed_B.tolist(), sigma_B.tolist(), strict=True):
        x_CHW.add_(torch.empty_like(x_CHW).normal_(0, sigma, generator=generator.manual_seed(seed)))
    return x_BCHW
