"""Random convolutions and regions of levels, and what the references make of them."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from wieldy.kernels.region.ops import LevelConv, Levels
from wieldy.kernels.sparse_conv.check import extent_of

Bytes = NDArray[np.uint8]
SEVEN_BITS, EIGHT_BITS = 64, 127


@dataclass(frozen=True)
class LevelCase:
    """A convolution of levels and what it reads."""

    x: Bytes
    op: LevelConv
    residual: Bytes | NDArray[np.float32] | None

    def __repr__(self) -> str:
        op = self.op
        return (
            f"x {self.x.shape}, weight {op.weight.shape}, stride {op.stride}, padding {op.padding}, "
            f"dilation {op.dilation}, groups {op.groups}, shared {op.shared}, numbers {op.numbers}, "
            f"residual {self.residual is not None}, pad {op.pad}, zero {op.zero}, {op.low} to {op.high}"
        )


def weight_of(rng: np.random.Generator, shape: tuple[int, ...], top: int, density: float) -> NDArray[np.int8]:
    """Return weights up to `top`; one in ten is all as large as can be."""
    if rng.random() < 0.1:
        return np.full(shape, rng.choice([-top, top]), np.int8)
    return (rng.integers(-top, top + 1, shape) * (rng.random(shape) < density)).astype(np.int8)


def scales_of(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return scales by which many sums end half-way between two levels."""
    return (2.0 ** -rng.integers(0, 12, count) * rng.choice([1, 1.25, 1.5], count)).astype(np.float32)


def bytes_of(rng: np.random.Generator, shape: tuple[int, ...]) -> Bytes:
    """Return levels; one in ten tensors is all 255."""
    return np.full(shape, 255, np.uint8) if rng.random() < 0.1 else rng.integers(0, 256, shape, np.uint8)


@st.composite
def level_cases(draw: st.DrawFn, top: int) -> LevelCase:
    """Convolutions of all settings, small enough for the reference."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pick = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731
    pair = lambda *choices: (pick(*choices), pick(*choices))  # noqa: E731
    groups = pick(1, 1, 1, 2, 3)
    inputs, channels = groups * pick(1, 2, 3, 4, 5, 8), groups * pick(1, 2, 3, 4, 7, 8)
    if pick(*[False] * 5, True):
        groups = channels = inputs
    kernel, stride, padding, dilation = pair(1, 1, 3, 2, 5), pair(1, 1, 2, 3), pair(0, 1, 2), pair(1, 1, 2)
    size = [
        max(1, (wanted - 1) * s + d * (k - 1) + 1 - 2 * p + int(rng.integers(0, s)))
        for wanted, k, s, p, d in zip(
            (pick(1, 2, 6, 17), pick(1, 5, 9, 31)), kernel, stride, padding, dilation, strict=True
        )
    ]
    numbers = pick(False, False, False, True)
    zero = 0 if numbers else int(pick(0, rng.integers(0, 256)))
    low, high = (pick(-np.inf, 0.0), pick(np.inf, 6.0)) if numbers else (pick(-zero, 0), 255 - zero)
    op = LevelConv(
        "x", "out", weight_of(rng, (channels, inputs // groups, *kernel), top, pick(0, 0.1, 0.4, 1)),
        rng.integers(-5000, 5000, channels).astype(np.int32), scales_of(rng, channels), pick(False, True),
        stride, padding, dilation, groups, pad=int(rng.integers(0, 256)), low=low, high=high, zero=zero,
        numbers=numbers, residual=pick(None, "residual"), residual_scale=pick(0.25, 0.3),
        residual_zero=int(rng.integers(0, 256)), residual_numbers=pick(False, False, True),
    )  # fmt: skip
    x = bytes_of(rng, (pick(1, 2), inputs, *size))
    shape = (len(x), channels, *(extent_of(op, extent, axis) for axis, extent in enumerate(size)))
    other = rng.normal(size=shape).astype(np.float32) * 99 if op.residual_numbers else bytes_of(rng, shape)
    return LevelCase(x, op, other if op.residual else None)


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
