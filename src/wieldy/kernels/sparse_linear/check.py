"""What a sparse linear layer asks of its settings and arrays."""

import numpy as np
from numpy.typing import NDArray

from wieldy.kernels.check import check_array, check_clamp, check_count, check_rows


def check_linear(
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    inputs: int,
    low: float,
    high: float,
) -> None:
    """Refuse a linear layer that would read or write out of its place.

    Raises:
        ConfigError: a block is of a size that no kernel has, or low is above high.
        ShapeError: an array has another dtype or shape.
        SchemaError: starts or columns contradict each other or the sizes.

    Example:
        >>> arrays = np.array([0, 1], np.int32), np.array([4], np.int32), np.ones((1, 1), np.float32)
        >>> check_linear(*arrays, np.zeros(1, np.float32), inputs=5, low=0, high=6)
    """
    check_count("sparse_linear: inputs", inputs)
    check_array("sparse_linear: bias", bias, "float32", ("outputs",))
    check_count("sparse_linear: outputs", len(bias))
    check_rows("sparse_linear", starts, columns, values, rows=len(bias), width=inputs)
    check_clamp("sparse_linear", low, high)
