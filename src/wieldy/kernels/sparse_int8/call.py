"""One convolution of levels on a compiled variant, called by name."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import ConfigError, KernelError
from wieldy.kernels.check import check_array, check_count
from wieldy.kernels.native import IN_PAIRS, level_variants
from wieldy.kernels.region.ops import LevelConv, Levels, Size
from wieldy.kernels.region.plan import plan_region
from wieldy.kernels.region.run import run_plan
from wieldy.kernels.sparse_int8.check import fits_pairs
from wieldy.kernels.sparse_int8.reference import levels_of, numbers_of


def check_level_variant(name: str, op: LevelConv) -> None:
    """Raise KernelError unless this CPU can run the variant, and the variant the weights, exactly."""
    if name not in level_variants():
        raise KernelError(
            f"variant: must be one of {', '.join(level_variants()) or 'none'} on this CPU; got {name!r}."
        )
    if name in IN_PAIRS and not fits_pairs(op):
        raise KernelError(
            f"{op.target}: {name} adds products in pairs of sixteen bits, which neighbouring weights of more "
            "than 128 together may leave. Use weights of 7 bits."
        )


def levels_at_unit_scale(op: LevelConv) -> dict[str, Levels]:
    """Return levels of what an operation reads and makes whose numbers are those levels less their zero."""
    zeros = {op.source: op.pad} | ({} if op.numbers else {op.target: op.zero})
    if op.residual and not op.residual_numbers:
        zeros[op.residual] = op.residual_zero
    return {name: Levels(1.0, zero) for name, zero in zeros.items()}


def sparse_int8(
    x: NDArray[np.uint8],
    op: LevelConv,
    residual: NDArray[np.uint8] | NDArray[np.float32] | None = None,
    *,
    variant: str,
    threads: int = 1,
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return what `reference.sparse_int8` does, bit for bit.

    Args:
        x: (batch, channels, height, width) uint8.
        op: see `LevelConv`.
        residual: of the result's shape, uint8, or float32 where `op.residual_numbers`; given exactly where
            the operation names one.
        variant: one of `wieldy.kernels.native.level_variants()`.
        threads: at least 1.

    Returns:
        (batch, op.channels, rows, columns) uint8, or float32 where `op.numbers`.

    Raises:
        KernelError: this CPU cannot run the variant, or the variant not these weights.
        ConfigError, ShapeError, SchemaError: see `check_level_conv`.

    Cost: four multiplications for each block of weights that is not all zeros and each pixel of the result.
    """
    check_level_variant(variant, op)
    check_count("threads", threads)
    check_array("x", x, "uint8", ("batch", "channels", "height", "width"))
    if (residual is None) != (op.residual is None):
        raise ConfigError("residual: must be given exactly where the operation names one.")
    op = replace(op, source="x", target="out", residual=None if residual is None else "residual")
    tensors = {"x": x} | ({} if residual is None else {"residual": residual})
    levels = levels_at_unit_scale(op)
    numbers = [
        numbers_of(np.asarray(of, np.uint8), levels[name]) if name in levels else np.asarray(of, np.float32)
        for name, of in tensors.items()
    ]
    sizes = {name: Size(*tensor.shape[1:]) for name, tensor in tensors.items()}
    plan = plan_region(
        sizes, [op], ["out"], variant="portable", threads=threads, levels=levels, level_variant=variant
    )
    ((out,), _) = run_plan(plan, numbers, threads=threads)
    return out if op.numbers else levels_of(out, levels["out"])
