"""A sparse linear layer on a compiled variant, called by name."""

import numpy as np
from numpy.typing import NDArray

from wieldy.kernels.check import check_array, check_count
from wieldy.kernels.native import check_variant, native
from wieldy.kernels.sparse_linear.check import check_linear
from wieldy.kernels.sparse_linear.plan import plan_linear


def sparse_linear(
    x: NDArray[np.float32],
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    low: float = -np.inf,
    high: float = np.inf,
    variant: str,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return clamp(bias + W x, low, high), as `reference.sparse_linear` within its CONTRACT.

    Args:
        x: (examples, inputs) float32; copied first unless it is contiguous.
        starts, columns, values, bias: block rows; see `reference.sparse_linear`.
        low, high: of the clamp; a NaN passes it.
        variant: one of `wieldy.kernels.native.variants()`.
        threads: at least 1.

    Returns:
        (examples, outputs) float32.

    Raises:
        KernelError: this CPU cannot run the variant, or there are no compiled kernels.
        ConfigError, ShapeError, SchemaError: see `check_linear`.

    Cost: 2 * examples * kept * block floating-point operations, and a plan.
    """
    check_variant(variant)
    check_count("threads", threads)
    check_array("x", x, "float32", ("examples", "inputs"))
    check_linear(starts, columns, values, bias, inputs=x.shape[1], low=low, high=high)
    plan = plan_linear(starts, columns, values, bias, inputs=x.shape[1], threads=threads)
    out = np.empty((len(x), len(bias)), np.float32)
    native().run_linear(
        np.ascontiguousarray(x), *plan.constants(), out, low, high, values.shape[1], plan.wide, variant,
        threads,
    )  # fmt: skip
    return out
