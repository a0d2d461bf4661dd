"""What a region is made of: its values by name, and the operations on them in order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]


@dataclass(frozen=True)
class Size:
    """Channels, height and width of a value; the batch is not the region's business."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Conv:
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


Op = Conv | Pooling | GlobalMean


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
    """

    steps: NDArray[np.int32]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    workspace_floats: int
    outputs: tuple[tuple[int, int, int], ...]
    variant: str
    work: tuple[tuple[str, ...], ...]
