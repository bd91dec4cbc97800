"""How different two portraits look, by networks that learnt to see: a training loss and a figure of merit.

Both compare the feature maps of a frozen ImageNet network at several depths, as Johnson et al. 2016 ("Perceptual
losses for real-time style transfer") do. The maps are normalised over their channels, and the channels weighted
by how much people mind them (LPIPS; Zhang et al. 2018, "The unreasonable effectiveness of deep features as a
perceptual metric"), so that layers of any scale count alike.

``python -m training weights`` makes the files.
"""

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(NamedTuple):
    """How a convolution moves. ``pool`` is (size, stride) of the max pooling before it, ``seen`` a map to compare."""

    stride: int = 1
    padding: int = 1
    pool: tuple[int, int] | None = None
    seen: bool = False


HALF, WIDE_HALF = (2, 2), (3, 2)
# Simonyan and Zisserman 2015, configuration D, up to conv4_3.
VGG16 = (
    Conv(), Conv(seen=True), Conv(pool=HALF), Conv(seen=True), Conv(pool=HALF), Conv(), Conv(seen=True),
    Conv(pool=HALF), Conv(), Conv(seen=True),
)  # fmt: skip
# Krizhevsky 2014, "One weird trick".
ALEX = (
    Conv(4, 2, seen=True), Conv(1, 2, WIDE_HALF, seen=True), Conv(pool=WIDE_HALF, seen=True), Conv(seen=True),
    Conv(seen=True),
)  # fmt: skip


class Features(nn.Module):
    """Portraits x_BCHW in [-1, 1], RGB, any size -> the feature maps to compare, shallow to deep. Frozen.

    ``weights`` is an npz file with ``w0``, ``b0``... of the convolutions and ``lin0``... of the channels' weights.
    FileNotFoundError or ValueError for another file.
    """

    mean_C11: Tensor
    deviation_C11: Tensor

    def __init__(self, weights: Path, layout: tuple[Conv, ...]) -> None:
        super().__init__()
        names = [f"{kind}{i}" for i in range(len(layout)) for kind in "wb"]
        self.lin = [f"lin{i}" for i in range(sum(conv.seen for conv in layout))]
        array = read_arrays(weights, [*names, *self.lin])
        stages, layers = [], list[nn.Module]()
        for i, conv in enumerate(layout):
            if conv.pool:
                layers.append(nn.MaxPool2d(*conv.pool))
            w = array[f"w{i}"]
            layer = nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], conv.stride, conv.padding)
            layer.load_state_dict({"weight": w, "bias": array[f"b{i}"]})
            layers += [layer, nn.ReLU()]
            if conv.seen:
                stages.append(nn.Sequential(*layers))
                layers = []
        self.stages = nn.ModuleList(stages).eval().requires_grad_(False)
        for name in self.lin:
            self.register_buffer(name, array[name])
        # The mean and deviation of ImageNet's pixels, for pixels in [-1, 1].
        self.register_buffer("mean_C11", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1))
        self.register_buffer("deviation_C11", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1))

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        h_BCHW = (x_BCHW - self.mean_C11) / self.deviation_C11
        maps = []
        for stage in self.stages:
            h_BCHW = stage(h_BCHW)
            maps.append(h_BCHW)
        return maps

    def distance(self, x_BCHW: Tensor, y_BCHW: Tensor) -> Tensor:
        """How different each two pictures look: d_B, 0 for the same picture. Gradients flow into ``x_BCHW`` only."""
        with torch.no_grad():
            of_y = self(y_BCHW)
        total = x_BCHW.new_zeros(len(x_BCHW), dtype=torch.float32)
        for name, a_BCHW, b_BCHW in zip(self.lin, self(x_BCHW), of_y, strict=True):
            total = total + (unlike(a_BCHW, b_BCHW) * self.get_buffer(name)).sum(1).mean((1, 2))
        return total


def unlike(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Squared difference of two feature maps, each scaled to length 1 over its channels: BCHW."""
    # In float32, since squares of half-precision features overflow; a map may be all zero somewhere.
    unit_a, unit_b = (F.normalize(t.float(), dim=1, eps=1e-6) for t in (a_BCHW, b_BCHW))
    return (unit_a - unit_b).square()


class VGG(Features):
    """VGG-16 at relu1_2, relu2_2, relu3_3 and relu4_3. Weights: ``vgg16_to_conv4_3.npz``."""

    def __init__(self, weights: Path) -> None:
        super().__init__(weights, VGG16)


class Perceptual(nn.Module):
    """The perceptual training loss: the mean distance of VGG-16's feature maps, a scalar.

    ``forward(out_BCHW, x_BCHW)``: portraits in [-1, 1]; gradients flow into ``out_BCHW``.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.features = VGG(weights)

    def forward(self, out_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
        return self.features.distance(out_BCHW, x_BCHW).mean()


class LPIPS(nn.Module):
    """LPIPS with AlexNet, the form that papers report: d_B, lower is better. Weights: ``lpips_alex.npz``.

    ``forward(x_BCHW, y_BCHW)``: portraits in [-1, 1].
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.features = Features(weights, ALEX)

    def forward(self, x_BCHW: Tensor, y_BCHW: Tensor) -> Tensor:
        return self.features.distance(x_BCHW, y_BCHW)


def read_arrays(path: Path, names: list[str]) -> dict[str, Tensor]:
    """The arrays of a weights file in float32, by name. FileNotFoundError or ValueError, with what to do."""
    advice = "'python -m training weights' makes the files of judge networks"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; {advice}")
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            if set(arrays) != set(names):
                raise ValueError("it holds other arrays")
            return {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in names}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} does not hold this network's weights ({error}); {advice}") from error
