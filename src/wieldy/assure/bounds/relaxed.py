"""What bends, each between two lines: clamps (ReLU among them), rounding to levels, the largest of a window.

Sources: Gowal et al. 2018 (arXiv 1810.12715), section 3, for boxes; Zhang, Weng, Chen, Hsieh, Daniel, NeurIPS
2018 (CROWN), section 3.2 and table 1, for the lines of a ReLU, with the lower slope that cuts off less;
Singh, Gehr, Puschel, Vechev, POPL 2019, section 4.4, for the largest from below. From above: derived below.

A slope may be any number: the line's height then follows from the points where a piecewise linear function
can be farthest from it, so that rounding a slope costs width and never soundness.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from wieldy.assure.bounds.affine import example_shape
from wieldy.assure.bounds.rounding import Box, above, below, gamma
from wieldy.graph.fake_quantize import levels_of
from wieldy.graph.ops import FAKE_QUANTIZE
from wieldy.graph.program import Node, Program

HALVINGS = 30  # of the interval in which a level is looked for; any level is sound


@dataclass(frozen=True)
class Lines:
    """low_slope * x + low_shift <= value <= high_slope * x + high_shift, entry by entry.

    Attributes:
        low_slope, high_slope: (1, ...) as the value is shaped; where an entry depends on several, (entries of
            the value, several).
        low_shift, high_shift: (1, ...) as the value is shaped.
        entries: for every entry of the flattened value those of the flattened source that the slopes belong
            to, (entries of the value, several); None: to its own.
    """

    low_slope: Tensor
    low_shift: Tensor
    high_slope: Tensor
    high_shift: Tensor
    entries: Tensor | None = None


@dataclass(frozen=True)
class Clamp:
    """value = min(max(x, least), largest); a ReLU where these are 0 and infinity."""

    sources: tuple[str, ...]
    least: float
    largest: float

    def image(self, box: Box) -> Box:
        """Return the exact box of the value."""
        return Box(self._of(box.low), self._of(box.high))

    def undecided(self, box: Box) -> Tensor:
        """Return where the box holds a bend."""
        return _between(self.least, box) | _between(self.largest, box)

    def lines(self, box: Box) -> Lines:
        """Return two lines that enclose the clamp over a box of one example.

        Above: the chord; where the upper bend is inside, the line to that bend, or flat. Below likewise.
        """
        low, high = box.low, box.high
        first, last = self._of(low), self._of(high)
        chord = (last - first) / (high - low)
        rising = (self.largest - first) / (self.largest - low)
        rising = torch.where(self.largest - low >= high - self.largest, rising, 0.0)
        falling = (last - self.least) / (high - self.least)
        falling = torch.where(high - self.least > self.least - low, falling, 0.0)
        above_slope = torch.where(high <= self.largest, chord, rising).nan_to_num(0.0)
        below_slope = torch.where(low >= self.least, chord, falling).nan_to_num(0.0)
        return Lines(
            below_slope, self._shift(below_slope, box, -1.0), above_slope, self._shift(above_slope, box, 1.0)
        )

    def _of(self, x: Tensor) -> Tensor:
        return x.clamp(self.least, self.largest)

    def _shift(self, slope: Tensor, box: Box, sign: float) -> Tensor:
        """The largest (sign 1) or smallest (-1) value - slope * x: at an end of the box or at a bend."""
        bends = [torch.full_like(slope, bend) for bend in (self.least, self.largest)]
        points = [box.low, box.high, *(bend.clamp(box.low, box.high) for bend in bends)]
        gaps = []
        for x in points:
            value, line = self._of(x), slope * x
            gaps.append(sign * (value - line) + gamma(2) * (value.abs() + line.abs()))
        return sign * above(torch.stack(gaps).amax(0))


@dataclass(frozen=True)
class Round:
    """value = scale * the whole number nearest to x / scale, between two of them; halves go either way."""

    sources: tuple[str, ...]
    scale: float
    least: int  # both less the zero point
    largest: int

    def image(self, box: Box) -> Box:
        """Return the box of the value: rounding is monotone."""
        low = below(below(box.low / self.scale) - 0.5).ceil().clamp(self.least, self.largest)
        high = above(above(box.high / self.scale) + 0.5).floor().clamp(self.least, self.largest)
        return Box(below(low * self.scale), above(high * self.scale))

    def undecided(self, box: Box) -> Tensor:
        """Return where the box holds several levels."""
        image = self.image(box)
        return image.high - image.low > self.scale / 2

    def lines(self, box: Box) -> Lines:
        """Return the clamp's lines moved half a step; where at most two levels are left, flat ones."""
        clamp = Clamp(self.sources, self.scale * self.least, self.scale * self.largest)
        lines, image = clamp.lines(box), self.image(box)
        ends = max(abs(self.least), abs(self.largest)) + 1
        half = (0.5 + gamma(4) * ends) * self.scale
        flat = image.high - image.low <= 1.5 * self.scale
        return Lines(
            torch.where(flat, 0.0, lines.low_slope),
            torch.where(flat, image.low, below(lines.low_shift - half)),
            torch.where(flat, 0.0, lines.high_slope),
            torch.where(flat, image.high, above(lines.high_shift + half)),
        )


@dataclass(frozen=True)
class Largest:
    """value = the largest entry of each window.

    Attributes:
        windows: (entries of the value, window) indices into the flattened source; -1 is padding.
        shape: of the value, without the batch.
    """

    sources: tuple[str, ...]
    windows: Tensor
    shape: tuple[int, ...]

    def image(self, box: Box) -> Box:
        """Return the exact box of the value."""
        low, high = (self._seen(end).amax(-1).reshape(-1, *self.shape) for end in (box.low, box.high))
        return Box(low, high)

    def undecided(self, box: Box) -> Tensor:
        """Return which entries of the source lie in a window of which no entry is surely the largest."""
        best, high = self._best(box), self._seen(box.high)[0]
        others = high.scatter(1, best[:, None], -torch.inf).amax(-1)
        open_ = self._seen(box.low)[0].amax(-1) < others
        found = torch.zeros(box.low[0].numel() + 1, dtype=torch.bool)
        found[self.windows[open_].flatten()] = True  # padding, -1, marks the one too many
        return found[:-1].reshape(box.low.shape)

    def lines(self, box: Box) -> Lines:
        """Return the entry with the highest low end, and a plane over all entries of the window.

        With any shares 0 <= s_i <= 1, max x - s x is largest where one entry is at its high end and all
        others are at their low ends: max_i (h_i - s_i (h_i - l_i)) - s l. Shares that level the first term,
        and add up to 1, are for two entries the chord of a ReLU; for one that is surely the largest, itself.
        """
        low, high = self._seen(box.low)[0], self._seen(box.high)[0]
        inside, shares = self.windows >= 0, _level_shares(low, high)
        part = torch.where(inside, shares * low, 0.0)
        tops = high - shares * (high - low) + gamma(4) * (high.abs() + low.abs())
        tops = torch.where(inside, tops, -torch.inf).amax(-1)
        height = above(tops - part.sum(-1) + gamma(part.shape[1] + 3) * (tops.abs() + part.abs().sum(-1)))
        lower = torch.zeros_like(shares).scatter_(1, self._best(box)[:, None], 1.0)
        shape = (1, *self.shape)
        none = torch.zeros(shape, dtype=torch.float64)
        return Lines(lower, none, shares, height.reshape(shape), self.windows.clamp(min=0))

    def _seen(self, values: Tensor) -> Tensor:
        """(n, entries of the value, window), minus infinity in the padding."""
        flat = values.flatten(1)
        flat = torch.cat([flat, torch.full_like(flat[:, :1], -torch.inf)], 1)  # -1 is the last
        return flat[:, self.windows]

    def _best(self, box: Box) -> Tensor:
        """The place in each window with the highest low end."""
        return self._seen(box.low)[0].argmax(-1)


def _level_shares(low: Tensor, high: Tensor) -> Tensor:
    """Shares s_i = (h_i - level) / (h_i - l_i), cut off at 0, that add up to 1 in each row, or just above."""

    def shares(level: Tensor) -> Tensor:
        return ((high - level) / (high - low)).clamp(0, 1).nan_to_num(0.0)

    least, most = low.amax(-1, keepdim=True), high.amax(-1, keepdim=True)
    for _ in range(HALVINGS):
        middle = 0.5 * least + 0.5 * most
        too_low = shares(middle).sum(-1, keepdim=True) > 1
        least, most = torch.where(too_low, middle, least), torch.where(too_low, most, middle)
    return shares(least)


Bend = Clamp | Round | Largest
Make = Callable[[Node, Program], Bend]
Relax = Callable[[Bend, Box], Lines]


def relax(bend: Bend, box: Box) -> Lines:
    """Return the lines that enclose a bend over a box."""
    return bend.lines(box)


def _between(bend: float, box: Box) -> Tensor:
    return (box.low < bend) & (box.high > bend)


def _clamp(least: str | float, largest: str | float) -> Make:
    """Make a clamp whose ends are numbers, or what an argument says: nothing is no end."""

    def make(node: Node, program: Program) -> Bend:  # noqa: ARG001 - a Make
        given: dict[str, Any] = dict(node.inputs)
        low, high = (given[end] if isinstance(end, str) else end for end in (least, largest))
        high = torch.inf if high is None else float(high)
        return Clamp(tuple(node.refs()), -torch.inf if low is None else min(float(low), high), high)

    return make


def _round(node: Node, program: Program) -> Bend:  # noqa: ARG001 - a Make
    levels = levels_of(node)
    ends = (levels.least - levels.zero_point, levels.largest - levels.zero_point)
    return Round(tuple(node.refs()), levels.scale, *ends)


def _largest(node: Node, program: Program) -> Bend:
    """The windows of a pooling over the last two axes."""
    *lead, height, width = example_shape(program, next(node.refs()))
    shape = example_shape(program, node.name)
    rows, columns = (_places(node, axis, size, shape[axis - 2]) for axis, size in enumerate((height, width)))
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    windows = torch.where((rows < 0) | (columns < 0), -1, rows * width + columns).flatten(2).flatten(0, 1)
    planes = torch.arange(prod(lead))[:, None, None] * height * width
    windows = torch.where(windows < 0, -1, windows + planes).flatten(0, 1)
    return Largest(tuple(node.refs()), windows, shape)


def _places(node: Node, axis: int, size: int, count: int) -> Tensor:
    """(count, kernel): the places along one axis that each window sees; -1 is padding."""
    given: dict[str, Any] = dict(node.inputs)
    kernel, stride, padding, dilation = (
        given[name][axis] for name in ("kernel_size", "stride", "padding", "dilation")
    )
    places = torch.arange(count)[:, None] * stride - padding + torch.arange(kernel) * dilation
    return torch.where((places >= 0) & (places < size), places, -1)


BENDS: dict[str, Make] = {
    "aten.relu.default": _clamp(0.0, torch.inf),
    "aten.relu6.default": _clamp(0.0, 6.0),
    "aten.hardtanh.default": _clamp("min_val", "max_val"),
    "aten.clamp.default": _clamp("min", "max"),
    FAKE_QUANTIZE: _round,
    "aten.max_pool2d.default": _largest,
}
