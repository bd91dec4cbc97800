"""FaceRes, a second recogniser for the losses.

Savchenko 2019, "Efficient facial representations for age, gender and identity recognition in organizing photo albums
using multi-output ConvNet"; a MobileNet trained on VGGFace2. From two recognisers with other training data and another
architecture a model learns fewer of the quirks of either.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from cameo.faces.recogniser import MeanPool, Recogniser, Strided
from training.perceptual import read_arrays

FACERES_CROP = 160  # pixels
FACERES_SHARE = 112 / 128  # of the portrait's width
FACERES_STRIDES = (2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, *(1,) * 11, 2, 1, 1, 1)  # of its convolutions


class FaceRes(Recogniser):
    """FaceRes, E = 1,024, from the npz file that ``python -m training weights`` makes.

    It was trained at 224 pixels; at 160 it tells faces as well for half of the work. FileNotFoundError or ValueError
    for another file.
    """

    mean_C11: Tensor

    def __init__(self, weights: Path) -> None:
        array = read_arrays(weights, [f"{kind}{i}" for i in range(len(FACERES_STRIDES)) for kind in "wb"])
        layers: list[nn.Module] = []
        for i, stride in enumerate(FACERES_STRIDES):
            w = array[f"w{i}"]
            groups = len(w) if i % 2 else 1  # every other one is depthwise
            conv = nn.Conv2d(w.shape[1] * groups, len(w), w.shape[2], padding=w.shape[2] // 2, groups=groups)
            conv.load_state_dict({"weight": w, "bias": array[f"b{i}"]})
            # Trained in TensorFlow, which pads on the right and below only: the first window is the second one here.
            layers += [conv if stride == 1 else Strided(conv, stride, first=1), nn.ReLU6()]
        theta = torch.tensor([[FACERES_SHARE, 0.0, 0.0], [0.0, FACERES_SHARE, 0.0]])
        super().__init__([*layers, MeanPool()], FACERES_CROP, theta)
        self.register_buffer("mean_C11", torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1))

    def signal(self, pixels_BCHW: Tensor) -> Tensor:
        return pixels_BCHW.flip(1) - self.mean_C11  # blue first
