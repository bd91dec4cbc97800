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
                prelu = nn.PReLU(len(slope))
                prelu.weight.data = slope
                layers.append(prelu)
            elif node.op_type == "Gemm":
                weight = array[node.input[1]]
                linear = nn.Linear(weight.shape[1], weight.shape[0])
                linear.weight.data, linear.bias.data = weight, array[node.input[2]].flatten()
                layers += [nn.Flatten(), linear]
            elif node.op_type not in {"Sub", "Mul", "Constant", "Dropout", "Flatten"}:
                raise ValueError(f"{weights} is not SFace: unexpected operation {node.op_type}")
        self.offset, self.scale = (float(array[n.input[1]]) for n in graph.node if n.op_type in {"Sub", "Mul"})
        self.layers = nn.Sequential(*layers).eval().requires_grad_(False)
        self.register_buffer("theta", _template_warp())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.shape[-1] != PORTRAIT:
            x_BCHW = F.interpolate(x_BCHW, size=PORTRAIT, mode="bicubic", align_corners=False)
        grid = F.affine_grid(self.theta.expand(len(x_BCHW), 2, 3), [len(x_BCHW), 3, CROP, CROP], align_corners=False)
        crop = F.grid_sample(x_BCHW, grid, padding_mode="border", align_corners=False)
        pixels = (crop + 1) * 127.5
        embedding: Tensor = self.layers((pixels - self.offset) * self.scale)
        return F.normalize(embedding, dim=1)


def _conv(weight: Tensor, attributes: dict[str, Any]) -> nn.Conv2d:
    groups, pad, stride = attributes["group"], attributes["pads"][0], attributes["strides"][0]
    conv = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], weight.shape[2], stride, pad, groups=groups, bias=True)
    conv.weight.data = weight
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


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


def identity_metric(sface: SFace, x_BCHW: Tensor, rank: int, seed: int = 0, chunk: int = 16) -> Tensor:
    """What the eye of the recogniser looks at: a matrix A_RP such that |A d|^2 is about |change of embedding|^2.

    d is a change of the picture, flattened to P numbers in [-1, 1] units. With J the Jacobian of the embedding,
    J^T v for random normal v is an unbiased sample of the mean of J^T J over faces; one sample a face of x_BCHW
    is drawn, and the ``rank`` strongest directions are kept. As a quadratic loss it costs a matrix product,
    where the network itself would cost more than the model in training.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for part in tqdm(torch.split(x_BCHW, chunk), desc="identity metric", unit="batch"):
        x = part.clone().requires_grad_(True)
        embedding = sface(x)
        (gradient,) = torch.autograd.grad(embedding, x, torch.randn(embedding.shape, generator=generator))
        samples.append(gradient.flatten(1))
    sample_MP = torch.cat(samples)
    gram_MM = sample_MP @ sample_MP.T / len(sample_MP)
    strongest_MR = torch.linalg.eigh(gram_MM).eigenvectors[:, -rank:]
    # A = diag(s) V^T of the singular value decomposition of the samples / sqrt(M), through the small Gram matrix.
    metric_RP: Tensor = strongest_MR.T @ sample_MP / len(sample_MP) ** 0.5
    return metric_RP
