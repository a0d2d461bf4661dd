"""Where the values of a region lie: padded planes, one pitch wherever a shift must mean the same.

Source: Faster CNNs with Direct Sparse Convolutions and Guided Pruning (arXiv 1608.01409), section 3: rows
share their zero padding, on one side, with the next row, and planes with the next plane, so that every tap of
a convolution is one offset. Here strides become phases: every s-th row and column in a plane of its own, so
that a strided convolution is a shift as well.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from wieldy.kernels.region.ops import Op, Pair, Shifting, Size

LANES = 16  # floats: planes begin at a full vector of the widest variant
CHANNELS = 8  # of the tallest row block
Resolution = tuple[int, int]


@dataclass(frozen=True)
class Planes:
    """The channels of one value in the workspace; counted in floats. The fields are those of steps.h.

    Planes of levels hold words of four channels in place of floats, and `channels` counts those.

    `lead`: how many zeros must lie before the first channel; 0 where nobody reads past the pixels.
    `fill`: the bits of a zero.
    """

    begin: int
    channels: int
    height: int
    width: int
    pitch: int
    stride: int
    lead: int = 0
    fill: int = 0

    @property
    def floats(self) -> int:
        """What they take, with channels up to whole row blocks and what a kernel may read past the last."""
        return self.lead + self.stride * -(-self.channels // CHANNELS) * CHANNELS + LANES


@dataclass(frozen=True)
class Tap:
    """One place of a kernel: the phase it reads, and its shift there."""

    phase: Pair
    row: int
    column: int


def taps(op: Shifting) -> list[Tap]:
    """Return the taps of a convolution, row by row."""

    def along(axis: int) -> Iterator[tuple[int, int]]:
        for place in range(op.kernel[axis]):
            at = place * op.dilation[axis] - op.padding[axis]
            yield at % op.stride[axis], at // op.stride[axis]

    return [Tap((py, px), y, x) for py, y in along(0) for px, x in along(1)]


def phases(op: Shifting) -> list[Pair]:
    """Return the phases that a convolution reads, in the order in which they are stored."""
    return sorted({tap.phase for tap in taps(op)})


def split_resolution(size: Size, stride: Pair) -> Resolution:
    """Return height and width of a phase."""
    return -(-size.height // stride[0]), -(-size.width // stride[1])


@dataclass(frozen=True)
class Margins:
    """Rows and columns of zeros that must lie around a plane."""

    rows: int = 0
    columns: int = 0

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self.rows > 0 or self.columns > 0


def margins(op: Shifting, source: Resolution, target: Size) -> Margins:
    """Return how far a convolution reads past the pixels of the planes it shifts."""
    rows = [tap.row for tap in taps(op)]
    columns = [tap.column for tap in taps(op)]
    below = target.height - 1 + max(rows) - (source[0] - 1)
    right = target.width - 1 + max(columns) - (source[1] - 1)
    return Margins(max(0, -min(rows), below), max(0, -min(columns), right))


class Geometry:
    """Pitch and plane stride of every resolution that occurs in a region."""

    def __init__(self, ops: Iterable[Op], sizes: Mapping[str, Size]) -> None:
        self._margins: dict[Resolution, Margins] = {}
        self._tied: dict[Resolution, Resolution] = {}
        for size in sizes.values():
            self._note((size.height, size.width), Margins())
        for op in ops:
            if isinstance(op, Shifting):
                source, target = sizes[op.source], sizes[op.target]
                shifted = split_resolution(source, op.stride)
                self._note(shifted, margins(op, shifted, target))
                self._tie(shifted, (target.height, target.width))

    def _note(self, resolution: Resolution, found: Margins) -> None:
        known = self._margins.get(resolution, Margins())
        self._margins[resolution] = Margins(max(known.rows, found.rows), max(known.columns, found.columns))

    def margins(self, resolution: Resolution) -> Margins:
        """Return how far anything reads past the pixels of a resolution."""
        return self._margins[resolution]

    def _root(self, resolution: Resolution) -> Resolution:
        while resolution in self._tied:
            resolution = self._tied[resolution]
        return resolution

    def _tie(self, first: Resolution, second: Resolution) -> None:
        first, second = self._root(first), self._root(second)
        if first != second:
            self._tied[first] = second

    def pitch(self, resolution: Resolution) -> int:
        """Return the floats from one row to the next, for all resolutions that must share them."""
        root = self._root(resolution)
        return max(width + self._margins[height, width].columns
                   for height, width in self._margins if self._root((height, width)) == root)  # fmt: skip

    def positions(self, resolution: Resolution) -> int:
        """Return the floats from the first pixel of a plane to the last, with what lies between rows."""
        return (resolution[0] - 1) * self.pitch(resolution) + resolution[1]

    def planes(self, resolution: Resolution, channels: int, *, zeros: bool) -> Planes:
        """Return planes at place 0, with zeros around the pixels or not.

        A stride of an odd number of vectors lets channels use all cache sets.
        """
        height, width = resolution
        pitch, around = self.pitch(resolution), self._margins[resolution]
        past = around.rows * pitch + around.columns
        vectors = -(-(self.positions(resolution) + max(past, pitch - width)) // LANES)
        lead = -(-past // LANES) * LANES if zeros else 0
        return Planes(0, channels, height, width, pitch, (vectors | 1) * LANES, lead)

    def tile(self, resolution: Resolution, channels: int, positions: int) -> Planes:
        """Return planes at place 0 that hold so many positions of each channel."""
        return Planes(0, channels, *resolution, self.pitch(resolution), (positions // LANES | 1) * LANES)


@dataclass(frozen=True)
class Lifetime:
    """How many floats something takes, and from which step to which: both ends included."""

    floats: int
    first: int
    last: int


def place(wanted: Mapping[Hashable, Lifetime]) -> tuple[dict[Hashable, int], int]:
    """Return a place for everything, and the floats of all: what is not there at one time shares memory.

    The largest are placed first, each at the lowest place that is free for as long as it lives.
    """
    places: dict[Hashable, int] = {}
    for name, life in sorted(wanted.items(), key=lambda item: -item[1].floats):
        at = 0
        for other in sorted(places, key=places.__getitem__):
            taken = wanted[other]
            together = taken.first <= life.last and life.first <= taken.last
            if together and places[other] < at + life.floats:
                at = max(at, places[other] + taken.floats)
        places[name] = at
    return places, max((places[name] + life.floats for name, life in wanted.items()), default=0)
