"""What runs a network: torch, or ONNX Runtime, which is faster on CPUs and gives the same results in any batch.

A portrait's payload must not depend on what it was computed together with. Torch's matrix products on CPUs choose
their order of summation by the size of the batch, so there every portrait runs alone; ONNX Runtime's give the same
bits for a row alone and in any batch. GPUs get batches that are always filled up to the same size, which costs them
nothing at these sizes, and draw in half precision where that changes no pixel by more than one level of 255.
"""

import io
import logging
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cameo.coder import graphs
from cameo.nn import Model
from cameo.nn.blocks import to_pixels, to_signal

log = logging.getLogger("cameo.runtime")

MOST = 16  # items of a batch; beyond it no network here gains anything, and answers wait for each other
OPSET = 18

Arrays = tuple[NDArray[Any], ...]


class Network(NamedTuple):
    """A function of stacked arrays, and the most rows that it should be given at once."""

    run: Callable[..., NDArray[Any]]
    most: int


class Runtime(NamedTuple):
    """Both halves of a model: portraits BCHW, uint8, to latents z_BL, and what its decoder takes to portraits."""

    encoder: Network
    decoder: Network
    name: str


def runtime(model: Model, device: torch.device, backend: str) -> Runtime:
    """``backend``: torch, onnx, or auto, which is onnx on CPUs. ``model`` is on the device."""
    encoder, decoder = PixelEncoder(model).eval(), PixelDecoder(model).eval()
    if backend == "onnx" and device.type != "cpu":
        raise ValueError("CAMEO_BACKEND=onnx is for CPUs: set CAMEO_DEVICE=cpu, or leave CAMEO_BACKEND at auto")
    if backend == "torch" or (backend == "auto" and device.type != "cpu"):
        if device.type == "cpu":
            return Runtime(Network(_eager(encoder, device), 1), Network(_eager(decoder, device), 1), "torch")
        draw = half_or_full(decoder, samples(model), device)
        return Runtime(Network(filled(_eager(encoder, device)), MOST), Network(filled(draw), MOST), "torch")
    pixels_BCHW = torch.zeros(2, 3, model.config.size, model.config.size, dtype=torch.uint8)
    with torch.inference_mode():
        inputs = model.dequantise(model.encode(pixels_BCHW))
    return Runtime(Network(_onnx(encoder, (pixels_BCHW,)), MOST), Network(_onnx(decoder, inputs), MOST), "onnx")


@torch.inference_mode()
def samples(model: Model) -> Arrays:
    """What a decoder takes, for ``MOST`` smooth coloured pictures."""
    device, size = next(model.parameters()).device, model.config.size
    rough_BCHW = torch.rand(MOST, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 255
    pixels_BCHW = F.interpolate(rough_BCHW, size=size, mode="bicubic").clamp(0, 255).to(torch.uint8)
    inputs = model.dequantise(model.encode(pixels_BCHW.to(device)))
    return tuple(tensor.numpy(force=True) for tensor in inputs)


def half_or_full(decoder: nn.Module, inputs: Arrays, device: torch.device) -> Callable[..., NDArray[Any]]:
    """The decoder in half precision, if that moves no pixel of these inputs' pictures by more than a level of 255."""
    full, half = _eager(decoder, device), _eager(decoder, device, half=True)
    off = int(np.abs(full(*inputs).astype(int) - half(*inputs)).max())
    log.info("half precision moves pixels by up to %d of 255: %s", off, "taken" if off <= 1 else "not taken")
    return half if off <= 1 else full


class PixelEncoder(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        z_BL: Tensor = self.encoder(to_signal(pixels_BCHW))
        return z_BL


class PixelDecoder(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, *inputs: Tensor) -> Tensor:
        return to_pixels(self.decoder(*inputs).float())


def _eager(module: nn.Module, device: torch.device, half: bool = False) -> Callable[..., NDArray[Any]]:
    @torch.inference_mode()
    def run(*arrays: NDArray[Any]) -> NDArray[Any]:
        tensors = [torch.from_numpy(array) for array in arrays]
        if device.type == "cuda":
            tensors = [tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors]
        out: NDArray[Any] = module(*tensors).numpy(force=True)
        return out

    return torch.autocast(device.type, torch.float16)(run) if half else run


def filled(run: Callable[..., NDArray[Any]]) -> Callable[..., NDArray[Any]]:
    """The same function of batches, given ``MOST`` rows whatever there are: sums are ordered by the size of a batch."""

    def run_filled(*arrays: NDArray[Any]) -> NDArray[Any]:
        rows = len(arrays[0])
        last = [np.repeat(array[-1:], MOST - rows, 0) for array in arrays]
        return run(*(np.concatenate(pair) for pair in zip(arrays, last, strict=True)))[:rows]

    return run_filled


def _onnx(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[..., NDArray[Any]]:
    names = [f"x{i}" for i in range(len(inputs))]
    graph = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter by tracing, deprecated in favour of one that takes minutes and three more packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, inputs, graph,  # type: ignore[arg-type]  # a file it takes, too
            input_names=names, output_names=["y"], opset_version=OPSET, dynamo=False,
            dynamic_axes={name: {0: "batch"} for name in (*names, "y")},
        )  # fmt: skip
    session = graphs.session(graph.getvalue())

    def run(*arrays: NDArray[Any]) -> NDArray[Any]:
        return session(**dict(zip(names, arrays, strict=True)))[0]

    return run


def stack(rows: list[Arrays]) -> Arrays:
    """Arrays of one row each, as the batch of them."""
    return rows[0] if len(rows) == 1 else tuple(np.concatenate(column) for column in zip(*rows, strict=True))
