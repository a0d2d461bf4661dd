"""What a convolution of levels asks of its settings and arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from wieldy.core.errors import ConfigError, OversizeError
from wieldy.kernels.check import LARGEST, check_array
from wieldy.kernels.region.ops import Concat, Conv, LevelConv, Levels, Op, Pooling, Size
from wieldy.kernels.sparse_conv.check import check_settings, read_size, target_size

TOP = 255  # the largest level
PAIR = 128  # of two neighbouring weights of one sign: 255 * 128 fits sixteen bits


def check_level_conv(op: LevelConv, inputs: Mapping[str, Size]) -> Size:
    """Refuse a convolution of levels that cannot be planned, or whose sums may leave int32.

    Args:
        op: the convolution.
        inputs: sizes of the values that it may read, by name; in channels, not in words.

    Returns:
        The size of its result.

    Raises:
        ConfigError: a setting is out of range, or a value that is read is not known.
        ShapeError: an array has another dtype or shape, the kernel does not fit the padded input, or the
            residual is of another size.
        SchemaError: a sum may leave int32; names the channel.

    Example:
        >>> weight = np.ones((1, 4, 3, 3), np.int8)
        >>> op = LevelConv("x", "y", weight, np.zeros(1, np.int32), np.ones(1, np.float32), stride=(2, 2))
        >>> check_level_conv(op, {"x": Size(4, 9, 9)})
        Size(channels=1, height=4, width=4)
    """
    source = read_size(op, op.source, inputs)
    check_array(f"{op.target}: weight", op.weight, "int8", ("channels", "inputs", "rows", "columns"))
    check_settings(op)
    if op.channels % op.groups or op.weight.shape[1] * op.groups != source.channels or 0 in op.weight.shape:
        raise ConfigError(
            f"{op.target}: {op.groups} groups must divide the {op.channels} channels out, and the "
            f"channels in must be {source.channels}; the weight is {op.weight.shape}."
        )
    check_array(f"{op.target}: bias", op.bias, "int32", (op.channels,))
    check_array(f"{op.target}: scale", op.scale, "float32", (op.channels,))
    _check_numbers(op)
    _check_sums(op)
    return target_size(op, source, inputs)


def _check_numbers(op: LevelConv) -> None:
    scales = np.append(op.scale, np.float32(op.residual_scale))
    if not np.isfinite(scales).all():
        found = scales[~np.isfinite(scales)][0]
        raise ConfigError(f"{op.target}: scales must be finite; one is {found}.")
    for name in ("pad", "zero", "residual_zero"):
        if not 0 <= getattr(op, name) <= TOP:
            raise ConfigError(f"{op.target}: {name} must be a level, 0 to {TOP}; got {getattr(op, name)}.")
    if not op.numbers and not 0 <= op.low + op.zero <= op.high + op.zero <= TOP:
        raise ConfigError(
            f"{op.target}: levels must stay within 0 to {TOP}; got {op.low + op.zero} to {op.high + op.zero}."
        )


def _check_sums(op: LevelConv) -> None:
    """No sum, in any order of its terms, may leave int32: |bias| + 255 sum |w| has to fit."""
    largest = TOP * np.abs(op.weight.astype(np.int64)).sum(axis=(1, 2, 3)) + np.abs(op.bias.astype(np.int64))
    if largest.max() > LARGEST:
        row = int(largest.argmax())
        raise OversizeError(
            f"{op.target}: channel {row}'s sum may reach {largest[row]:,}, and int32 ends at {LARGEST:,}. "
            "Keep the layer in float32."
        )


def fits_pairs(op: LevelConv) -> bool:
    """Whether the variant that adds products in pairs of sixteen bits computes exactly.

    Pairs are the first and the last two of four neighbouring channels.

    Example:
        >>> arrays = np.zeros(1, np.int32), np.ones(1, np.float32)
        >>> pair = [np.int8([w]).reshape(1, 2, 1, 1) for w in ([64, 64], [-127, 127], [65, 64])]
        >>> [fits_pairs(LevelConv("x", "y", weight, *arrays)) for weight in pair]
        [True, True, False]
    """
    inputs = op.weight.shape[1]
    weight = op.weight.astype(np.int32).reshape(op.groups, -1, inputs, op.kernel[0] * op.kernel[1])
    begins = np.arange(op.groups) * inputs % 2  # a group may begin in the middle of a pair
    for shift in np.unique(begins):
        pads = ((0, 0), (0, 0), (int(shift), -(inputs + int(shift)) % 2), (0, 0))
        padded = np.pad(weight[begins == shift], pads)
        for signed in (np.maximum(padded, 0), np.maximum(-padded, 0)):
            if (signed[:, :, ::2] + signed[:, :, 1::2]).max(initial=0) > PAIR:
                return False
    return True


def check_levels(ops: Sequence[Op], levels: Mapping[str, Levels]) -> None:
    """Refuse operations whose values are not kept as they compute them.

    Raises:
        ConfigError: names the operation and the value.
    """
    for op in ops:
        for name, expected in _kept(op, levels).items():
            if (name in levels) != expected:
                kept = "levels" if expected else "float32"
                raise ConfigError(f"{op.target}: {name!r} must be kept as {kept}, and is not.")
        if isinstance(op, Pooling) and op.source in levels and levels[op.source] != levels[op.target]:
            raise ConfigError(f"{op.target}: a pooling of the largest keeps the levels of {op.source!r}.")


def _kept(op: Op, levels: Mapping[str, Levels]) -> dict[str, bool]:
    """Return which values of an operation must be levels, and which must not; the others may be either."""
    if isinstance(op, LevelConv):
        residual = {op.residual: not op.residual_numbers} if op.residual else {}
        return {op.source: True, op.target: not op.numbers} | residual
    if isinstance(op, Conv):
        return {op.source: False, op.target: False} | ({op.residual: False} if op.residual else {})
    if isinstance(op, Concat):
        return dict.fromkeys(op.sources, op.target in levels)
    if isinstance(op, Pooling):
        return {op.source: False, op.target: False} if op.average else {op.target: op.source in levels}
    return {op.target: False}
