"""Where the values of a region lie: padded planes, one pitch wherever a shift must mean the same.

Source: Faster CNNs with Direct Sparse Convolutions and Guided Pruning (arXiv 1608.01409), section 3: rows
share their zero padding, on one side, with the next row, and planes with the next plane, so that every tap of
a convolution is one offset. Here strides become phases: every s-th row and column in a plane of its own, so
that a strided convolution is a shift as well.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from wieldy.kernels.region.ops import Conv, Op, Pair, Size

LANES = 16  # floats: planes begin at a full vector of the widest variant
Resolution = tuple[int, int]


@dataclass(frozen=True)
class Planes:
    """The channels of one value in the workspace; counted in floats. The fields are those of steps.h."""

    begin: int
    channels: int
    height: int
    width: int
    pitch: int
    stride: int


@dataclass(frozen=True)
class Tap:
    """One place of a kernel: the phase it reads, and its shift there."""

    phase: Pair
    row: int
    column: int


def taps(op: Conv) -> list[Tap]:
    """Return the taps of a convolution, row by row."""

    def along(axis: int) -> Iterator[tuple[int, int]]:
        for place in range(op.kernel[axis]):
            at = place * op.dilation[axis] - op.padding[axis]
            yield at % op.stride[axis], at // op.stride[axis]

    return [Tap((py, px), y, x) for py, y in along(0) for px, x in along(1)]


def phases(op: Conv) -> list[Pair]:
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


def margins(op: Conv, source: Resolution, target: Size) -> Margins:
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
            if isinstance(op, Conv):
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

    def planes(self, resolution: Resolution, channels: int) -> Planes:
        """Return planes at place 0. A stride of an odd number of vectors lets channels use all cache sets."""
        height, width = resolution
        pitch, around = self.pitch(resolution), self._margins[resolution]
        pixels = (height - 1) * pitch + width
        zeros = max(around.rows * pitch + around.columns, pitch - width)
        vectors = -(-(pixels + zeros) // LANES)
        return Planes(0, channels, height, width, pitch, (vectors | 1) * LANES)

    def lead(self, resolution: Resolution) -> int:
        """Return the zeros that must lie before the first plane."""
        around = self._margins[resolution]
        return -(-(around.rows * self.pitch(resolution) + around.columns) // LANES) * LANES


class Workspace:
    """Places for values; one whose last reader has run is given to another of the same resolution.

    Never to one of another resolution: the zeros after the pixels of a plane are written once, when the
    workspace is made.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._wanted: dict[tuple[Resolution, int], int] = {}  # (resolution, slot) -> channels
        self._free: dict[Resolution, list[int]] = {}

    def take(self, resolution: Resolution, channels: int) -> tuple[Resolution, int]:
        """Return a slot."""
        free = self._free.setdefault(resolution, [])
        slot = free.pop() if free else sum(known == resolution for known, _ in self._wanted)
        key = (resolution, slot)
        self._wanted[key] = max(self._wanted.get(key, 0), -(-channels // 8) * 8)
        return key

    def give_back(self, key: tuple[Resolution, int]) -> None:
        """Free a slot."""
        self._free[key[0]].append(key[1])

    def place(self) -> tuple[dict[tuple[Resolution, int], Planes], int]:
        """Return the planes of each slot, and how many floats all of them take."""
        found, at = {}, 0
        for key, channels in self._wanted.items():
            at += self._geometry.lead(key[0])
            planes = replace(self._geometry.planes(key[0], channels), begin=at)
            found[key] = planes
            at += planes.stride * channels + LANES
        return found, at
