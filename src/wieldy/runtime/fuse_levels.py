"""From the nodes of a region in eight bits to its operations: all that lies between two roundings is one.

A convolution, the sum it goes into, its clamp and the rounding of the result become one product of levels,
with every scale in it. What is not rounded leaves as numbers. Where the nodes do not come in such an order,
`Unfit` names the first that has to stay outside. A linear layer is a convolution by one of a row of pixels,
each an example.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, sections 2.3 and 2.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats.integer import IntegerFormat
from wieldy.graph.fake_quantize import levels_of, rounding_behind
from wieldy.graph.ops import CAT, CONV, FAKE_QUANTIZE, LINEAR
from wieldy.graph.program import Node, Program, Stored
from wieldy.kernels.check import LARGEST
from wieldy.kernels.region.level_steps import BYTES
from wieldy.kernels.region.ops import Concat, GlobalMean, LevelConv, Levels, Op, Size
from wieldy.kernels.sparse_int8.check import TOP, fits_pairs
from wieldy.runtime.fuse import (
    ADAPTIVE,
    ADD,
    AVG_POOL,
    CLAMPS,
    DROPOUT,
    MAX_POOL,
    MEAN,
    pooling_of,
    size_of,
    spread_of,
)
from wieldy.runtime.regions import Region

Arrays = Mapping[str, NDArray[Any]]
LOADS, PRODUCTS = 1.0, 0.5  # cycles of a vector: one that crosses a line of the cache, and one of two units


class Unfit(Exception):  # noqa: N818 - no fault: it says what has to stay outside
    """A node that cannot be part of a region in eight bits."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(f"{node.name}: {reason}")
        self.node, self.reason = node, reason


@dataclass(frozen=True)
class LevelWeights:
    """The stored tensors of a program, and the formats of those that are whole numbers.

    `in_pairs`: whether products are added in pairs of sixteen bits, which not all weights fit.
    """

    arrays: Arrays
    formats: Mapping[str, IntegerFormat]
    in_pairs: bool = False


@dataclass(frozen=True)
class FusedLevels:
    """A region in eight bits as its operations.

    Attributes:
        reads: by the name that a value has in the region, the program's value that it is.
        sizes: of what is read.
        levels: of the values that are kept as levels.
        ops: in order.
        outputs: what the region hands out, in the order of `Region.outputs`.
    """

    reads: Mapping[str, str]
    sizes: Mapping[str, Size]
    levels: Mapping[str, Levels]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]


def levels_by(node: Node) -> Levels:
    """Return the levels that a rounding gives, moved so that the least that there may be is 0.

    Raises:
        Unfit: they are more than a byte has.
    """
    given = levels_of(node)
    moved = 128 if given.least < 0 else 0
    found = Levels(given.scale, given.zero_point + moved, given.least + moved, given.largest + moved)
    if not 0 <= found.least <= found.zero <= found.largest <= TOP:
        raise Unfit(node, "its levels do not fit a byte")
    return found


def fuse_levels(program: Program, region: Region, weights: LevelWeights, batch: int = 1) -> FusedLevels:
    """Return the operations of a region.

    Args:
        batch: examples that linear layers compute together.

    Raises:
        Unfit: a node has to stay outside; names the first.
    """
    fuser = _Fuser(program, region, weights, batch)
    for node in region.nodes:
        fuser.take(node)
    return fuser.fused()


class _Fuser:
    """What is known of the values of a region while its nodes are taken one after the other."""

    def __init__(self, program: Program, region: Region, weights: LevelWeights, batch: int) -> None:
        self.program, self.region, self.weights, self.batch = program, region, weights, batch
        self.own = {node.name for node in region.nodes}
        self.handed = region.outputs(program)
        self.readers: dict[str, int] = dict.fromkeys(self.handed, 1)  # outside, and by nodes of the region
        for node in region.nodes:
            for name in node.refs():
                self.readers[name] = self.readers.get(name, 0) + 1
        self.made = {node.name: node for node in program.nodes}
        self.reads: dict[str, str] = {}
        self.levels: dict[str, Levels] = {}
        self.pending: dict[str, LevelConv] = {}  # their scales and clamps are those of numbers
        self.alias: dict[str, str] = {}
        self.ops: list[Op] = []

    def take(self, node: Node) -> None:
        """Take the next node."""
        source = self._name(next(node.refs()))
        if node.op == FAKE_QUANTIZE:
            self._rounding(node, source)
        elif node.op in (CONV, LINEAR):
            self.pending[node.name] = self._conv(node, self._level(node, source))
        elif node.op == ADD:
            self.pending[node.name] = self._sum(node)
        elif node.op in CLAMPS:
            self.pending[node.name] = _clamped(self._alone(node, source), node)
        elif node.op in DROPOUT:
            self.alias[node.name] = source
            self.readers[source] += self.readers[node.name] - 1
        elif node.op == CAT:
            self._concat(node)
        elif node.op == MAX_POOL:
            self.levels[node.name] = self.levels[self._level(node, source)]
            self.ops.append(pooling_of(node, source, self.program))
        elif node.op in (MEAN, ADAPTIVE, AVG_POOL):
            self._averaging(node, source)
        else:
            raise Unfit(node, f"{node.op} has no operation on levels")

    def fused(self) -> FusedLevels:
        """Finish what is left, as numbers, and return all."""
        outputs = tuple(self._name(name) for name in self.handed)
        for name in list(self.pending):
            self._as_numbers(name)
        sizes = {name: size_of(self.program, of, self.batch) for name, of in self.reads.items()}
        return FusedLevels(self.reads, sizes, self.levels, tuple(self.ops), outputs)

    def _name(self, name: str) -> str:
        return self.alias.get(name, name)

    def _level(self, node: Node, name: str) -> str:
        """Return a value that is kept as levels; a rounding outside is read before it rounds."""
        if name not in self.levels:
            rounding = None if name in self.own else rounding_behind(self.made, name)
            if rounding is None:
                raise Unfit(node, f"{name} is not rounded")
            self.reads[name] = next(rounding.refs()) if rounding.name == name else name
            self.levels[name] = levels_by(rounding)
        return name

    def _alone(self, node: Node, name: str) -> LevelConv:
        """Return what is pending and read by this node alone, or a value of levels as such."""
        if name in self.pending:
            if self.readers[name] > 1:
                raise Unfit(node, f"{name} is read by others too")
            return replace(self.pending.pop(name), target=node.name)
        return self._identity(node, self._level(node, name))

    def _rounding(self, node: Node, source: str) -> None:
        levels = levels_by(node)
        if source in self.levels and self.levels[source] == levels:
            self.alias[node.name] = source
        elif source in self.pending:
            self.ops.append(_rounded(self._alone(node, source), levels))
            self.levels[node.name] = levels
        elif source in self.own:
            raise Unfit(node, f"{source} is no product")
        else:
            self.reads[node.name], self.levels[node.name] = source, levels

    def _sum(self, node: Node) -> LevelConv:
        first, second = (self._name(name) for name in node.refs())
        if first not in self.pending or self.pending[first].residual or _is_clamped(self.pending[first]):
            first, second = second, first
        of = self._alone(node, first)
        if of.residual or _is_clamped(of):
            raise Unfit(node, "neither of its operands is a product that nothing was done to")
        if second in self.pending:
            self._as_numbers(second)
            return replace(of, residual=second, residual_scale=1.0, residual_numbers=True)
        residual = self._level(node, second)
        known = self.levels[residual]
        return replace(of, residual=residual, residual_scale=known.scale, residual_zero=known.zero)

    def _concat(self, node: Node) -> None:
        names = tuple(self._level(node, self._name(name)) for name in node.refs())
        known = self.levels[names[-1]]
        if any(self.levels[name] != known for name in names):
            raise Unfit(node, "what it joins has other levels")
        if any(size_of(self.program, name).channels % BYTES for name in names[:-1]):
            raise Unfit(node, "what it joins would share words of four channels")
        self.levels[node.name] = known
        self.ops.append(Concat(names, node.name))

    def _averaging(self, node: Node, source: str) -> None:
        if source in self.pending:
            self._as_numbers(source)
        elif node.op == AVG_POOL or source not in self.levels:
            raise Unfit(node, f"{source} is no value of the region that can be averaged")
        average = node.op == AVG_POOL
        self.ops.append(pooling_of(node, source, self.program) if average else GlobalMean(source, node.name))

    def _as_numbers(self, name: str) -> None:
        op = self.pending.pop(name)
        self.ops.append(replace(op, scale=op.scale.astype(np.float32)))

    def _identity(self, node: Node, source: str) -> LevelConv:
        """Each channel by itself times one: what a sum or a clamp of levels becomes."""
        channels = size_of(self.program, source).channels
        known = self.levels[source]
        bias = np.full(channels, -known.zero, np.int32)
        return LevelConv(
            source, node.name, np.ones((channels, 1, 1, 1), np.int8), bias, np.full(channels, known.scale),
            shared=True, groups=channels, pad=known.zero, low=-np.inf, high=np.inf, numbers=True,
        )  # fmt: skip

    def _conv(self, node: Node, source: str) -> LevelConv:
        """Return a layer whose result is numbers; the source's zero point goes into the bias."""
        name, bias = node.weight, node.inputs["bias"]
        if name not in self.weights.formats:
            raise Unfit(node, "its weight is not stored as whole numbers")
        form, array = self.weights.formats[name], self.weights.arrays[name]
        known, levels = self.levels[source], form.levels(array)
        weight = levels.reshape(*levels.shape[:2], *(levels.shape[2:] or (1, 1)))
        scale = form.scales(array).astype(np.float64) * np.float64(np.float32(known.scale))
        numbers = self.weights.arrays[bias.name] if isinstance(bias, Stored) else np.zeros(len(weight))
        whole = np.rint(numbers / scale) - known.zero * weight.astype(np.int64).sum(axis=(1, 2, 3))
        if (
            np.abs(whole).max(initial=0) + TOP * np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)).max()
            > LARGEST
        ):
            raise Unfit(node, "its sums do not fit 32 bits")
        found = LevelConv(
            source, node.name, weight, whole.astype(np.int32), scale, shares_patterns(weight, node.groups),
            pad=known.zero, low=-np.inf, high=np.inf, numbers=True, layer=node.name,
        )  # fmt: skip
        if node.op == CONV:
            stride, padding, dilation = (spread_of(node, name) for name in ("stride", "padding", "dilation"))
            found = replace(found, stride=stride, padding=padding, dilation=dilation, groups=node.groups)
        if self.weights.in_pairs and not fits_pairs(found):
            raise Unfit(node, "pairs of its products do not fit 16 bits")
        return found


def shares_patterns(weight: NDArray[np.int8], groups: int) -> bool:
    """Whether four output channels that share a pattern are quicker than each by its own.

    Own patterns load what they multiply each time; shared ones load it once, but multiply zeros with it.

    Example:
        >>> shares_patterns(np.ones((4, 4, 1, 1), np.int8), 1)
        True
        >>> shares_patterns(np.kron(np.eye(4, dtype=np.int8), np.ones((1, 4), np.int8))[:, :, None, None], 1)
        False
    """
    rows, inputs = weight.shape[:2]
    if groups > 1:
        return True  # what four channels read lies in one or two words
    padded = np.pad(weight != 0, ((0, -rows % BYTES), (0, -inputs % BYTES), (0, 0), (0, 0)))
    own = padded.reshape(len(padded), -1, BYTES, *weight.shape[2:]).any(axis=2)
    together = own.reshape(-1, BYTES, *own.shape[1:]).any(axis=1)
    apart = float(own.sum()) * max(LOADS, PRODUCTS)
    return float(together.sum()) * max(LOADS, BYTES * PRODUCTS) <= apart


def _is_clamped(op: LevelConv) -> bool:
    return op.low != -np.inf or op.high != np.inf


def _clamped(op: LevelConv, node: Node) -> LevelConv:
    low, high = CLAMPS[node.op](node)
    return replace(op, low=max(op.low, low), high=max(op.low, low, min(op.high, high)))


def _rounded(op: LevelConv, target: Levels) -> LevelConv:
    """Return a product whose result is levels: scales over the target's, and clamps in levels."""
    scale = np.float64(np.float32(target.scale))
    least, largest = target.least - target.zero, target.largest - target.zero
    low, high = (float(np.clip(np.rint(end / scale), least, largest)) for end in (op.low, op.high))
    return replace(
        op, scale=(op.scale / scale).astype(np.float32), low=low, high=high, zero=target.zero, numbers=False,
        residual_scale=float(np.float32(np.float32(op.residual_scale) / scale)),
    )  # fmt: skip
