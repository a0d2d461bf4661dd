"""Random convolutions and regions of levels, and what the references make of them."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from wieldy.claims.sparse_int8 import SEVEN_BITS, LevelCase, case_of, scales_of, weight_of
from wieldy.kernels.region.ops import LevelConv, Levels
from wieldy.kernels.sparse_conv.check import extent_of


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
