"""Random operations for the compiled kernels, and runs of them between canaries."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from wieldy.formats.sparse import BlockRows, block_rows, expand
from wieldy.kernels.native import level_variants, native, variants, why_missing
from wieldy.kernels.region.ops import Conv, Levels, Op, Size
from wieldy.kernels.region.plan import plan_region

GUARD = 67  # elements before and after an array; odd, so that it begins at no vector's boundary
CANARY = {"float32": np.float32(np.nan), "int32": np.int32(-(2**31))}
VARIANTS = variants()
needs_kernels = pytest.mark.skipif(not VARIANTS, reason=f"the compiled kernels {why_missing()}")
every_level_variant = pytest.mark.parametrize("variant", level_variants() or ["none"])
every_variant = pytest.mark.parametrize("variant", VARIANTS or ["none"])

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A convolution and what it reads."""

    x: Array
    op: Conv
    residual: Array | None

    @property
    def inputs(self) -> dict[str, Array]:
        return {"x": self.x} | ({} if self.residual is None else {"residual": self.residual})

    def __repr__(self) -> str:
        op = self.op
        return (
            f"x {self.x.shape} -> {op.channels}, block {op.block}, kept {len(op.columns)}, "
            f"kernel {op.kernel}, stride {op.stride}, padding {op.padding}, dilation {op.dilation}, "
            f"groups {op.groups}, residual {self.residual is not None}, clamp {op.low} {op.high}"
        )


def sparse_normal(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> Array:
    return (rng.normal(size=shape) * (rng.random(shape) < density)).astype(np.float32)


def conv_of(weight: Array, block: int = 1, *, source: str = "x", target: str = "out", **settings) -> Conv:  # type: ignore[no-untyped-def]
    """Return the operation of a dense weight (channels, inputs of a group, height, width)."""
    rows = block_rows(weight, block)
    bias = settings.pop("bias", np.zeros(len(weight), np.float32))
    return Conv(
        source, target, len(weight), block, rows.starts, rows.columns, rows.values, bias,
        kernel=weight.shape[2:], **settings,
    )  # fmt: skip


def dense_weight(op: Conv, inputs: int) -> Array:
    """Return (channels, inputs of a group, height, width)."""
    shape = (op.channels, inputs // op.groups, *op.kernel)
    rows = BlockRows((op.channels, int(np.prod(shape[1:]))), op.block, op.starts, op.columns, op.values)
    return expand(rows).reshape(shape)


@st.composite
def cases(draw: st.DrawFn, block: int) -> Case:
    """Convolutions of all settings, small enough for the reference."""
    number = lambda *choices: draw(st.sampled_from(choices))  # noqa: E731
    pair = lambda *choices: (number(*choices), number(*choices))  # noqa: E731
    kernel, stride = pair(1, 1, 3, 3, 2, 4, 5, 7), pair(1, 1, 2, 3)
    padding, dilation = pair(0, 1, 1, 2, 3), pair(1, 1, 2, 3)
    groups = number(1, 1, 1, 2, 3)
    in_group = number(1, 2, 3, 5)
    out_group = number(1, 2, 3) * block if groups > 1 else number(1, 3, 4, 5, 7, 8, 9, 13, 17)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = [
        max(1, (wanted - 1) * s + d * (k - 1) + 1 - 2 * p + draw(st.integers(0, s - 1)))
        for wanted, k, s, p, d in zip(
            (number(1, 2, 3, 6, 17), number(1, 2, 5, 9, 31)), kernel, stride, padding, dilation, strict=True
        )
    ]
    weight = sparse_normal(rng, (groups * out_group, in_group, *kernel), number(0, 0.02, 0.1, 0.1, 0.4))
    low, high = number((-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-0.1, 0.1))
    op = conv_of(
        weight, block, stride=stride, padding=padding, dilation=dilation, groups=groups, low=low, high=high,
        bias=rng.normal(size=len(weight)).astype(np.float32),
        residual="residual" if draw(st.booleans()) else None,
    )  # fmt: skip
    x = rng.normal(size=(number(1, 1, 2, 3), groups * in_group, *size)).astype(np.float32)
    rows, columns = (
        (x.shape[2 + a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)
    )
    residual = rng.normal(size=(len(x), len(weight), rows, columns)).astype(np.float32)
    return Case(x, op, residual if op.residual else None)


def guarded(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Return a copy that lies between canaries, and the whole of it."""
    whole = np.full(array.size + 2 * GUARD, CANARY[array.dtype.name])
    view = whole[GUARD : GUARD + array.size].reshape(array.shape)
    view[...] = array
    return view, whole


def run_region(
    inputs: dict[str, Array],
    ops: list[Op],
    outputs: list[str],
    *,
    variant: str,
    threads: int = 1,
    repeats: int = 2,
    channels_last: Collection[str] = (),
    levels: Mapping[str, Levels] | None = None,
    level_variant: str = "",
) -> list[Array]:
    """Plan and run a region with canaries around all that it reads and writes, and return its outputs.

    It runs more than once in the same workspace: what a run leaves behind must not show in the next.
    What is named in `channels_last` crosses its edge that way; here it always comes and goes channels first.
    """
    sizes = {name: Size(*array.shape[1:]) for name, array in inputs.items()}
    plan = plan_region(
        sizes, ops, outputs, variant=variant, threads=threads, channels_last=channels_last, levels=levels,
        level_variant=level_variant,
    )  # fmt: skip
    laid_out = [
        array.transpose(0, 2, 3, 1) if name in channels_last else array for name, array in inputs.items()
    ]
    examples = len(next(iter(inputs.values())))
    read = [guarded(array) for array in (plan.steps, plan.indices, plan.values, *laid_out)]
    empty = [np.full((examples, *shape), np.nan, np.float32) for shape in plan.outputs]
    written = [guarded(array) for array in empty]
    before = [whole.tobytes() for _, whole in read]
    for view, _ in read:
        view.flags.writeable = False
    constants, tensors = [view for view, _ in read[:3]], [view for view, _ in read[3:]]
    found = [view for view, _ in written]
    native().run_region(
        *constants, plan.workspace_floats, tensors, found, variant, level_variant, threads, repeats
    )
    assert [whole.tobytes() for _, whole in read] == before, "the kernel wrote to what it reads"
    for _, whole in written:
        assert np.isnan([whole[:GUARD], whole[-GUARD:]]).all(), "the kernel wrote past an output"
    return [
        array.transpose(0, 3, 1, 2) if name in channels_last else array
        for name, array in zip(outputs, found, strict=True)
    ]
