"""The slow, obvious version of the sparse convolution: every kept weight, one after the other, in float64."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wieldy.kernels.contract import Contract
from wieldy.kernels.region.ops import Conv
from wieldy.kernels.sparse_conv.check import extent_of

CONTRACT = Contract("sparse_conv", "|bias| + |residual| + sum |v*x|")


def sparse_conv(
    x: NDArray[np.float32], op: Conv, residual: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Return clamp(conv(x) + bias + residual, low, high), not rounded to float32.

    Formula::

        out[n, r, y, x] = clamp(bias[r] + residual[n, r, y, x] + sum_i v[i] * in[n, c, v, u], low, high)
        v = y * stride + row * dilation - padding, and u likewise from x and column

    over the kept weights i = (c, row, column) of r. Zeros of the padding are left out; NaN passes the clamp.

    Args:
        x: (batch, channels, height, width) float32.
        op: kernel, stride, padding, dilation, groups, clamp and block rows; see `Conv`.
        residual: of the result's shape; None if there is none.

    Returns:
        (batch, op.channels, rows, columns) float64.

    Cost: a pass over the result for each kept weight.

    Source: Faster CNNs with Direct Sparse Convolutions and Guided Pruning (arXiv 1608.01409), section 3.

    Example:
        >>> arrays = np.array([0, 1], np.int32), np.array([3], np.int32), np.full((1, 1), 2, np.float32)
        >>> op = Conv("x", "y", 1, 1, *arrays, np.ones(1, np.float32), kernel=(2, 2))
        >>> sparse_conv(np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3), op).tolist()
        [[[[9.0, 11.0], [15.0, 17.0]]]]
    """
    rows, columns = (extent_of(op, size, axis) for axis, size in enumerate(x.shape[2:]))
    out = np.zeros((len(x), op.channels, rows, columns))
    out += op.bias.astype(np.float64)[:, None, None]
    if residual is not None:
        out += residual
    in_group, out_of_group = x.shape[1] // op.groups, op.channels // op.groups
    for row in range(op.channels):
        block, lane = divmod(row, op.block)
        for entry in range(op.starts[block], op.starts[block + 1]):
            channel, place = divmod(int(op.columns[entry]), op.kernel[0] * op.kernel[1])
            channel += row // out_of_group * in_group
            _add(out[:, row], x[:, channel], op, divmod(place, op.kernel[1]), float(op.values[entry, lane]))
    low, high = float(np.float32(op.low)), float(np.float32(op.high))
    return np.where(np.isnan(out), out, np.clip(out, low, high))


def error_bound(
    x: NDArray[np.float32], op: Conv, residual: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Return how far each result of a compiled variant may lie from the reference: CONTRACT, elementwise."""
    unclamped = replace(
        op, values=np.abs(op.values), bias=np.abs(op.bias), low=-float("inf"), high=float("inf")
    )
    magnitude = sparse_conv(np.abs(x), unclamped, None if residual is None else np.abs(residual))
    terms = np.repeat(np.diff(op.starts), op.block)[: op.channels].astype(np.int64)
    return CONTRACT.bound(terms[:, None, None], magnitude)


def _add(
    out: NDArray[np.float64], plane: NDArray[np.float32], op: Conv, place: tuple[int, int], value: float
) -> None:
    """Add one weight times the pixels that it meets; what it meets in the padding is left out."""
    write, read = [slice(None)], [slice(None)]
    for axis in (0, 1):
        stride, at = op.stride[axis], place[axis] * op.dilation[axis] - op.padding[axis]
        first = max(0, -(at // stride))
        end = min(out.shape[1 + axis], (plane.shape[1 + axis] - 1 - at) // stride + 1)
        if end <= first:
            return
        write.append(slice(first, end))
        read.append(slice(first * stride + at, (end - 1) * stride + at + 1, stride))
    out[tuple(write)] += value * plane[tuple(read)].astype(np.float64)
