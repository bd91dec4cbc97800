"""SFace as a differentiable torch module, to measure and to train the identity of reconstructions.

SFace: Zhong et al. 2021, "SFace: sigmoid-constrained hypersphere loss for robust face recognition"; the
network is the MobileFaceNet-like one of the OpenCV model zoo.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn
from tqdm import tqdm

from app.portrait import ARCFACE, EYE_DISTANCE, EYE_LINE

CROP = 112  # SFace's input, in pixels
PORTRAIT = 128  # portraits of other sizes are brought to this one first, as a viewer would


class SFace(nn.Module):
    """Portraits x_BCHW in [-1, 1], RGB, any square size -> unit embeddings e_BE (E = 128).

    The ONNX file, in float32 or with weights quantised by blocks, is a plain chain of convolutions,
    normalisations and PReLUs; it is read node by node, with every normalisation folded into the layer before it.
    Weights are frozen.
    """

    theta: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        graph = onnx.load(str(weights)).graph
        array = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        layers: list[nn.Module] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "DequantizeLinear":
                array[node.output[0]] = _dequantised(*(array[name] for name in node.input), **attributes)
            elif node.op_type == "Reshape":
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
        self.offset, self.scale = (float(array[n.input[1]]) for n in graph.node if n.op_type in {"Sub", "Mul"})
        layers = [_unstrided(layer) for layer in layers]
        self.layers = nn.Sequential(*layers).eval().requires_grad_(False)
        self.register_buffer("theta", _template_warp())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.look(x_BCHW)[0]

    def look(self, x_BCHW: Tensor, crop_B23: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Embeddings, and the feature maps at the end of each resolution from 56 x 56 down to 7 x 7.

        ``crop_B23`` moves what the network sees of each portrait, see :func:`strayed`.
        """
        if x_BCHW.shape[-1] != PORTRAIT:
            x_BCHW = F.interpolate(x_BCHW, size=PORTRAIT, mode="bicubic", align_corners=False)
        theta_B23 = self.theta.expand(len(x_BCHW), 2, 3)
        if crop_B23 is not None:
            theta_B23 = crop_B23[:, :, :2] @ theta_B23
            theta_B23 = torch.cat([theta_B23[:, :, :2], theta_B23[:, :, 2:] + crop_B23[:, :, 2:]], 2)
        grid = F.affine_grid(theta_B23, [len(x_BCHW), 3, CROP, CROP], align_corners=False)
        crop = F.grid_sample(x_BCHW, grid, padding_mode="border", align_corners=False)
        h_BCHW = ((crop + 1) * 127.5 - self.offset) * self.scale
        maps = []
        for layer in self.layers:
            if isinstance(layer, StridedDepthwise | nn.Flatten) and h_BCHW.shape[-1] < CROP:
                maps.append(h_BCHW)
            h_BCHW = layer(h_BCHW)
        return F.normalize(h_BCHW.float(), dim=1), maps


class FrozenPReLU(nn.Module):
    """PReLU whose slopes, one a channel, are not learnt: x_BCHW -> x_BCHW.

    torch's own always works out the gradient of the slopes, too, which takes half of the time of SFace's way back.
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
        return torch.addcmul(gradient_BCHW * slope_C11, positive_BCHW, 1 - slope_C11), None


class StridedDepthwise(nn.Module):
    """A depthwise convolution with a stride, as one without of which every so many pixels are kept.

    On CPUs the way back of the strided form is five times slower, which outweighs the work that is thrown away.
    """

    def __init__(self, conv: nn.Conv2d, stride: int) -> None:
        super().__init__()
        self.conv, self.stride = conv, stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.conv(x_BCHW)[:, :, :: self.stride, :: self.stride]
        return out


def strayed(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Random similarity transforms crop_B23 of the picture's [-1, 1] coordinates: up to ``share`` off each way.

    A recogniser that sees a face from slightly other places teaches less of its own quirks.
    """
    zoom, turn, across, down = (2 * torch.rand(4, count, generator=generator) - 1) * share
    cosine, sine = (1 + zoom) * turn.cos(), (1 + zoom) * turn.sin()
    return torch.stack([torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)], 1)


def _conv(weight: Tensor, attributes: dict[str, Any]) -> nn.Conv2d:
    groups, pad, stride = attributes["group"], attributes["pads"][0], attributes["strides"][0]
    conv = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], weight.shape[2], stride, pad, groups=groups, bias=True)
    conv.weight.data = weight
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _unstrided(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, nn.Conv2d) or layer.groups == 1 or layer.stride == (1, 1):
        return layer
    stride, layer.stride = layer.stride[0], (1, 1)
    return StridedDepthwise(layer, stride)


def _dequantised(x: Tensor, scale: Tensor, zero: Tensor, *, axis: int, block_size: int) -> Tensor:
    """ONNX's DequantizeLinear with one scale and zero point for each block along an axis."""
    scale, zero = (t.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis]) for t in (scale, zero))
    return (x.float() - zero.float()) * scale


def _fold(layers: list[nn.Module], scale: Tensor, shift: Tensor) -> None:
    """Fold a normalisation into the convolution or linear layer before it, or append it where there is none."""
    last = layers[-1]
    if isinstance(last, nn.Conv2d | nn.Linear):
        assert last.bias is not None
        last.weight.data *= scale.view(-1, *[1] * (last.weight.dim() - 1))
        last.bias.data = last.bias.data * scale + shift
    else:
        norm = nn.BatchNorm2d(len(scale), eps=0.0)
        norm.weight.data, norm.bias.data = scale, shift
        layers.append(norm)


def _template_warp() -> Tensor:
    """Canonical 128-pixel portrait to the ArcFace crop, as an ``affine_grid`` matrix."""
    eyes = ARCFACE[:2]
    middle, distance = eyes.mean(0), float(np.linalg.norm(eyes[1] - eyes[0]))
    zoom = EYE_DISTANCE * PORTRAIT / distance  # portrait pixels per crop pixel
    # The crop pixel u shows the portrait pixel 0.5 W + (u - middle) * zoom; in affine_grid's [-1, 1] units of both:
    centre = (CROP - 1) / 2
    x = (2 * (0.5 * PORTRAIT + (centre - middle[0]) * zoom) + 1) / PORTRAIT - 1
    y = (2 * (EYE_LINE * PORTRAIT + (centre - middle[1]) * zoom) + 1) / PORTRAIT - 1
    return torch.tensor([[zoom * CROP / PORTRAIT, 0.0, x], [0.0, zoom * CROP / PORTRAIT, y]], dtype=torch.float32)


def identity_metric(
    sface: SFace, x_BCHW: Tensor, rank: int, seed: int = 0, jitter: float = 0.0, chunk: int = 16
) -> Tensor:
    """What the eye of the recogniser looks at: a matrix A_RP such that |A d|^2 is about |change of embedding|^2.

    d is a change of the picture, flattened to P numbers in [-1, 1] units. With J the Jacobian of the embedding,
    J^T v for random normal v is an unbiased sample of the mean of J^T J over faces; one sample a face of x_BCHW
    is drawn, through a crop that strays by ``jitter``, and the ``rank`` strongest directions are kept. As a
    quadratic loss it costs a matrix product, where the network itself would cost more than the model in training.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for part in tqdm(torch.split(x_BCHW, chunk), desc="identity metric", unit="batch"):
        x = part.clone().requires_grad_(True)
        embedding, _ = sface.look(x, strayed(len(x), jitter, generator) if jitter else None)
        (gradient,) = torch.autograd.grad(embedding, x, torch.randn(embedding.shape, generator=generator))
        samples.append(gradient.flatten(1))
    sample_MP = torch.cat(samples)
    gram_MM = sample_MP @ sample_MP.T / len(sample_MP)
    strongest_MR = torch.linalg.eigh(gram_MM).eigenvectors[:, -rank:]
    # A = diag(s) V^T of the singular value decomposition of the samples / sqrt(M), through the small Gram matrix.
    metric_RP: Tensor = strongest_MR.T @ sample_MP / len(sample_MP) ** 0.5
    return metric_RP
