"""From a program to an OpenVINO model: one readable table from ATen overload to function.

Shapes are static, because that is what runs fastest; the batch is given here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import InternalError, SchemaError
from wieldy.graph.ops import ATTENTION, EXPAND, MATMUL, OPS
from wieldy.graph.program import Argument, Node, Program, Ref, Stored, with_batch
from wieldy.runtime.engine import openvino
from wieldy.runtime.fuse import affine
from wieldy.runtime.layouts import channels_last
from wieldy.runtime.lower_zeros import (
    Zeros,
    clamps_of_linears,
    is_sparse_linear,
    lower_linear,
    lower_region,
    sparse_regions,
)  # fmt: skip
from wieldy.runtime.regions import Region, contracted_order

Arrays = Mapping[str, NDArray[Any]]
Lowering = Callable[["Lowered"], Any]


@dataclass
class Lowered:
    """One node's arguments, ready for OpenVINO: values as nodes, tensors as arrays, literals as they are."""

    node: Node
    ops: Any  # openvino.opset15
    given: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    batch: int

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """What the node yields for this batch."""
        return with_batch(self.node.shape, self.batch)

    def constant(self, value: Any, dtype: Any = np.float32) -> Any:
        """Return an OpenVINO constant."""
        return self.ops.constant(np.asarray(value, dtype))

    def whole(self, values: Any) -> Any:
        """Return a constant of whole numbers."""
        return self.constant(values, np.int64)


def lower(program: Program, arrays: Arrays, batch: int, zeros: Zeros | None = None) -> Any:
    """Return an `openvino.Model` that computes `program` for `batch` examples.

    Every operation carries the name of its node, so that profiles and errors can be read. With `zeros`,
    the layers it names run in regions.

    Raises:
        SchemaError: a node does not fit what it is given, or yields another shape than the program says.
        InternalError: an operator of the allow-list has no lowering.
    """
    ov = openvino()
    ops = ov.opset15
    parameters: list[Any] = []
    values: dict[str, Any] = {}  # by name, one output of an OpenVINO node, since some have several
    for name, spec in program.inputs.items():
        shape = with_batch(spec.shape, batch)
        parameters.append(ops.parameter(shape, np.float32, name=name))
        values[name] = parameters[-1].output(0)
    regions = sparse_regions(program, zeros) if zeros else []
    inside = {node.name for region in regions for node in region.nodes}
    clamps = clamps_of_linears(program, zeros) if zeros else {}
    for unit in contracted_order(program, regions):
        if isinstance(unit, Region):
            assert zeros is not None
            _check_shapes(unit.nodes, values, arrays, ops, batch)
            last = channels_last(program, unit, inside)
            values |= lower_region(unit, program, values, arrays, batch, zeros, last)
            continue
        if zeros and is_sparse_linear(unit, zeros):
            clamp = clamps.get(unit.name)
            _check_shapes(tuple(node for node in (unit, clamp) if node), values, arrays, ops, batch)
            result = lower_linear(unit, clamp, values, arrays, zeros)
            values |= {node.name: result for node in (unit, clamp) if node}
            continue
        if unit.name in values:  # a clamp that its layer has taken over
            continue
        result = _lower_node(unit, values, arrays, ops, batch)
        if all(result is not value for value in values.values()):  # nothing was added: keep the earlier name
            result.get_node().set_friendly_name(unit.name)
        values[unit.name] = result
    results = [ops.result(values[name]) for name in program.outputs]
    model = ov.Model(results, parameters, "wieldy")
    model.validate_nodes_and_infer_types()
    return model


def _check_shapes(
    nodes: tuple[Node, ...], values: Mapping[str, Any], arrays: Arrays, ops: Any, batch: int
) -> None:
    """Raise SchemaError unless nodes fit each other, by lowering them dense: our kernels check nothing."""
    known = dict(values)
    for node in nodes:
        known[node.name] = _lower_node(node, known, arrays, ops, batch)


def _lower_node(node: Node, values: Mapping[str, Any], arrays: Arrays, ops: Any, batch: int) -> Any:
    if node.op not in LOWERINGS:
        raise InternalError(f"lower: {node.op} is on the allow-list but has no lowering.")
    given = {name: _argument(node.inputs[name], values, arrays, ops) for name, _ in OPS[node.op]}
    stored = {name: arrays[value.name] for name, value in node.inputs.items() if isinstance(value, Stored)}
    try:
        result = LOWERINGS[node.op](Lowered(node, ops, given, stored, batch))
    except (RuntimeError, ValueError, IndexError) as error:
        raise SchemaError(
            f"program: {node.op} of {node.name!r} does not fit what it is given ({_last_line(error)})."
        ) from None
    result = result.output(0) if hasattr(result, "output") else result
    expected, found = list(with_batch(node.shape, batch)), _static_shape(result)
    if found != expected:
        raise SchemaError(f"program: {node.op} of {node.name!r} must yield {expected}; it yields {found}.")
    return result


def _static_shape(output: Any) -> list[int] | str:
    shape = output.get_partial_shape()
    return [int(size) for size in shape.to_shape()] if shape.is_static else str(shape)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__


def _argument(value: Argument, values: Mapping[str, Any], arrays: Arrays, ops: Any) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, Stored):
        return ops.constant(np.ascontiguousarray(arrays[value.name]), name=value.name)
    if isinstance(value, tuple):
        return [_argument(item, values, arrays, ops) for item in value]
    return value


def _conv(a: Lowered) -> Any:
    pads, weight = a["padding"], a.arrays["weight"]
    spread = (a["stride"], pads, pads, a["dilation"])
    if a["groups"] == 1:
        result = a.ops.convolution(a["input"], a["weight"], *spread)
    else:
        grouped = weight.reshape(a["groups"], -1, *weight.shape[1:])
        result = a.ops.group_convolution(a["input"], a.constant(grouped), *spread)
    return _plus_bias(a, result, (1, -1) + (1,) * (len(a.node.shape) - 2))


def _linear(a: Lowered) -> Any:
    if a.arrays["weight"].size == 1:  # OpenVINO 2026.4 cannot compile a chain with a 1 x 1 matrix
        result = a.ops.multiply(a["input"], a.constant(a.arrays["weight"].reshape(())))
    else:
        result = a.ops.matmul(a["input"], a["weight"], transpose_a=False, transpose_b=True)
    return _plus_bias(a, result, (1,) * (len(a.node.shape) - 1) + (-1,))


def _plus_bias(a: Lowered, result: Any, shape: tuple[int, ...]) -> Any:
    if a["bias"] is None:
        return result
    return a.ops.add(result, a.constant(a.arrays["bias"].reshape(shape)))


def _batch_norm(a: Lowered) -> Any:
    """y = (x - mean) / sqrt(var + eps) * weight + bias as one multiply and one add, which OpenVINO folds."""
    scale, shift = affine(a.arrays, a["eps"])
    shape = (1, -1) + (1,) * (len(a.node.shape) - 2)
    scaled = a.ops.multiply(a["input"], a.constant(scale.reshape(shape)), name=f"{a.node.name}/scale")
    return a.ops.add(scaled, a.constant(shift.reshape(shape)))


def _clamp(low: str, high: str) -> Lowering:
    return lambda a: a.ops.clamp(a["self"], float(a[low]), float(a[high]))


def _unary(name: str) -> Lowering:
    return lambda a: getattr(a.ops, name)(a["self"])


def _binary(name: str) -> Lowering:
    def lowering(a: Lowered) -> Any:
        first, second = (_operand(a, a[side]) for side in ("self", "other"))
        if a.given.get("alpha", 1) != 1:
            second = a.ops.multiply(second, a.constant(a["alpha"]))
        return getattr(a.ops, name)(first, second)

    return lowering


def _operand(a: Lowered, value: Any) -> Any:
    return a.constant(value) if isinstance(value, (int, float)) else value


def _elu(a: Lowered) -> Any:
    """scale * (x if x > 0 else alpha * (exp(input_scale * x) - 1))."""
    if a["scale"] == 1 and a["input_scale"] == 1:
        return a.ops.elu(a["self"], float(a["alpha"]))
    positive = a.ops.relu(a["self"])
    negative = a.ops.minimum(a["self"], a.constant(0.0))
    grown = a.ops.subtract(a.ops.exp(a.ops.multiply(negative, a.constant(a["input_scale"]))), a.constant(1.0))
    both = a.ops.add(positive, a.ops.multiply(grown, a.constant(a["alpha"])))
    return a.ops.multiply(both, a.constant(a["scale"]))


def _gelu(a: Lowered) -> Any:
    return a.ops.gelu(a["self"], "tanh" if a["approximate"] == "tanh" else "erf")


def _leaky_relu(a: Lowered) -> Any:
    return a.ops.prelu(a["self"], a.constant([a["negative_slope"]]))


def _mean(a: Lowered) -> Any:
    return a.ops.reduce_mean(a["self"], a.whole(a["dim"]), a["keepdim"])


def _reshape(a: Lowered) -> Any:
    return a.ops.reshape(a["self"], a.whole(a.shape), special_zero=False)


def _matmul(a: Lowered) -> Any:
    return a.ops.matmul(a["self"], a["other"], transpose_a=False, transpose_b=False)


def _attention(a: Lowered) -> Any:
    """softmax(query key^T * scale + mask) value, as the one operation that OpenVINO has for it."""
    query, key, value = (a[name] for name in ("query", "key", "value"))
    if a["enable_gqa"]:
        heads = a.node.shape[-3] or 1
        key, value = (_repeated(a, side, heads) for side in (key, value))
    given = [query, key, value]
    if a["attn_mask"] is not None or a["scale"] is not None:
        given.append(a["attn_mask"] if a["attn_mask"] is not None else a.constant(0.0))
    if a["scale"] is not None:
        given.append(a.constant(a["scale"]))
    return a.ops.scaled_dot_product_attention(*given, causal=a["is_causal"])


def _repeated(a: Lowered, value: Any, heads: int) -> Any:
    """Return each head as often as queries share it, one after the other."""
    batch, found, length, width = value.get_shape()
    split = a.ops.unsqueeze(value, a.whole([2]))
    wide = a.ops.broadcast(split, a.whole([batch, found, heads // found, length, width]))
    return a.ops.reshape(wide, a.whole([batch, heads, length, width]), special_zero=False)


def _expand(a: Lowered) -> Any:
    return a.ops.broadcast(a["self"], a.whole(a.shape))


def _slice(a: Lowered) -> Any:
    ends = (a.whole([a[name]]) for name in ("start", "end", "step", "dim"))
    return a.ops.slice(a["self"], *ends)


PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def _pad(a: Lowered) -> Any:
    """Torch names the last axis first, begin and end side by side."""
    pad, rank = a["pad"], len(a.node.shape)
    sides = [pad[2 * place : 2 * place + 2] for place in range(len(pad) // 2)]
    begins, ends = ([0] * (rank - len(sides)) + [side[k] for side in sides[::-1]] for k in (0, 1))
    fill = a.constant(a["value"] or 0.0) if a["mode"] == "constant" else None
    return a.ops.pad(a["self"], a.whole(begins), a.whole(ends), PAD_MODES[a["mode"]], fill)


def _prelu(a: Lowered) -> Any:
    slope = a.arrays["weight"].reshape((1, -1) + (1,) * (len(a.node.shape) - 2))
    return a.ops.prelu(a["self"], a.constant(slope))


def _layer_norm(a: Lowered) -> Any:
    shape, rank = a["normalized_shape"], len(a.node.shape)
    axes = a.whole(range(rank - len(shape), rank))
    return _scaled(a, a.ops.mvn(a["input"], axes, True, a["eps"], "inside_sqrt"), shape)


def _group_norm(a: Lowered) -> Any:
    """Each group of channels, with all their pixels, as one row to normalise."""
    shape = a.shape
    rows = a.ops.reshape(a["input"], a.whole([shape[0], a["num_groups"], -1]), special_zero=False)
    normal = a.ops.mvn(rows, a.whole([2]), True, a["eps"], "inside_sqrt")
    back = a.ops.reshape(normal, a.whole(shape), special_zero=False)
    return _scaled(a, back, (1, -1) + (1,) * (len(shape) - 2))


def _scaled(a: Lowered, value: Any, shape: tuple[int, ...]) -> Any:
    """Multiply by a norm's weight and add its bias, where it has them."""
    for name, apply in (("weight", a.ops.multiply), ("bias", a.ops.add)):
        if a[name] is not None:
            value = apply(value, a.constant(a.arrays[name].reshape(shape)))
    return value


def _adaptive_avg_pool(a: Lowered) -> Any:
    size = tuple(a["output_size"])
    if set(size) == {1}:
        return a.ops.reduce_mean(a["self"], a.whole(range(2, 2 + len(size))), keep_dims=True)
    if size == tuple(a["self"].get_shape())[2:]:
        return a["self"]
    return a.ops.adaptive_avg_pool(a["self"], a.whole(list(size)))


def _rounding(a: Lowered) -> str:
    return "ceil_torch" if a["ceil_mode"] else "floor"


def _avg_pool(a: Lowered) -> Any:
    pads, counts_padding = a["padding"], a["count_include_pad"]
    if a["ceil_mode"] and any(pads) and counts_padding:
        return _avg_pool_past_padding(a)
    spread = (a["stride"], pads, pads, a["kernel_size"])
    return a.ops.avg_pool(a["self"], *spread, not counts_padding, _rounding(a), "explicit")


def _avg_pool_past_padding(a: Lowered) -> Any:
    """The last window may reach past the padding: torch leaves out what lies there, OpenVINO counts it.

    So the padding becomes part of the image. A window that starts in it is none of torch's and goes again.
    """
    rank = len(a["padding"])
    ends, none, ones = a.whole([0, 0, *a["padding"]]), [0] * rank, [1] * rank
    padded = a.ops.pad(a["self"], ends, ends, "constant", a.constant(0.0))
    pooled = a.ops.avg_pool(padded, a["stride"], none, none, a["kernel_size"], True, _rounding(a), "explicit")
    axes = a.whole(range(2, 2 + rank))
    return a.ops.slice(pooled, a.whole(none), a.whole(a.node.shape[2:]), a.whole(ones), axes)


def _max_pool(a: Lowered) -> Any:
    pads = a["padding"]
    return a.ops.max_pool(
        a["self"], a["stride"], a["dilation"], pads, pads, a["kernel_size"], _rounding(a), "explicit"
    )


LOWERINGS: dict[str, Lowering] = {
    "aten.conv1d.default": _conv,
    "aten.conv2d.default": _conv,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    "aten.relu.default": _unary("relu"),
    "aten.relu6.default": lambda a: a.ops.clamp(a["self"], 0.0, 6.0),
    "aten.hardtanh.default": _clamp("min_val", "max_val"),
    "aten.sigmoid.default": _unary("sigmoid"),
    "aten.tanh.default": _unary("tanh"),
    "aten.silu.default": _unary("swish"),
    "aten.hardswish.default": _unary("hswish"),
    "aten.hardsigmoid.default": _unary("hsigmoid"),
    "aten.gelu.default": _gelu,
    "aten.leaky_relu.default": _leaky_relu,
    "aten.elu.default": _elu,
    "aten.softmax.int": lambda a: a.ops.softmax(a["self"], a["dim"]),
    "aten.log_softmax.int": lambda a: a.ops.log_softmax(a["self"], a["dim"]),
    "aten.dropout.default": lambda a: a["input"],
    "aten.feature_dropout.default": lambda a: a["input"],
    "aten.add.Tensor": _binary("add"),
    "aten.sub.Tensor": _binary("subtract"),
    "aten.mul.Tensor": _binary("multiply"),
    "aten.div.Tensor": _binary("divide"),
    "aten.cat.default": lambda a: a.ops.concat(a["tensors"], a["dim"]),
    MATMUL: _matmul,
    ATTENTION: _attention,
    "aten.reshape.default": _reshape,
    EXPAND: _expand,
    "aten.permute.default": lambda a: a.ops.transpose(a["self"], a.whole(a["dims"])),
    "aten.slice.Tensor": _slice,
    "aten.select.int": lambda a: a.ops.gather(a["self"], a.whole(a["index"]), a.whole(a["dim"])),
    "aten.pad.default": _pad,
    "aten.prelu.default": _prelu,
    "aten.group_norm.default": _group_norm,
    "aten.layer_norm.default": _layer_norm,
    "aten.mean.dim": _mean,
    "aten.amax.default": lambda a: a.ops.reduce_max(a["self"], a.whole(a["dim"]), a["keepdim"]),
    "aten.adaptive_avg_pool1d.default": _adaptive_avg_pool,
    "aten.adaptive_avg_pool2d.default": _adaptive_avg_pool,
    "aten.avg_pool1d.default": _avg_pool,
    "aten.avg_pool2d.default": _avg_pool,
    "aten.max_pool1d.default": _max_pool,
    "aten.max_pool2d.default": _max_pool,
}
