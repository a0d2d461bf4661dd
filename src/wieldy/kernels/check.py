"""What every sparse kernel asks of its arrays before any address is computed from them."""

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import ConfigError, OutsideError, PackingError, ShapeError

BLOCKS = (1, 4, 8)  # rows that may share a pattern
LARGEST = 2**31 - 1  # kernels count in int32


def check_array(name: str, array: object, dtype: str, shape: tuple[int | str, ...]) -> None:
    """Raise ShapeError unless `array` has the dtype and shape; a word in the shape stands for any size.

    Example:
        >>> check_array("x", np.zeros((2, 3), np.float32), "float32", ("examples", 3))
    """
    found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
    sound = isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == len(shape)
    if sound and isinstance(array, np.ndarray):
        sound = all(
            isinstance(rule, str) or rule == size for rule, size in zip(shape, array.shape, strict=True)
        )
    if not sound:
        rule = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ShapeError(f"{name}: must be an array of {dtype} ({rule}); got {found}.")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise ConfigError unless `value` is a whole number of at least `least`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value <= LARGEST:  # type: ignore[operator]
        raise ConfigError(f"{name}: must be a whole number from {least} to {LARGEST:,}; got {value!r}.")


def check_clamp(name: str, low: float, high: float) -> None:
    """Raise ConfigError unless low <= high; neither may be NaN, both may be infinite."""
    if not low <= high:
        raise ConfigError(f"{name}: low must be a number up to high; got low {low} and high {high}.")


def check_rows(
    name: str,
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    *,
    rows: int,
    width: int,
) -> None:
    """Refuse block rows that are not sound: a kernel follows them without a further look.

    Args:
        name: of the layer, for the message.
        starts, columns, values: see `wieldy.kernels.region.ops.Conv`.
        rows: outputs.
        width: columns that there are.

    Raises:
        ShapeError: an array has another dtype or shape.
        ConfigError: a block is of a size that no kernel has.
        SchemaError: starts or columns contradict each other or the sizes.
    """
    check_array(f"{name}: columns", columns, "int32", ("kept",))
    check_array(f"{name}: values", values, "float32", (len(columns), "block"))
    block = values.shape[1]
    if block not in BLOCKS:
        raise ConfigError(f"{name}: block must be one of {', '.join(map(str, BLOCKS))}; got {block}.")
    check_array(f"{name}: starts", starts, "int32", (-(-rows // block) + 1,))
    lengths = starts[1:].astype(np.int64) - starts[:-1]
    if starts[0] != 0 or starts[-1] != len(columns) or (lengths < 0).any():
        raise PackingError(
            f"{name}: starts must ascend from 0 to the {len(columns):,} kept columns; "
            f"got {starts[0]} to {starts[-1]}, smallest step {lengths.min(initial=0)}."
        )
    _check_columns(name, columns, np.repeat(np.arange(len(lengths)), lengths), width)


def _check_columns(name: str, columns: NDArray[np.int32], row_of: NDArray[np.int64], width: int) -> None:
    outside = np.flatnonzero((columns < 0) | (columns >= width))
    if len(outside):
        raise OutsideError(f"{name}: a column must be from 0 to {width - 1}; got {columns[outside[0]]}.")
    unsorted = np.flatnonzero((np.diff(columns) <= 0) & (np.diff(row_of) == 0))
    if len(unsorted):
        at = unsorted[0]
        raise PackingError(
            f"{name}: the columns of a block row must ascend, each once; "
            f"got {columns[at]} before {columns[at + 1]} in block row {row_of[at]}."
        )
