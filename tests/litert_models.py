"""Models of one integer layer in LiteRT's file format, and what its interpreters make of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION, FILE_ID = 3, b"TFL3"
CHANNEL_AXIS = 0


@dataclass(frozen=True)
class Layer:
    """One convolution (rows, height, width, inputs) or linear layer (rows, inputs) of int8.

    Scales are float32; zero points are of int8 values.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    weight_scales: NDArray[np.float32]
    input_scale: float
    input_zero: int
    output_scale: float
    output_zero: int


def _tensor(schema: Any, name: str, kind: int, shape: Sequence[int], buffer: int, **quantized: Any) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape, tensor.buffer = name.encode(), kind, list(shape), buffer
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = [float(scale) for scale in quantized["scales"]]
    tensor.quantization.zeroPoint = [int(zero) for zero in quantized["zeros"]]
    tensor.quantization.quantizedDimension = CHANNEL_AXIS
    return tensor


def _buffer(schema: Any, array: NDArray[Any] | None = None) -> Any:
    buffer = schema.BufferT()
    if array is not None:
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
    return buffer


def model_of(layer: Layer, input_shape: Sequence[int], output_shape: Sequence[int]) -> bytes:
    """Return the bytes of a model that holds one layer."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kinds, rows = schema.TensorType, len(layer.weight)
    conv = layer.weight.ndim == 4
    none = [0] * rows
    bias_scales = np.float32(layer.input_scale) * layer.weight_scales
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor(
            schema, "x", kinds.INT8, input_shape, 1, scales=[layer.input_scale], zeros=[layer.input_zero]
        ),
        _tensor(schema, "w", kinds.INT8, layer.weight.shape, 2, scales=layer.weight_scales, zeros=none),
        _tensor(schema, "b", kinds.INT32, (rows,), 3, scales=bias_scales, zeros=none),
        _tensor(
            schema, "y", kinds.INT8, output_shape, 1, scales=[layer.output_scale], zeros=[layer.output_zero]
        ),
    ]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    options = schema.Conv2DOptionsT() if conv else schema.FullyConnectedOptionsT()
    if conv:
        options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
        options.dilationWFactor = options.dilationHFactor = 1
    names = schema.BuiltinOptions
    operator.builtinOptionsType = names.Conv2DOptions if conv else names.FullyConnectedOptions
    operator.builtinOptions = options
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [3]
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.CONV_2D if conv else schema.BuiltinOperator.FULLY_CONNECTED
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 5
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = VERSION, [code], [graph]
    held = (None, None, layer.weight, layer.bias)
    model.buffers = [_buffer(schema, array) for array in held]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=FILE_ID)
    return bytes(builder.Output())


def run(model: bytes, x: NDArray[np.int8], resolver: str) -> NDArray[np.int8]:
    """Return what an interpreter makes of an input; `resolver` names one of LiteRT's sets of kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=getattr(OpResolverType, resolver), num_threads=1
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found: NDArray[np.int8] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found
