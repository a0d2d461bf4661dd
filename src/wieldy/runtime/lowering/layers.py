"""Layers with weights, norms, pooling and attention."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.graph.fold import affine
from wieldy.graph.ops import LSTM
from wieldy.runtime.lowering.context import Lowered


def conv(a: Lowered) -> Any:
    """A convolution, in groups or not, with its bias."""
    pads, shape = a["padding"], a.arrays["weight"].shape
    spread = (a["stride"], pads, pads, a["dilation"])
    if a["groups"] == 1:
        result = a.ops.convolution(a["input"], a.weight(), *spread)
    else:
        grouped = a.weight((a["groups"], shape[0] // a["groups"], *shape[1:]), rows=2)
        result = a.ops.group_convolution(a["input"], grouped, *spread)
    return _plus_bias(a, result, (1, -1) + (1,) * (len(a.node.shape) - 2))


def linear(a: Lowered) -> Any:
    """x W^T + b."""
    if a.arrays["weight"].size == 1:  # OpenVINO 2026.4 cannot compile a chain with a 1 x 1 matrix
        result = a.ops.multiply(a["input"], a.constant(a.arrays["weight"].reshape(())))
    else:
        result = a.ops.matmul(a["input"], a.weight(), transpose_a=False, transpose_b=True)
    return _plus_bias(a, result, (1,) * (len(a.node.shape) - 1) + (-1,))


def _plus_bias(a: Lowered, result: Any, shape: tuple[int, ...]) -> Any:
    if a["bias"] is None:
        return result
    return a.ops.add(result, a.constant(a.arrays["bias"].reshape(shape)))


def batch_norm(a: Lowered) -> Any:
    """y = (x - mean) / sqrt(var + eps) * weight + bias as one multiply and one add, which OpenVINO folds."""
    scale, shift = affine(a.arrays, a["eps"])
    shape = (1, -1) + (1,) * (len(a.node.shape) - 2)
    scaled = a.ops.multiply(a["input"], a.constant(scale.reshape(shape)), name=f"{a.node.name}/scale")
    return a.ops.add(scaled, a.constant(shift.reshape(shape)))


def attention(a: Lowered) -> Any:
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


def prelu(a: Lowered) -> Any:
    """A slope for each channel below zero."""
    slope = a.arrays["weight"].reshape((1, -1) + (1,) * (len(a.node.shape) - 2))
    return a.ops.prelu(a["self"], a.constant(slope))


def layer_norm(a: Lowered) -> Any:
    """Zero mean and unit variance over the last axes."""
    shape, rank = a["normalized_shape"], len(a.node.shape)
    axes = a.whole(range(rank - len(shape), rank))
    return _scaled(a, a.ops.mvn(a["input"], axes, True, a["eps"], "inside_sqrt"), shape)


def group_norm(a: Lowered) -> Any:
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


def adaptive_avg_pool(a: Lowered) -> Any:
    """To a size; to one by a mean."""
    size = tuple(a["output_size"])
    if set(size) == {1}:
        return a.ops.reduce_mean(a["self"], a.whole(range(2, 2 + len(size))), keep_dims=True)
    if size == tuple(a["self"].get_shape())[2:]:
        return a["self"]
    return a.ops.adaptive_avg_pool(a["self"], a.whole(list(size)))


def _rounding(a: Lowered) -> str:
    return "ceil_torch" if a["ceil_mode"] else "floor"


def avg_pool(a: Lowered) -> Any:
    """Means of windows."""
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


def max_pool(a: Lowered) -> Any:
    """The largest of each window."""
    pads = a["padding"]
    return a.ops.max_pool(
        a["self"], a["stride"], a["dilation"], pads, pads, a["kernel_size"], _rounding(a), "explicit"
    )


def conv_transpose(a: Lowered) -> Any:
    """Backward through a convolution whose weight is (inputs, outputs / groups, ...)."""
    pads, weight = a["padding"], a.arrays["weight"]
    spread = (a["stride"], pads, pads, a["dilation"])
    more = {"output_padding": a["output_padding"]}
    if a["groups"] == 1:
        result = a.ops.convolution_backprop_data(
            a["input"], a["weight"], a["stride"], None, *spread[1:], **more
        )
    else:
        grouped = a.constant(weight.reshape(a["groups"], -1, *weight.shape[1:]))
        result = a.ops.group_convolution_backprop_data(
            a["input"], grouped, a["stride"], None, *spread[1:], **more
        )
    return _plus_bias(a, result, (1, -1) + (1,) * (len(a.node.shape) - 2))


def embedding(a: Lowered) -> Any:
    """Rows of a table."""
    return a.ops.gather(a["weight"], a["indices"], a.whole(0))


def recurrent(a: Lowered) -> Any:
    """One layer in one direction. Torch has the gates of an LSTM as input, forget, cell, output, OpenVINO as
    forget, input, cell, output; those of a GRU as reset, update, new, OpenVINO as update, reset, new."""
    is_lstm = a.node.op == LSTM
    order = (1, 0, 2, 3) if is_lstm else (1, 0, 2)
    batch, length, hidden = a.shape

    def gates(name: str) -> NDArray[Any]:
        array = a.arrays.get(name, np.zeros(len(order) * hidden, np.float32))
        return np.concatenate([np.split(array, len(order))[gate] for gate in order])

    first, second = gates("bias_ih"), gates("bias_hh")
    bias = first + second
    if not is_lstm:  # what the new gate adds to its state is scaled by the reset gate
        bias = np.concatenate([bias[: 2 * hidden], first[2 * hidden :], second[2 * hidden :]])
    constants = [a.constant(array[None]) for array in (gates("weight_ih"), gates("weight_hh"), bias)]
    state = a.constant(np.zeros((batch, 1, hidden)))
    lengths = a.whole(np.full(batch, length))
    direction = "reverse" if a["reverse"] else "forward"
    if is_lstm:
        made = a.ops.lstm_sequence(a["input"], state, state, lengths, *constants, hidden, direction)
    else:
        made = a.ops.gru_sequence(
            a["input"], state, lengths, *constants, hidden, direction, linear_before_reset=True
        )
    return a.ops.squeeze(made.output(0), a.whole([1]))


def upsample(a: Lowered) -> Any:
    """To a size, by the nearest or between the four nearest."""
    size, nearest = list(a["output_size"]), "nearest" in a.node.op
    axes = a.whole(range(2, 2 + len(size)))
    if nearest:
        return a.ops.interpolate(
            a["input"], a.whole(size), "nearest", "sizes", axes=axes,
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
    corners = "align_corners" if a["align_corners"] else "half_pixel"
    return a.ops.interpolate(
        a["input"], a.whole(size), "linear_onnx", "sizes", axes=axes, coordinate_transformation_mode=corners
    )
