"""Rows and columns change places until the large weights stand in blocks; training moves the rest to zero.

Source: Sredojevic, Cheng, Supic, Naous, Stojanovic, "Structured Deep Neural Network Pruning via Matrix
Pivoting", arXiv 1712.01084, of which we know the aims: gather what matters in dense blocks of a template that
the hardware chooses, prune the rest, and fold the permutations into the neighbouring layers. The searches
(graph/pivoting.py) and the training are derived here. Loss: f(W) + penalty * |(1 - M) W|^2 with M the
template under the permutation that keeps most of |W|. M is found anew in rounds until it stands still; then
it is hard. Where a network has been trained with M, little is lost; where one has not, much.

Templates: blocks that the kernels leave out whole, with the density falling to its end by equal factors:
`block_8x1`, eight output channels that share a pattern of inputs, and for eight bits `block_1x4` and
`block_4x4`, of four input channels. The order of channels decides which outputs of the layers before them,
and which inputs of those after them, are of one block; where both count, the sets of some channels are
searched with those of the others held. `diagonal`: K equal blocks on the diagonal, as a grouped convolution
wants it, with K doubling on the way.
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
    Sides,
    blocks_in,
    find_blocks,
    find_sets,
    mask_of,
    neighbours,
    seen_from,
)
from wieldy.graph.program import Node
from wieldy.methods.contract import Hook, MethodConfig, Step
from wieldy.methods.prune.zeros import counts, sparse_layers, weighted

Mask = NDArray[np.bool_]

NAME = "pivot"
NO_SETS: Sets = np.zeros(0, np.intp)
SWEEPS = 4  # over all channels at first: what sets are best depends on those of the other side
SHAPES = {"block_8x1": (8, 1), "block_1x4": (1, 4), "block_4x4": (4, 4)}  # outputs and inputs of a block
ROWS, INPUTS = 0, 1  # sides of a layer
STILL = 0.01  # share of kept places that may move where the mask becomes hard
ARRIVED = 0.6  # share of the rounds after which the density, or the number of blocks, is the last


class PivotConfig(MethodConfig):
    """Which template, how much of it, and how training leads there."""

    template: Literal["block_8x1", "block_1x4", "block_4x4", "diagonal"] = "block_8x1"
    sparsity: float = Field(default=0.9, ge=0, le=1)  # share of the blocks that go; not of diagonal
    blocks: int = Field(default=4, ge=2)  # of diagonal: a layer keeps one part in so many
    smallest: int = Field(default=32, ge=1)  # of diagonal: rows and inputs that a block has at least
    penalty: float = Field(default=2.0, ge=0)  # on the squares of what is outside
    search: Search = "assignment"
    starts: int = Field(default=8, ge=1)  # searches, of which the best counts
    rounds: int = Field(default=20, ge=1)  # of looking for the template anew
    until: float = Field(default=0.5, gt=0, le=1)  # share of all steps after which it is hard at the latest

    @property
    def inputs(self) -> int:
        """Input channels of a block; blocks on the diagonal are not counted in channels."""
        return SHAPES[self.template][INPUTS] if self.template in SHAPES else 1


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
        sets: of other templates: for each row, and for each input channel, the number of its set.
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
    sets: Sides = (NO_SETS, NO_SETS)


@dataclass
class Family:
    """Channels that change places together, and the sides of layers that they are."""

    group: Group
    sides: list[tuple[Layer, int]]
    searched: bool = False

    @property
    def sets(self) -> Sets:
        """For each channel, the number of its set."""
        layer, side = self.sides[0]
        return layer.sets[side]

    def deal(self, sets: Sets) -> None:
        """Put the channels into other sets."""
        for layer, side in self.sides:
            layer.sets = (sets, layer.sets[INPUTS]) if side == ROWS else (layer.sets[ROWS], sets)


class Pivot(Hook):
    """Trains weights into the blocks of a template, and lets channels change places so that blocks are solid.

    After `finish` what is outside the template is zero. With blocks the format of that name stores what is
    left without waste: neighbouring channels make up a block; those that cannot change places (the network's
    outputs, say) do as they stand. With `diagonal` a layer has its blocks in order on the diagonal, and
    `graph.grouped.as_grouped` makes a grouped convolution of it. Of layers that share channels the largest
    chooses their order.

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
        shape = SHAPES.get(self.config.template)
        self._families = families(self._layers, shape) if shape else []
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

    @property
    def keeps_places(self) -> bool:
        """Whether dead channels stay: blocks of inputs are counted from the first channel."""
        return self.config.inputs > 1

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
        if self.config.template == "diagonal":
            found = [self._pivot_blocks(network, layer) for layer in self._layers]
        else:
            found = list(self._pivot_sets(network))
        self._masks = {
            name: torch.from_numpy(mask).reshape(network.tensor(name).shape).to(network.tensor(name).device)
            for name, mask in found
        }
        kept = sum(int(mask.sum()) for mask in self._masks.values())
        stayed = sum(int((self._masks[name] & mask).sum()) for name, mask in before.items())
        return 1 - stayed / max(1, kept)

    def _pivot_sets(self, network: GraphNetwork) -> Iterator[tuple[str, Mask]]:
        """Deal all channels into sets for the density at the end; yield masks of now's density."""
        squares = {layer.name: np.square(magnitudes(network, layer.tensor)) for layer in self._layers}
        last = 1 - self.config.sparsity
        both = min(SHAPES[self.config.template]) > 1
        for family in self._families * (SWEEPS if both and not self._rounds else 1):
            found = self.find_sets(
                [seen_from(squares[layer.name], layer.sets, side) for layer, side in family.sides],
                [round(last * blocks_in(squares[layer.name], layer.sets)) for layer, _ in family.sides],
                max(SHAPES[self.config.template]),
                search=self.config.search,
                starts=1 if family.searched else self.config.starts,
                random=self._random(family.group.name),
                begin=family.sets,
            )
            family.deal(found)
            family.searched = True
        for layer in self._layers:
            of = squares[layer.name]
            kept = round(last ** self._ramp() * blocks_in(of, layer.sets))
            yield layer.tensor, mask_of(of, layer.sets, kept)

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
        for family in self._families:
            yield family.group.name, np.argsort(family.sets, kind="stable")
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
    if config.template != "diagonal":
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


def families(layers: Sequence[Layer], shape: tuple[int, int]) -> list[Family]:
    """Put neighbours into sets, and those sides of layers together whose channels change places together.

    Channels stay where they are if one of the layers cannot follow them channel by channel.

    Args:
        layers: their sets are set.
        shape: outputs and inputs of a block; a side of one has no sets to be searched.
    """
    sides = [side for side in (ROWS, INPUTS) if shape[side] > 1]
    for layer in layers:
        layer.sets = (neighbours(layer.height, shape[ROWS]), neighbours(len(layer.units), shape[INPUTS]))
    stuck = [(layer.tensor, side) for layer in layers for side in sides if not follows(layer, side, shape)]
    found: dict[str, Family] = {}
    for layer in layers:
        for side in sides:
            group = layer.inputs if side else layer.rows
            if group is None or any(axis in group.members for axis in stuck):
                continue
            if side == ROWS or has_own_channels(layer):
                found.setdefault(group.name, Family(group, [])).sides.append((layer, side))
    return list(found.values())


def follows(layer: Layer, side: int, shape: tuple[int, int]) -> bool:
    """Whether a layer's blocks are still blocks when the channels of one side change places.

    Flattened pictures do it where a channel is whole blocks.

    Args:
        shape: outputs and inputs of a block.
    """
    if side == ROWS:
        return layer.rows is not None
    together = (np.diff(layer.units) >= 0).all()
    whole = (np.bincount(layer.units) % shape[INPUTS] == 0).all()
    return has_own_channels(layer) or bool(together and whole)


def has_own_channels(layer: Layer) -> bool:
    """Whether each input channel of a layer is a unit, in order."""
    return bool((np.diff(layer.units) == 1).all())


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
