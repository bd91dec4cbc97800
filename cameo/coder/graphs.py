"""Read and run ONNX graphs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Run = Callable[..., list[NDArray[Any]]]
"""Arrays by the names of a graph's inputs -> its outputs."""


def read(data: bytes) -> Any:
    """The model of a file's bytes, its quantised weights as floats; ValueError where it is none."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # of protobuf, whose package is onnx's affair
        raise ValueError("this is no ONNX file") from error
    graph, given = model.graph, weights(model.graph)
    quantised = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    for node in quantised:
        floats = _dequantised(*(given[name] for name in node.input), **attributes(node))
        graph.initializer.append(onnx.numpy_helper.from_array(floats, node.output[0]))
        graph.node.remove(node)
    return model


def weights(graph: Any) -> dict[str, NDArray[Any]]:
    """The arrays stored in a graph, by name."""
    to_array = onnx.numpy_helper.to_array
    return {tensor.name: to_array(tensor) for tensor in graph.initializer}


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node, by name."""
    value = onnx.helper.get_attribute_value
    return {each.name: value(each) for each in node.attribute}


def session(model: bytes) -> Run:
    """Runs in the thread that calls it: any number may at once."""
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
    floats: NDArray[np.float32] = (x.astype(np.float32) - zero.take(blocks, axis)) * scale.take(blocks, axis)
    return floats
