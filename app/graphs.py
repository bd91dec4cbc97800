"""ONNX graphs, read and run with the packages of the extra ``fast``."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = Callable[..., list[NDArray[Any]]]
"""Arrays by the names of a graph's inputs -> its outputs."""


def installed() -> bool:
    return all(find_spec(name) for name in ("onnx", "onnxruntime"))


def read(data: bytes) -> Any:
    """The model of a file's bytes, its quantised weights as floats; ValueError where it is none."""
    onnx = import_module("onnx")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # of protobuf, whose package is onnx's affair
        raise ValueError("this is no ONNX file") from error
    graph, numpy_helper = model.graph, onnx.numpy_helper
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantised = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    for node in quantised:
        settings = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        weights = _dequantised(*(arrays[name] for name in node.input), **settings)
        graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
        graph.node.remove(node)
    return model


def session(model: bytes) -> Run:
    """Runs in the thread that calls it: any number may at once."""
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    made = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(**arrays: NDArray[Any]) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = made.run(None, arrays)
        return outputs

    return run


def _dequantised(
    x: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], *, axis: int, block_size: int
) -> NDArray[np.float32]:
    """DequantizeLinear with one scale and zero point for each block along an axis."""
    blocks = np.arange(x.shape[axis]) // block_size
    weights: NDArray[np.float32] = (x.astype(np.float32) - zero.take(blocks, axis)) * scale.take(blocks, axis)
    return weights
