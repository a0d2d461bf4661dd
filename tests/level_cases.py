"""Random convolutions and regions of levels, and what the references make of them."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import strategies as st

from wieldy.claims.sparse_int8 import SEVEN_BITS, LevelCase, case_of, scales_of, weight_of
from wieldy.kernels.region.ops import Concat, GlobalMean, LevelConv, Levels, Pooling
from wieldy.kernels.sparse_conv.check import extent_of
from wieldy.kernels.sparse_int8.reference import levels_of, numbers_of, sparse_int8
from wieldy.runtime.fuse_levels import FusedLevels


@st.composite
def level_cases(draw: st.DrawFn, top: int) -> LevelCase:
    """Convolutions of all settings, small enough for the reference."""
    return case_of(np.random.default_rng(draw(st.integers(0, 2**32))), top)


@st.composite
def level_regions(draw: st.DrawFn):  # type: ignore[no-untyped-def]
    """A chain of convolutions of levels of one or two resolutions, and the levels of its values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pick = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731
    channels, size = pick(3, 4, 8, 10), (pick(1, 4, 9, 20), pick(1, 5, 8, 23))
    levels = {"v0": Levels(float(pick(0.5, 0.03)), int(pick(0, 0, 128)))}
    shapes = {"v0": (channels, *size)}
    ops: list[LevelConv] = []
    for step in range(1, pick(2, 3, 5)):
        source, target = f"v{pick(*range(max(0, step - 2), step))}", f"v{step}"
        of = shapes[source]
        wide, kernel, stride = pick(4, 6, of[0]), pick((1, 1), (3, 3)), pick((1, 1), (1, 1), (2, 2))
        levels[target] = Levels(float(pick(0.25, 0.07)), int(pick(0, 0, 100)))
        op = LevelConv(
            source, target, weight_of(rng, (wide, of[0], *kernel), SEVEN_BITS, 0.4),
            rng.integers(-500, 500, wide).astype(np.int32), scales_of(rng, wide), pick(False, True),
            stride, (kernel[0] // 2, kernel[1] // 2), pad=levels[source].zero, zero=levels[target].zero,
            low=-levels[target].zero, high=255 - levels[target].zero,
        )  # fmt: skip
        shapes[target] = (wide, *(extent_of(op, extent, axis) for axis, extent in enumerate(of[1:])))
        alike = [name for name, shape in shapes.items() if shape == shapes[target] and name != target]
        if alike and pick(False, True):
            other = pick(*alike)
            known = levels[other]
            op = replace(op, residual=other, residual_scale=0.5, residual_zero=known.zero)
        ops.append(op)
    numbers = rng.normal(size=(pick(1, 2), *shapes["v0"])).astype(np.float32) * 20
    return numbers, ops, levels


def chained(fused: FusedLevels, *x: np.ndarray) -> dict[str, np.ndarray]:
    """Return every value of a region by the references, one operation after the other; `x`: what it reads."""
    values = {name: levels_of(of, fused.levels[name]) for name, of in zip(fused.reads, x, strict=True)}
    for op in fused.ops:
        if isinstance(op, Concat):
            values[op.target] = np.concatenate([values[name] for name in op.sources], axis=1)
            continue
        of = values[op.source]
        if isinstance(op, LevelConv):
            values[op.target] = sparse_int8(of, op, values[op.residual] if op.residual else None)
            continue
        numbers = numbers_of(of, fused.levels[op.source]) if op.source in fused.levels else of
        found = torch.from_numpy(numbers)
        if isinstance(op, GlobalMean) and op.source in fused.levels:
            known = fused.levels[op.source]
            whole = (of.astype(np.int64) - known.zero).mean(axis=(2, 3), keepdims=True)
            values[op.target] = whole.astype(np.float32) * np.float32(known.scale)
        elif isinstance(op, GlobalMean):
            rows = np.add.accumulate(of, axis=3)[..., -1:].astype(np.float64)  # in the kernel's order
            total = np.add.accumulate(rows, axis=2)[:, :, -1:]
            values[op.target] = (total / (of.shape[2] * of.shape[3])).astype(np.float32)
        elif isinstance(op, Pooling) and op.average:
            values[op.target] = torch.nn.functional.avg_pool2d(found, op.kernel, op.stride).numpy()
        else:
            largest = torch.nn.functional.max_pool2d(found, op.kernel, op.stride, op.padding)
            values[op.target] = levels_of(largest.numpy(), fused.levels[op.target])
    return values
