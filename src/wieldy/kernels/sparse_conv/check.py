"""What a sparse convolution asks of its settings and arrays."""

from collections.abc import Mapping

from wieldy.core.errors import ConfigError, ShapeError
from wieldy.kernels.check import LARGEST, check_array, check_clamp, check_count, check_rows
from wieldy.kernels.region.layout import Geometry, phases, split_resolution
from wieldy.kernels.region.ops import Conv, LevelConv, Shifting, Size

MOST_TAPS = 2**16  # of a kernel: the planner looks at each


def check_conv(op: Conv, inputs: Mapping[str, Size]) -> Size:
    """Refuse a convolution that cannot be planned or that would read or write out of its place.

    Args:
        op: the convolution.
        inputs: sizes of the values that it may read, by name.

    Returns:
        The size of its result.

    Raises:
        ConfigError: a setting is out of range, or a value that is read is not known.
        ShapeError: an array has another dtype or shape, the kernel does not fit the padded input, or the
            residual is of another size.
        SchemaError: starts or columns contradict each other or the sizes.

    Example:
        >>> import numpy as np
        >>> arrays = np.array([0, 1], np.int32), np.array([4], np.int32), np.ones((1, 1), np.float32)
        >>> op = Conv("x", "y", 1, 1, *arrays, np.zeros(1, np.float32), kernel=(3, 3), stride=(2, 2))
        >>> check_conv(op, {"x": Size(1, 9, 9)})
        Size(channels=1, height=4, width=4)
    """
    check_settings(op)
    source = read_size(op, op.source, inputs)
    _check_groups(op, source)
    width = source.channels // op.groups * op.kernel[0] * op.kernel[1]
    check_array(f"{op.target}: columns", op.columns, "int32", ("kept",))
    check_array(f"{op.target}: values", op.values, "float32", (len(op.columns), op.block))
    check_rows(op.target, op.starts, op.columns, op.values, rows=op.channels, width=width)
    check_array(f"{op.target}: bias", op.bias, "float32", (op.channels,))
    return target_size(op, source, inputs)


def target_size(op: Conv | LevelConv, source: Size, inputs: Mapping[str, Size]) -> Size:
    """Return the size of a result; refuses a kernel or residual that does not fit, and planes too large."""
    target = Size(op.channels, _extent(op, source, 0), _extent(op, source, 1))
    if op.residual is not None and read_size(op, op.residual, inputs) != target:
        raise ShapeError(
            f"{op.target}: the residual must be of the result's size {target}; got {inputs[op.residual]}."
        )
    _check_workspace(op, source, target)
    return target


def check_settings(op: Conv | LevelConv) -> None:
    """Refuse settings that are out of range."""
    check_count(f"{op.target}: channels", op.channels)
    check_count(f"{op.target}: groups", op.groups)
    least = {"kernel": 1, "stride": 1, "padding": 0, "dilation": 1}
    for name, smallest in least.items():
        pair = getattr(op, name)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ConfigError(f"{op.target}: {name} must be two numbers, of rows and columns; got {pair!r}.")
        for value in pair:
            check_count(f"{op.target}: {name}", value, smallest)
    if op.kernel[0] * op.kernel[1] > MOST_TAPS:
        raise ConfigError(f"{op.target}: kernel may have {MOST_TAPS:,} places; got {op.kernel}.")
    check_clamp(op.target, op.low, op.high)


def read_size(op: Shifting, name: str, inputs: Mapping[str, Size]) -> Size:
    """Return the size of a value that an operation reads; refuses one that is not known."""
    if name not in inputs:
        known = ", ".join(inputs) or "none"
        raise ConfigError(f"{op.target}: reads {name!r}, which must be one of the known values: {known}.")
    for field in ("channels", "height", "width"):
        check_count(f"{name}: {field}", getattr(inputs[name], field))
    return inputs[name]


def _check_groups(op: Conv, source: Size) -> None:
    if op.channels % op.groups or source.channels % op.groups:
        raise ConfigError(
            f"{op.target}: groups must divide the channels; got {op.groups} groups, "
            f"{source.channels} channels in and {op.channels} out."
        )
    rows = op.channels // op.groups
    if op.groups > 1 and op.block > 0 and rows % op.block:
        raise ConfigError(
            f"{op.target}: block must divide the {rows} channels of a group, so that no block spans two; "
            f"got {op.block}. Use 1."
        )


def extent_of(op: Shifting, size: int, axis: int) -> int:
    """Return height or width of a result from that of the source."""
    window = op.dilation[axis] * (op.kernel[axis] - 1) + 1
    return (size + 2 * op.padding[axis] - window) // op.stride[axis] + 1


def _extent(op: Shifting, source: Size, axis: int) -> int:
    """Return height or width of the result; refuses a kernel that does not fit."""
    found = extent_of(op, (source.height, source.width)[axis], axis)
    if found < 1:
        size = (source.height, source.width)[axis] + 2 * op.padding[axis]
        window = op.dilation[axis] * (op.kernel[axis] - 1) + 1
        raise ShapeError(
            f"{op.target}: the kernel must fit the padded input; its {('rows', 'columns')[axis]} "
            f"span {window} of {size}."
        )
    return found


def _check_workspace(op: Conv | LevelConv, source: Size, target: Size) -> None:
    """Refuse what int32 cannot count; the planes of one operation alone, which a region only widens."""
    geometry = Geometry([op], {op.source: source, op.target: target})
    values = [((source.height, source.width), source.channels)]
    values += [((target.height, target.width), target.channels)] * (2 if op.residual else 1)
    if op.stride != (1, 1):
        values.append((split_resolution(source, op.stride), source.channels * len(phases(op))))
    floats = sum(geometry.planes(size, channels, zeros=True).floats for size, channels in values)
    if floats > LARGEST:
        raise ConfigError(
            f"{op.target}: its padded planes may take {LARGEST:,} floats; they would take {floats:,}. "
            "Use a smaller input."
        )
