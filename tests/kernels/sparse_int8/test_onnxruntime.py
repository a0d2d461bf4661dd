"""Convolutions of levels beside ONNX Runtime's of the same seven-bit weights, ties included."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wieldy.kernels.region.ops import LevelConv
from wieldy.kernels.sparse_int8.reference import sparse_int8, sums

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
SEVEN_BITS, OPSET = 63, 13
SHAPES = ((16, 8, 3, 1), (24, 12, 1, 1), (8, 4, 5, 2), (32, 16, 3, 2))  # channels, inputs, kernel, stride


def qdq_model(
    weight: NDArray[np.int8], bias: NDArray[np.int32], scales: NDArray[np.float32], facts: dict[str, Any]
) -> bytes:
    """Return a graph that dequantizes, convolves and quantizes, which ONNX Runtime makes one of integers."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    held = {
        "xs": np.float32(facts["x_scale"]), "xz": np.uint8(facts["x_zero"]), "w": weight, "ws": scales,
        "wz": np.zeros(len(weight), np.int8), "b": bias, "bs": np.float32(facts["x_scale"]) * scales,
        "bz": np.zeros(len(weight), np.int32), "ys": np.float32(facts["y_scale"]),
        "yz": np.uint8(facts["y_zero"]),
    }  # fmt: skip
    kernel, stride = weight.shape[2], facts["stride"]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], axis=0),
        helper.make_node("Conv", ["xf", "wf", "bf"], ["yf"], strides=[stride] * 2, pads=[kernel // 2] * 4),
        helper.make_node("QuantizeLinear", ["yf", "ys", "yz"], ["y"]),
    ]
    byte = onnx.TensorProto.UINT8
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info("x", byte, facts["shape"])],
        [helper.make_tensor_value_info("y", byte, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    found: bytes = model.SerializeToString()
    return found


@pytest.mark.parametrize(("channels", "inputs", "kernel", "stride"), SHAPES)
def test_onnx_runtime_computes_the_same_levels(channels: int, inputs: int, kernel: int, stride: int) -> None:
    draw = np.random.default_rng(channels)
    weight = draw.integers(-SEVEN_BITS, SEVEN_BITS + 1, (channels, inputs, kernel, kernel)).astype(np.int8)
    weight *= draw.random(weight.shape) < 0.5
    bias = draw.integers(-3000, 3000, channels).astype(np.int32)
    scales = (2.0 ** -draw.integers(2, 6, channels)).astype(np.float32)  # powers of two: many ties
    x = draw.integers(0, 256, (2, inputs, 40, 40), np.uint8)
    facts = {"x_scale": 0.5, "x_zero": 7, "y_scale": 8.0, "y_zero": 90, "stride": stride, "shape": x.shape}
    session = onnxruntime.InferenceSession(
        qdq_model(weight, bias, scales, facts), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": x})
    folded = bias - 7 * weight.astype(np.int32).sum(axis=(1, 2, 3))
    op = LevelConv(
        "x", "y", weight, folded.astype(np.int32), scales * np.float32(0.5) / np.float32(8.0),
        stride=(stride, stride), padding=(kernel // 2, kernel // 2), pad=7, zero=90, low=-90.0, high=165.0,
    )  # fmt: skip
    np.testing.assert_array_equal(found, sparse_int8(x, op))
    scaled = sums(x, op) * op.scale[:, None, None].astype(np.float64)
    assert (np.abs(scaled - np.floor(scaled)) == 0.5).sum() > 10  # where roundings differ
