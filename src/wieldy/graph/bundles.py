"""Bundles of groups of weights: the channels that some layers make together, or the columns of one layer.

A group is what dies together, over all the tensors that it has a part in. Of a channel these are the filters
that make it, in every layer that adds to it, with their biases and the scale and shift of the norms that
follow: when all of them are zero, the channel is.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wieldy.graph.coupling import Axis, Group, couple
from wieldy.graph.fold import NORM
from wieldy.graph.ops import TRANSPOSED, WEIGHTED
from wieldy.graph.program import Node, Program, Stored
from wieldy.graph.structures import Structure, norms, size_of, spread

NORMS = (NORM, "aten.group_norm.default", "aten.layer_norm.default")
PRELU = "aten.prelu.default"
Role = Literal["filter", "partner", "reader", "maker"]
Readers = Mapping[str, list[tuple[Node, str]]]  # for each tensor, who reads it, and as which argument


@dataclass(frozen=True)
class Member:
    """One tensor's part in a bundle.

    Attributes:
        tensor: its name.
        structure: what of it belongs to one group.
        conv_groups: of the convolution whose weight it is.
        group: (structures,) the group of each; the bundle's count where it has none.
    """

    tensor: str
    structure: Structure
    conv_groups: int
    group: Tensor

    def squares(self, values: Tensor, count: int) -> Tensor:
        """Return (count,) sums of squares of what each group has here."""
        return self._summed(norms(_wide(values), self.structure, self.conv_groups).square(), count)

    def sizes(self, values: Tensor, count: int) -> Tensor:
        """Return (count,) how many numbers each group has here."""
        size = size_of(_wide(values), self.structure, self.conv_groups)
        return self._summed(torch.full((len(self.group),), float(size), dtype=values.dtype), count)

    def scaled(self, values: Tensor, factors: Tensor) -> Tensor:
        """Return the values, each times its group's factor."""
        each = torch.cat([factors, factors.new_ones(1)])[self.group]
        return values * spread(each, _wide(values), self.structure, self.conv_groups).reshape(values.shape)

    def _summed(self, found: Tensor, count: int) -> Tensor:
        return found.new_zeros(count + 1).index_add_(0, self.group, found)[:count]


@dataclass(frozen=True)
class Bundle:
    """Groups of one kind.

    Attributes:
        layers: whose weights have parts in them, in the program's order.
        members: the tensors that they are made of.
        count: how many groups there are.
    """

    layers: tuple[str, ...]
    members: tuple[Member, ...]
    count: int

    def norms(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return (count,) Euclidean norms of the groups in tensors by name."""
        parts = [member.squares(values[member.tensor], self.count) for member in self.members]
        return torch.stack(parts).sum(0).sqrt()

    def sizes(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return (count,) how many numbers the groups have."""
        parts = [member.sizes(values[member.tensor], self.count) for member in self.members]
        return torch.stack(parts).sum(0)


def _wide(values: Tensor) -> Tensor:
    """View a vector as a matrix of one column."""
    return values if values.ndim > 1 else values[:, None]


def columns_of(program: Program, node: Node) -> Bundle:
    """Return the columns of one layer."""
    shape = [int(size or 0) for size in program.tensors[node.weight].shape]
    count = node.groups * torch.Size(shape[1:]).numel()
    return Bundle((node.layer,), (Member(node.weight, "columns", node.groups, torch.arange(count)),), count)


def filters_of(program: Program, layers: Collection[str]) -> tuple[list[Bundle], dict[str, str]]:
    """Return the channels that these layers make, and which of them are left out with the reason.

    Left out are layers whose channels must stay, or are made by a layer that is not named as well, or by what
    has no filters. Depthwise convolutions follow without being named.
    """
    coupling, readers = couple(program), _readers(program)
    bundles: list[Bundle] = []
    refused = {layer: reason for layer, reason in coupling.pinned.items() if layer in layers}
    for group in coupling.groups:
        makers = _makers(program, group, readers)
        named = [node.layer for node in makers if node.layer in layers]
        reason = _reason(program, group, readers, makers, layers)
        if reason is not None:
            refused |= dict.fromkeys(named, reason)
        elif named:
            bundles.append(_bundle(program, group, readers, makers))
    taken = {layer for bundle in bundles for layer in bundle.layers}
    return bundles, {layer: reason for layer, reason in refused.items() if layer not in taken}


def _readers(program: Program) -> Readers:
    found: dict[str, list[tuple[Node, str]]] = {name: [] for name in program.tensors}
    for node in program.nodes:
        for argument, value in node.inputs.items():
            if isinstance(value, Stored):
                found[value.name].append((node, argument))
    return found


def _roles(axis: Axis, readers: Readers) -> set[Role]:
    """Return what a tensor is to the channels along one of its axes, for each node that reads it.

    A `filter` makes them, a `partner` is added to them or scales them, a `reader` follows them, and a `maker`
    makes them without filters.
    """
    return {_role(node, argument, axis[1]) for node, argument in readers[axis[0]]}


def _role(node: Node, argument: str, axis: int) -> Role:
    if node.op in WEIGHTED:
        return "partner" if argument == "bias" else "filter" if axis == 0 else "reader"
    if node.op in NORMS:
        return "partner" if argument in ("weight", "bias") else "reader"
    follows = node.op in TRANSPOSED and argument == "weight" and axis == 0
    return "reader" if follows or node.op == PRELU else "maker"


def _makers(program: Program, group: Group, readers: Readers) -> list[Node]:
    """Return the nodes whose filters make the channels of a group, in the program's order."""
    names = {
        node.name
        for tensor, axis in group.members
        for node, argument in readers[tensor]
        if _role(node, argument, axis) == "filter"
    }
    return [node for node in program.nodes if node.name in names]


def _reason(
    program: Program, group: Group, readers: Readers, makers: list[Node], layers: Collection[str]
) -> str | None:
    """Return why the channels of a group cannot go by their filters, or None."""
    for axis in group.members:
        if "maker" in _roles(axis, readers):
            return f"its channels are also made by {axis[0]}, which has no filters"
        for node, _ in readers[axis[0]]:
            if node.op == NORM and node.inputs["weight"] is None:
                return f"the norm {node.layer} has no scale that could go to zero with a filter"
    missing = [node.layer for node in makers if node.layer not in layers and not _is_depthwise(program, node)]
    return f"it makes the same channels as {missing[0]}, which is not among the layers" if missing else None


def _is_depthwise(program: Program, node: Node) -> bool:
    return node.groups > 1 and program.tensors[node.weight].shape[1] == 1


def _bundle(program: Program, group: Group, readers: Readers, makers: list[Node]) -> Bundle:
    members = []
    for axis, units in group.members.items():
        if _roles(axis, readers) & {"filter", "partner"}:
            of = torch.full((int(program.tensors[axis[0]].shape[0] or 0),), group.size)
            for unit, rows in enumerate(units):
                of[list(rows)] = unit
            members.append(Member(axis[0], "filters", 1, of))
    return Bundle(tuple(dict.fromkeys(node.layer for node in makers)), tuple(members), group.size)
