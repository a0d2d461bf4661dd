"""What a region is made of: its values by name, and the operations on them in order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]


@dataclass(frozen=True)
class Size:
    """Channels, height and width of a value; the batch is not the region's business."""

    channels: int
    height: int
    width: int


class Shifting:
    """What reads its source at the shifts of a kernel, strided, padded and dilated."""

    source: str
    target: str
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    residual: str | None


@dataclass(frozen=True)
class Conv(Shifting):
    """clamp(conv(source) + bias + residual, low, high) with a weight by block rows.

    Attributes:
        block: output channels that share a pattern: 1, 4 or 8.
        starts: (block rows + 1,) int32; block row i keeps `columns[starts[i]:starts[i + 1]]`, ascending.
        columns: (kept,) int32: (input channel of the group * kernel height + row) * kernel width + column.
        values: (kept, block) float32; rows past the last output channel hold zeros.
        bias: (output channels,) float32.
        padding: rows and columns of zeros on each side.
        layer: the name of the node whose weight this is; empty for what stands in for another operation.
    """

    source: str
    target: str
    channels: int
    block: int
    starts: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    bias: NDArray[np.float32]
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    residual: str | None = None
    low: float = -np.inf
    high: float = np.inf
    layer: str = ""


@dataclass(frozen=True)
class Levels:
    """How the levels of a value, unsigned bytes, stand for numbers: number = scale * (level - zero).

    The levels that occur are those from `least` to `largest`.
    """

    scale: float
    zero: int = 0
    least: int = 0
    largest: int = 255


@dataclass(frozen=True)
class LevelConv(Shifting):
    """A convolution of levels: see sparse_int8/product.h.

    Attributes:
        weight: (channels, inputs of a group, kernel rows, kernel columns) int8; zeros cost nothing where all
            four of a block are: four neighbouring inputs at one tap, of one output channel or of four.
        bias: (channels,) int32; it makes up for the zero point of the source: -zero * the row's sum is in it.
        scale: (channels,) float32: a sum's over the target's, or a sum's where the target holds numbers.
        shared: whether four neighbouring output channels share a pattern.
        pad: the level that stands for zero in the source.
        low, high: between which the result is held, in levels less `zero`, or in numbers.
        zero: the level that stands for zero in the target.
        numbers: whether the target holds float32 numbers instead of levels.
        residual_scale, residual_zero: of the residual's levels: its scale over the target's, or its own.
        residual_numbers: whether the residual is numbers instead, which the scale multiplies.
        layer: the name of the node whose weight this is; empty for what stands in for another operation.
    """

    source: str
    target: str
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.floating[Any]]
    shared: bool = False
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pad: int = 0
    low: float = 0.0
    high: float = 255.0
    zero: int = 0
    numbers: bool = False
    residual: str | None = None
    residual_scale: float = 0.0
    residual_zero: int = 0
    residual_numbers: bool = False
    layer: str = ""

    @property
    def kernel(self) -> Pair:  # type: ignore[override]
        """Rows and columns of the kernel."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def channels(self) -> int:
        """Output channels."""
        return len(self.weight)


@dataclass(frozen=True)
class Pooling:
    """Maximum or average over windows; `ceil` sizes are the caller's to give."""

    source: str
    target: str
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    average: bool
    counts_padding: bool
    size: Pair


@dataclass(frozen=True)
class GlobalMean:
    """The mean of all pixels of each channel."""

    source: str
    target: str


@dataclass(frozen=True)
class Concat:
    """The channels of values of one height and width, one value after the other.

    Of levels, all values but the last must fill whole words of four channels.
    """

    sources: tuple[str, ...]
    target: str


Op = Conv | LevelConv | Pooling | GlobalMean | Concat


def read_by(op: Op) -> tuple[str, ...]:
    """Return the values that an operation reads, its residual the last."""
    if isinstance(op, Concat):
        return op.sources
    residual = op.residual if isinstance(op, Shifting) else None
    return (op.source, residual) if residual else (op.source,)


@dataclass(frozen=True)
class RegionPlan:
    """A region laid out for one variant: what the executor reads.

    Attributes:
        steps: (n,) int32 records, see steps.h.
        indices: (n,) int32.
        values: (n,) float32.
        workspace_floats: what one call needs.
        outputs: their shapes after the batch, in the order asked for.
        work: for each step, the targets of the operations that it is for; none for loads and stores.
        level_variant: of products of levels; empty where there are none.
    """

    steps: NDArray[np.int32]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    workspace_floats: int
    outputs: tuple[tuple[int, int, int], ...]
    variant: str
    work: tuple[tuple[str, ...], ...]
    level_variant: str = ""
