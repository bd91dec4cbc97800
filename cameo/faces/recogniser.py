"""Face recognisers as differentiable torch modules.

SFace: Zhong et al. 2021, "SFace: sigmoid-constrained hypersphere loss for robust face recognition"; the network is
the MobileFaceNet-like one of the OpenCV model zoo.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cameo.coder import graphs
from cameo.faces.template import ARCFACE, EYE_DISTANCE, EYE_LINE

PORTRAIT = 128  # portraits of other sizes are resized to this one first
SFACE_CROP = 112  # pixels
BLUR_REACH = 4  # pixels


class Recogniser(nn.Module, ABC):
    """Portraits x_BCHW in [-1, 1], RGB, any square size -> unit embeddings e_BE.

    A frozen chain of layers that sees ``crop`` pixels square, placed by ``theta``, a matrix of ``affine_grid``.
    """

    theta: Tensor

    def __init__(self, layers: list[nn.Module], crop: int, theta: Tensor) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_faster(layer) for layer in layers)).eval().requires_grad_(False)
        self.crop = crop
        self.register_buffer("theta", theta)

    @abstractmethod
    def signal(self, pixels_BCHW: Tensor) -> Tensor:
        """Pixels from 0 to 255, as the network was trained on them."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.features(x_BCHW)[0]

    def features(self, x_BCHW: Tensor, crop_B23: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Embeddings, and the feature maps at the end of each resolution but the first.

        ``crop_B23`` moves the crop of each portrait, see :func:`random_crops`.
        """
        if x_BCHW.shape[-1] != PORTRAIT:
            x_BCHW = F.interpolate(x_BCHW, size=PORTRAIT, mode="bicubic", align_corners=False)
        theta_B23 = self.theta.expand(len(x_BCHW), 2, 3)
        if crop_B23 is not None:
            theta_B23 = crop_B23[:, :, :2] @ theta_B23
            theta_B23 = torch.cat([theta_B23[:, :, :2], theta_B23[:, :, 2:] + crop_B23[:, :, 2:]], 2)
        grid = F.affine_grid(theta_B23, [len(x_BCHW), 3, self.crop, self.crop], align_corners=False)
        crop = F.grid_sample(x_BCHW, grid, padding_mode="border", align_corners=False)
        h_BCHW = self.signal((crop + 1) * 127.5)
        maps = []
        for layer in self.layers:
            if isinstance(layer, Strided | nn.Flatten | MeanPool) and h_BCHW.shape[-1] < self.crop:
                maps.append(h_BCHW)
            h_BCHW = layer(h_BCHW)
        return F.normalize(h_BCHW.float(), dim=1), maps


class SFace(Recogniser):
    """SFace, E = 128, from the ONNX file, in float32 or with weights quantised by blocks.

    That is a plain chain of convolutions, normalisations and PReLUs; it is read node by node, with every
    normalisation folded into the layer before it. ValueError for another network.
    """

    def __init__(self, weights: Path) -> None:
        graph = graphs.read(weights.read_bytes()).graph
        array = {name: torch.from_numpy(each.copy()) for name, each in graphs.weights(graph).items()}
        layers: list[nn.Module] = []
        for node in graph.node:
            attributes = graphs.attributes(node)
            if node.op_type == "Reshape":
                array[node.output[0]] = array[node.input[0]].reshape(array[node.input[1]].tolist())
            elif node.op_type == "Conv":
                layers.append(_conv(array[node.input[1]], attributes))
            elif node.op_type == "BatchNormalization":
                gamma, beta, mean, var = (array[name] for name in node.input[1:5])
                scale = gamma / (var + attributes["epsilon"]).sqrt()
                _fold(layers, scale, beta - mean * scale)
            elif node.op_type == "PRelu":
                slope = array[node.input[1]].flatten()
                layers.append(FrozenPReLU(slope))
            elif node.op_type == "Gemm":
                weight = array[node.input[1]]
                linear = nn.Linear(weight.shape[1], weight.shape[0])
                linear.weight.data, linear.bias.data = weight, array[node.input[2]].flatten()
                layers += [nn.Flatten(), linear]
            elif node.op_type not in {"Sub", "Mul", "Constant", "Dropout", "Flatten"}:
                raise ValueError(f"{weights} is not SFace: unexpected operation {node.op_type}")
        super().__init__(layers, SFACE_CROP, _template_warp())
        self.offset, self.scale = (float(array[n.input[1]]) for n in graph.node if n.op_type in {"Sub", "Mul"})

    def signal(self, pixels_BCHW: Tensor) -> Tensor:
        return (pixels_BCHW - self.offset) * self.scale


class MeanPool(nn.Module):
    """The mean of each map: x_BCHW -> x_BC."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.mean((2, 3))


class FrozenPReLU(nn.Module):
    """PReLU whose slopes, one a channel, are not learnt: x_BCHW -> x_BCHW.

    torch's own PReLU always computes the gradient of the slopes, too: half of the time of SFace's backward pass.
    """

    slope_C11: Tensor

    def __init__(self, slope_C: Tensor) -> None:
        super().__init__()
        self.register_buffer("slope_C11", slope_C.view(-1, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = _PReLU.apply(x_BCHW, self.slope_C11.to(x_BCHW.dtype))  # type: ignore[no-untyped-call]
        return out


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, slope_C11: Tensor) -> Tensor:
        ctx.save_for_backward(x_BCHW, slope_C11)
        return F.prelu(x_BCHW, slope_C11.flatten())

    @staticmethod
    def backward(ctx: Any, gradient_BCHW: Tensor) -> tuple[Tensor, None]:
        x_BCHW, slope_C11 = ctx.saved_tensors
        # The gradient of a ReLU is a vectorised kernel on CPUs; where() is not.
        positive_BCHW = torch.ops.aten.threshold_backward(gradient_BCHW, x_BCHW, 0)
        return torch.lerp(positive_BCHW, gradient_BCHW, slope_C11), None


class Pointwise(nn.Module):
    """A frozen convolution of single pixels by oneDNN: x_BCHW -> x_BDHW.

    For one picture in one thread torch takes MKL, which needs up to twice as long.
    """

    back_CD11: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.register_buffer("back_CD11", conv.weight.detach().transpose(0, 1).contiguous(), persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.device.type == "cpu" and x_BCHW.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            taken = x_BCHW, self.conv.weight, self.conv.bias, self.back_CD11
            out: Tensor = _Pointwise.apply(*taken)  # type: ignore[no-untyped-call]
        else:
            out = self.conv(x_BCHW)
        return out


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, weight_DC11: Tensor, bias_D: Tensor, back_CD11: Tensor) -> Tensor:
        ctx.save_for_backward(back_CD11)
        return _one_dnn(x_BCHW, weight_DC11, bias_D)

    @staticmethod
    def backward(ctx: Any, gradient_BDHW: Tensor) -> tuple[Tensor, None, None, None]:
        (back_CD11,) = ctx.saved_tensors
        return _one_dnn(gradient_BDHW, back_CD11), None, None, None


def _one_dnn(x_BCHW: Tensor, weight_DC11: Tensor, bias_D: Tensor | None = None) -> Tensor:
    out: Tensor = torch.mkldnn_convolution(x_BCHW, weight_DC11, bias_D, (0, 0), (1, 1), (1, 1), 1)
    return out


class Strided(nn.Module):
    """A convolution with a stride, as one without of which every so many pixels are kept, from the ``first`` on.

    On CPUs the way back of a depthwise one is five times slower with a stride, which outweighs the work that is
    thrown away.
    """

    def __init__(self, conv: nn.Conv2d, stride: int, first: int = 0) -> None:
        super().__init__()
        self.conv, self.stride, self.first = conv, stride, first

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.conv(x_BCHW)[:, :, self.first :: self.stride, self.first :: self.stride]
        return out


def random_crops(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Random similarity transforms crop_B23 of the picture's [-1, 1] coordinates: up to ``share`` in each direction.

    A model that is trained with varying crops fits less to the peculiarities of one recogniser.
    """
    zoom, turn, across, down = (2 * torch.rand(4, count, generator=generator) - 1) * share
    cosine, sine = (1 + zoom) * turn.cos(), (1 + zoom) * turn.sin()
    return torch.stack([torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)], 1)


def blurred(x_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Each picture through a Gaussian of its own, ``sigma_B`` in pixels, at most 2.

    Without the finest detail, noise in the picture cannot raise the similarity.
    """
    taps_T = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=x_BCHW.device)
    kernel_BT = torch.softmax(-0.5 * (taps_T / sigma_B.clamp(min=1e-3)[:, None]).square(), 1)
    kernel_N1T = kernel_BT.repeat_interleave(x_BCHW.shape[1], 0)[:, None]
    h = F.pad(x_BCHW, [BLUR_REACH] * 4, mode="replicate").flatten(0, 1)[None]
    h = F.conv2d(h, kernel_N1T[:, :, :, None], groups=len(kernel_N1T))
    h = F.conv2d(h, kernel_N1T[:, :, None], groups=len(kernel_N1T))
    return h.view_as(x_BCHW)


def _conv(weight: Tensor, attributes: dict[str, Any]) -> nn.Conv2d:
    groups, pad, stride = attributes["group"], attributes["pads"][0], attributes["strides"][0]
    conv = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], weight.shape[2], stride, pad, groups=groups, bias=True)
    conv.weight.data = weight
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _faster(layer: nn.Module) -> nn.Module:
    """The same layer, or one that gives the same sooner on CPUs."""
    if not isinstance(layer, nn.Conv2d):
        return layer
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.groups == 1 and layer.padding == (0, 0):
        return Pointwise(layer)
    if layer.groups == 1 or layer.stride == (1, 1):
        return layer
    stride, layer.stride = layer.stride[0], (1, 1)
    return Strided(layer, stride)


def _fold(layers: list[nn.Module], scale: Tensor, shift: Tensor) -> None:
    """Fold a normalisation into the convolution or linear layer before it, or append it where there is none."""
    last = layers[-1]
    if isinstance(last, nn.Conv2d | nn.Linear):
        assert last.bias is not None
        last.weight.data *= scale.view(-1, *[1] * (last.weight.dim() - 1))
        last.bias.data = last.bias.data * scale + shift
    else:
        norm = nn.BatchNorm2d(len(scale), eps=1e-30)
        norm.weight.data, norm.bias.data = scale, shift
        layers.append(norm)


def _template_warp() -> Tensor:
    """Canonical 128-pixel portrait to the ArcFace crop, as an ``affine_grid`` matrix."""
    eyes = ARCFACE[:2]
    middle, distance = eyes.mean(0), float(np.linalg.norm(eyes[1] - eyes[0]))
    zoom = EYE_DISTANCE * PORTRAIT / distance  # portrait pixels per crop pixel
    # The crop pixel u shows the portrait pixel 0.5 W + (u - middle) * zoom; in affine_grid's [-1, 1] units of both:
    centre = (SFACE_CROP - 1) / 2
    x = (2 * (0.5 * PORTRAIT + (centre - middle[0]) * zoom) + 1) / PORTRAIT - 1
    y = (2 * (EYE_LINE * PORTRAIT + (centre - middle[1]) * zoom) + 1) / PORTRAIT - 1
    share = zoom * SFACE_CROP / PORTRAIT
    return torch.tensor([[share, 0.0, x], [0.0, share, y]], dtype=torch.float32)
