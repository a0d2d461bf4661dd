"""Rows and columns change places until the large weights stand in blocks; training moves the rest to zero.

Source: Sredojevic, Cheng, Supic, Naous, Stojanovic, "Structured Deep Neural Network Pruning via Matrix
Pivoting", arXiv 1712.01084, of which we know the aims: gather what matters in dense blocks of a template that
the hardware chooses, prune the rest, and fold the permutations into the neighbouring layers. The searches
(graph/pivoting.py) and the training are derived here. Loss: f(W) + penalty * |(1 - M) W|^2 with M the
template under the permutation that keeps most of |W|. M is found anew in rounds until it stands still; then
it is hard. Where a network has been trained with M, little is lost; where one has not, much.

Templates: `block_8x1`, eight output channels that share a pattern of inputs, as the kernels want it, with the
density falling to its end by equal factors; `diagonal`, K equal blocks on the diagonal, as a grouped
convolution wants it, with K doubling on the way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from wieldy.core import rng
from wieldy.core.errors import DataError
from wieldy.core.records import Change, Refused
from wieldy.graph.coupling import Axis, Group, couple
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.permute import free_groups, permute_units
from wieldy.graph.pivoting import (
    Blocks,
    Scores,
    Search,
    Sets,
    best_patterns,
    find_blocks,
    find_sets,
    neighbours,
)
from wieldy.graph.program import Node
from wieldy.methods.contract import Hook, MethodConfig, Step
from wieldy.methods.prune.zeros import counts, sparse_layers, weighted

Mask = NDArray[np.bool_]

NAME = "pivot"
HEIGHT = 8  # rows of a set of block_8x1
STILL = 0.01  # share of kept places that may move where the mask becomes hard
ARRIVED = 0.6  # share of the rounds after which the density, or the number of blocks, is the last


class PivotConfig(MethodConfig):
    """Which template, how much of it, and how training leads there."""

    template: Literal["block_8x1", "diagonal"] = "block_8x1"
    sparsity: float = Field(default=0.9, ge=0, le=1)  # of block_8x1: share of the sets' columns that go
    blocks: int = Field(default=4, ge=2)  # of diagonal: a layer keeps one part in so many
    smallest: int = Field(default=32, ge=1)  # of diagonal: rows and inputs that a block has at least
    penalty: float = Field(default=2.0, ge=0)  # on the squares of what is outside
    search: Search = "assignment"
    starts: int = Field(default=8, ge=1)  # searches, of which the best counts
    rounds: int = Field(default=20, ge=1)  # of looking for the template anew
    until: float = Field(default=0.5, gt=0, le=1)  # share of all steps after which it is hard at the latest


@dataclass
class Layer:
    """One layer and what is known of it.

    Attributes:
        rows, inputs: the groups whose units are its rows, and are what its columns read, where these may
            change places; None where they may not.
        height: how many rows there are.
        units: for each input channel, the unit that it is of.
        apart: why its blocks stay where they are, if they do.
        blocks: its diagonal template, once it was searched.
    """

    name: str
    tensor: str
    rows: Group | None
    inputs: Group | None
    height: int
    units: Sets
    before: dict[str, int]
    apart: str = ""
    blocks: Blocks | None = None


@dataclass
class Family:
    """Layers whose rows change places together, such as those that meet at an add; often there is one."""

    layers: list[Layer]
    group: Group | None  # None: rows stay where they are
    sets: Sets
    searched: bool = False


class Pivot(Hook):
    """Trains weights into the blocks of a template, and lets channels change places so that blocks are solid.

    After `finish` what is outside the template is zero. With `block_8x1` each eight neighbouring output
    channels share a pattern, so that the format of that name stores them without waste; rows that cannot
    change places (the network's outputs, say) share one as they stand. With `diagonal` a layer has its blocks
    in order on the diagonal, and `graph.grouped.as_grouped` makes a grouped convolution of it. Of layers that
    share channels the largest chooses their order.

    Args:
        config: what and how.
        layers: by name; default: all that can be pivoted. With `diagonal` those that are named become blocks
            even where these cannot be in order; their record says why.

    Raises:
        ConfigError: from `attach`: the network is not traced, or lacks a layer.
        DataError: from `attach`, or in training: a weight is NaN or infinite.
    """

    find_sets = staticmethod(find_sets)
    find_blocks = staticmethod(find_blocks)

    def __init__(self, config: PivotConfig | None = None, layers: Sequence[str] | None = None) -> None:
        self.config = config or PivotConfig()
        self.layers = None if layers is None else tuple(layers)
        self._changes: list[Change] = []
        self._refused: list[Refused] = []

    def attach(self, network: nn.Module) -> None:
        """Look at which channels may change places, and search for the first time."""
        traced = need_traced(network, "Pivot")
        self._masks: dict[str, Tensor] = {}
        self._rounds, self._hard = 0, False
        self._layers = self._chosen(traced)
        self._families = families(self._layers)
        self._changes = []
        self._pivot(traced)

    def penalty(self, step: Step) -> Tensor | None:
        """Return the sum of the squares of what is outside the template, weighted."""
        if self._hard or not self._masks:
            return None
        network = need_traced(step.network, "Pivot")
        outside = [(network.tensor(name) * ~mask).square().sum() for name, mask in self._masks.items()]
        return self.config.penalty * torch.stack(outside).sum()

    def after_step(self, step: Step) -> None:
        """Search anew if it is time; keep at zero what is outside a template that is hard."""
        network = need_traced(step.network, "Pivot")
        if self._hard:
            self._zero(network)
            return
        share = min(1.0, (step.index + 1) / (step.total * self.config.until))
        if (due := int(self.config.rounds * share + 1e-9)) > self._rounds:
            self._rounds = due
            moved = self._pivot(network)
            if self._ramp() == 1 and (moved < STILL or due == self.config.rounds):
                self._hard = True
                self._zero(network)

    def finish(self, network: nn.Module) -> None:
        """Let what is outside be zero, and channels take the places that make the blocks solid."""
        traced = need_traced(network, "Pivot")
        if not self._hard:
            self._rounds = self.config.rounds
            self._pivot(traced)
        self._zero(traced)
        self.fold(traced)
        self._changes = [self._record(traced, layer) for layer in self._layers]

    def fold(self, network: GraphNetwork) -> None:
        """Let channels change places; the network computes what it did."""
        permute_units(network, dict(self._orders()))

    def records(self) -> Iterator[Change | Refused]:
        """Yield what became of every layer, after `finish`."""
        yield from self._changes
        yield from self._refused

    def _chosen(self, network: GraphNetwork) -> list[Layer]:
        """Return the layers that can have blocks; note why the others cannot."""
        names, left = (self.layers, ()) if self.layers is not None else sparse_layers(network, NAME)
        self._refused = list(left)
        nodes = weighted(network, names, NAME)
        axes = [(node.weight, axis) for node in nodes for axis in (0, 1)]
        free = free_groups(couple(network.program), axes)
        layers = {node.layer: layer_of(node, network.tensor(node.weight), free) for node in nodes}
        reasons = {node.layer: no_blocks(node, layers[node.layer], self.config) for node in nodes}
        if self.config.template == "diagonal":
            claim_orders([layer for layer in layers.values() if not reasons[layer.name]])
            if self.layers is None:
                reasons = {name: reason or layers[name].apart for name, reason in reasons.items()}
        self._refused += [
            Refused(layer=name, method=NAME, reason=reason) for name, reason in reasons.items() if reason
        ]
        return [layer for layer in layers.values() if not reasons[layer.name]]

    def _ramp(self) -> float:
        """How much of the way to the last density, or number of blocks, is done."""
        return min(1.0, self._rounds / max(1, round(ARRIVED * self.config.rounds)))

    def _pivot(self, network: GraphNetwork) -> float:
        """Find the template for the weights as they are; return the share of kept places that moved."""
        before = self._masks
        if self.config.template == "block_8x1":
            found = [item for family in self._families for item in self._pivot_sets(network, family)]
        else:
            found = [self._pivot_blocks(network, layer) for layer in self._layers]
        self._masks = {
            name: torch.from_numpy(mask).reshape(network.tensor(name).shape).to(network.tensor(name).device)
            for name, mask in found
        }
        kept = sum(int(mask.sum()) for mask in self._masks.values())
        stayed = sum(int((self._masks[name] & mask).sum()) for name, mask in before.items())
        return 1 - stayed / max(1, kept)

    def _pivot_sets(self, network: GraphNetwork, family: Family) -> Iterator[tuple[str, Mask]]:
        """Deal the rows of a family into sets for the density at the end; yield masks of now's density."""
        rows = len(family.sets)
        scores = [np.square(magnitudes(network, layer.tensor).reshape(rows, -1)) for layer in family.layers]
        columns = [(int(family.sets.max()) + 1) * of.shape[1] for of in scores]
        last = 1 - self.config.sparsity
        if family.group is not None:
            family.sets = self.find_sets(
                scores,
                [round(last * count) for count in columns],
                HEIGHT,
                search=self.config.search,
                starts=1 if family.searched else self.config.starts,
                random=self._random(family.group.name),
                begin=family.sets,
            )
            family.searched = True
        for layer, of, count in zip(family.layers, scores, columns, strict=True):
            patterns = best_patterns(of, family.sets, round(last ** self._ramp() * count))
            yield layer.tensor, patterns[family.sets]

    def _pivot_blocks(self, network: GraphNetwork, layer: Layer) -> tuple[str, Mask]:
        """Find the diagonal template of a layer, of as many blocks as it is time for; return its mask."""
        stages = doublings(self.config.blocks)
        count = stages[min(len(stages) - 1, int(self._ramp() * len(stages)))]
        same = layer.blocks is not None and int(layer.blocks.rows.max()) + 1 == count
        weight = magnitudes(network, layer.tensor)
        layer.blocks = self.find_blocks(
            by_unit(weight, layer.units),
            count,
            search=self.config.search,
            starts=1 if same else self.config.starts,
            random=self._random(layer.name),
            begin=layer.blocks if same else None,
        )
        of_channels = layer.blocks.mask()[:, layer.units]
        return layer.tensor, np.repeat(of_channels, weight[0, 0].size, axis=1)

    def _random(self, name: str) -> np.random.Generator:
        return rng.generator(self.config.seed, NAME, name, self._rounds)

    @torch.no_grad()
    def _zero(self, network: GraphNetwork) -> None:
        for name, mask in self._masks.items():
            network.tensor(name).mul_(mask)

    def _orders(self) -> Iterator[tuple[str, Sets]]:
        """Yield the order that each group takes, so that sets, or blocks, lie side by side."""
        if self.config.template == "block_8x1":
            for family in self._families:
                if family.group is not None:
                    yield family.group.name, np.argsort(family.sets, kind="stable")
            return
        for layer in self._layers:
            if not layer.apart and layer.rows and layer.inputs and layer.blocks:
                yield layer.rows.name, np.argsort(layer.blocks.rows, kind="stable")
                yield layer.inputs.name, np.argsort(layer.blocks.columns, kind="stable")

    def _record(self, network: GraphNetwork, layer: Layer) -> Change:
        after = counts(network.tensor(layer.tensor))
        note = f"its blocks are not in order: {layer.apart}" if layer.apart else ""
        if layer.blocks is not None:
            after |= {"blocks": int(layer.blocks.rows.max()) + 1}
        return Change(
            layer=layer.name, method=NAME, before=layer.before, after=after, seed=self.config.seed, note=note
        )


def layer_of(node: Node, weight: Tensor, free: Mapping[Axis, Group]) -> Layer:
    """Return a layer with the groups that its rows and its inputs are, where these may change places."""
    rows, inputs = (free.get((node.weight, axis)) for axis in (0, 1))
    if rows and rows.members[node.weight, 0] != tuple((row,) for row in range(len(weight))):
        rows = None  # heads, or channels that lie in another order here
    units = np.arange(weight.shape[1])
    if inputs:
        for unit, channels in enumerate(inputs.members[node.weight, 1]):
            units[list(channels)] = unit
    return Layer(node.layer, node.weight, rows, inputs, len(weight), units, counts(weight))


def no_blocks(node: Node, layer: Layer, config: PivotConfig) -> str:
    """Say why a layer cannot have the blocks of a template, if it cannot."""
    if node.groups > 1:
        return "its filters read different channels: they are in groups already"
    if config.template == "block_8x1":
        return ""
    rows, inputs = layer.height // config.blocks, len(layer.units) // config.blocks
    if min(rows, inputs) < config.smallest:
        return f"blocks of {rows} x {inputs} channels do not pay; they must have {config.smallest} a side"
    if int(layer.units.max()) + 1 < config.blocks:
        return f"it reads {int(layer.units.max()) + 1} channels, fewer than {config.blocks} blocks"
    return ""


def claim_orders(layers: Sequence[Layer]) -> None:
    """Let layers choose the order of their channels, the largest first; note why others cannot."""
    claimed: set[str] = set()
    for layer in sorted(layers, key=lambda layer: -layer.before["weights"]):
        groups = {group.name for group in (layer.rows, layer.inputs) if group}
        if layer.rows is None or layer.inputs is None:
            side = "output" if layer.rows is None else "input"
            layer.apart = f"its {side} channels must stay where they are"
        elif len(groups) == 1:
            layer.apart = "it adds its outputs to its inputs, so that both have one order"
        elif claimed & groups:
            layer.apart = "a layer that is no smaller has chosen the order of channels that they share"
        else:
            claimed |= groups


def families(layers: Sequence[Layer]) -> list[Family]:
    """Put layers together whose rows are units of the same group.

    Where such a group also holds rows of a layer that cannot follow it row by row, all stay where they are.
    """
    stuck = [(layer.tensor, 0) for layer in layers if layer.rows is None]
    found: dict[str, Family] = {}
    for layer in layers:
        group = layer.rows
        if group and any(axis in group.members for axis in stuck):
            group = None
        key = group.name if group else f"{layer.tensor} alone"
        if key not in found:
            found[key] = Family([], group, neighbours(layer.height, HEIGHT))
        found[key].layers.append(layer)
    return list(found.values())


def doublings(blocks: int) -> list[int]:
    """Return the numbers of blocks on the way to the last, each twice the one before.

    Example:
        >>> doublings(8), doublings(6), doublings(5)
        ([2, 4, 8], [3, 6], [5])
    """
    found = [blocks]
    while found[0] % 2 == 0 and found[0] > 2:
        found.insert(0, found[0] // 2)
    return found


def magnitudes(network: GraphNetwork, tensor: str) -> Scores:
    """Return |W| as (rows, input channels, kernel).

    Raises:
        DataError: a weight is NaN or infinite.
    """
    weight = network.tensor(tensor).detach().cpu().double().numpy()
    if not np.isfinite(weight).all():
        raise DataError(f"{NAME}: {tensor} holds NaN or infinity. Check the weights, or train more slowly.")
    return np.asarray(np.abs(weight.reshape(*weight.shape[:2], -1)))


def by_unit(weight: Scores, units: Sets) -> Scores:
    """Add up, over the channels of each unit, the norms of the kernels (rows, channels, kernel).

    Example:
        >>> by_unit(np.array([[[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]]]), np.array([0, 0, 1])).tolist()
        [[6.0, 2.0]]
    """
    norms = np.sqrt(np.square(weight).sum(axis=2))
    return np.asarray(norms @ np.eye(int(units.max()) + 1)[units])
