"""The slow, obvious version of a convolution of levels: whole numbers, one weight after the other."""

import numpy as np
from numpy.typing import NDArray

from wieldy.kernels.region.ops import LevelConv, Levels
from wieldy.kernels.sparse_conv.check import extent_of


def sums(x: NDArray[np.uint8], op: LevelConv) -> NDArray[np.int64]:
    """Return bias[r] + sum_i w[i] * x[n, c, v, u], exact; outside of x lies the level `op.pad`.

    Args:
        x: (batch, channels, height, width) uint8.
        op: see `LevelConv`.

    Returns:
        (batch, op.channels, rows, columns) int64, all of which fit int32.
    """
    pads = ((0, 0), (0, 0), *((size, size) for size in op.padding))
    padded = np.pad(x.astype(np.int64), pads, constant_values=op.pad)
    rows, columns = (extent_of(op, size, axis) for axis, size in enumerate(x.shape[2:]))
    out = np.zeros((len(x), op.channels, rows, columns), np.int64)
    out += op.bias.astype(np.int64)[:, None, None]
    in_group, out_of_group = x.shape[1] // op.groups, op.channels // op.groups
    for row, own, i, j in np.argwhere(op.weight):
        channel = own + row // out_of_group * in_group
        top, left = i * op.dilation[0], j * op.dilation[1]
        window = padded[
            :, channel,
            top : top + (rows - 1) * op.stride[0] + 1 : op.stride[0],
            left : left + (columns - 1) * op.stride[1] + 1 : op.stride[1],
        ]  # fmt: skip
        out[:, row] += int(op.weight[row, own, i, j]) * window
    return out


def sparse_int8(
    x: NDArray[np.uint8], op: LevelConv, residual: NDArray[np.uint8] | NDArray[np.float32] | None = None
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return the levels, or the numbers, of a convolution; the contract is equality, bit for bit.

    Formula::

        y = float32(sum) * scale[r] + (residual - residual_zero) * residual_scale, each operation in float32
        level = rint(clip(y, low, high)) + zero        number = clip(y, low, high)

    Rounding is `rounding.single_even`.

    Args:
        x: (batch, channels, height, width) uint8.
        op: weight, bias, scales, stride, padding, dilation, groups; see `LevelConv`.
        residual: of the result's shape, uint8, or float32 where `op.residual_numbers`; None if there is none.

    Returns:
        (batch, op.channels, rows, columns) uint8, or float32 where `op.numbers`.

    Cost: a pass over the result for each weight that is not zero.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018, sections 2.2 to 2.4.

    Example:
        >>> op = LevelConv("x", "y", np.int8([[[[3]]]]), np.int32([-6]), np.float32([0.5]))
        >>> sparse_int8(np.uint8([[[[1, 3, 200]]]]), op).tolist()
        [[[[0, 2, 255]]]]
    """
    return finished(sums(x, op), op, residual)


def finished(
    whole: NDArray[np.int64], op: LevelConv, residual: NDArray[np.uint8] | NDArray[np.float32] | None = None
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return the levels, or the numbers, that sums become."""
    y = whole.astype(np.float32) * op.scale[:, None, None]
    if residual is not None:
        numbers = residual if op.residual_numbers else residual.astype(np.int32) - op.residual_zero
        y = y + numbers.astype(np.float32) * np.float32(op.residual_scale)
    held: NDArray[np.float32] = np.clip(y, np.float32(op.low), np.float32(op.high))
    if op.numbers:
        return held
    levels: NDArray[np.uint8] = (np.rint(held).astype(np.int32) + op.zero).astype(np.uint8)
    return levels


def levels_of(numbers: NDArray[np.float32], known: Levels) -> NDArray[np.uint8]:
    """Return the levels of numbers: rint(number / scale) + zero, held between the least and the largest.

    The quotient is a product with 1 / scale in float32, as in torch's fake quantization; a NaN becomes the
    least level.

    Example:
        >>> levels_of(np.float32([-1.0, 0.5, 1.5, 900.0]), Levels(1.0, zero=2)).tolist()
        [1, 2, 4, 255]
    """
    inverse = np.float32(1) / np.float32(known.scale)
    y = np.where(np.isnan(numbers), -np.inf, numbers * inverse)
    held = np.clip(y, np.float32(known.least - known.zero), np.float32(known.largest - known.zero))
    levels: NDArray[np.uint8] = (np.rint(held).astype(np.int32) + known.zero).astype(np.uint8)
    return levels


def numbers_of(levels: NDArray[np.uint8], known: Levels) -> NDArray[np.float32]:
    """Return what levels stand for: scale * (level - zero)."""
    return (levels.astype(np.int32) - known.zero).astype(np.float32) * np.float32(known.scale)
