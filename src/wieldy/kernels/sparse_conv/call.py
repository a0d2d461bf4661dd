"""One sparse convolution on a compiled variant, called by name."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import ConfigError
from wieldy.kernels.check import check_array, check_count
from wieldy.kernels.native import check_variant
from wieldy.kernels.region.ops import Conv, Size
from wieldy.kernels.region.plan import plan_region
from wieldy.kernels.region.run import run_plan


def sparse_conv(
    x: NDArray[np.float32],
    op: Conv,
    residual: NDArray[np.float32] | None = None,
    *,
    variant: str,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return clamp(conv(x) + bias + residual, low, high), as `reference.sparse_conv` within its CONTRACT.

    The compiled kernels multiply the zeros of the padding too: a weight that is not finite makes NaN there,
    as it does in a dense convolution. A pixel that is not finite reaches what its kept weights reach.

    Args:
        x: (batch, channels, height, width) float32; copied first unless it is contiguous.
        op: kernel, stride, padding, dilation, groups, clamp and block rows; see `Conv`.
        residual: float32 of the result's shape; given exactly where the operation names one.
        variant: one of `wieldy.kernels.native.variants()`.
        threads: at least 1.

    Returns:
        (batch, op.channels, rows, columns) float32.

    Raises:
        KernelError: this CPU cannot run the variant, or there are no compiled kernels.
        ConfigError, ShapeError, SchemaError: see `check_conv`.

    Cost: 2 * kept weights * pixels of the result, and a plan, which a region would make once.

    Source: Faster CNNs with Direct Sparse Convolutions and Guided Pruning (arXiv 1608.01409), section 3.
    """
    check_variant(variant)
    check_count("threads", threads)
    tensors = _tensors(x, op, residual)
    op = replace(op, source="x", target="out", residual=None if residual is None else "residual")
    sizes = {name: Size(*tensor.shape[1:]) for name, tensor in tensors.items()}
    plan = plan_region(sizes, [op], ["out"], variant=variant, threads=threads)
    ((out,), _) = run_plan(plan, list(tensors.values()), threads=threads)
    return out


def _tensors(
    x: NDArray[np.float32], op: Conv, residual: NDArray[np.float32] | None
) -> dict[str, NDArray[np.float32]]:
    check_array("x", x, "float32", ("batch", "channels", "height", "width"))
    if (residual is None) != (op.residual is None):
        raise ConfigError(
            f"residual: must be given exactly where the operation names one; it names {op.residual!r}, "
            f"and {'none' if residual is None else 'one'} was given."
        )
    tensors = {"x": np.ascontiguousarray(x)}
    if residual is not None:
        check_array("residual", residual, "float32", (len(x), "channels", "height", "width"))
        tensors["residual"] = np.ascontiguousarray(residual)
    return tensors
