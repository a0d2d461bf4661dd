"""Dead channels and dead branches are taken out for good, and the network computes what it did.

A channel is dead if nobody reads it (all columns of it are zero, and it is no output), or if it is a
constant: what makes it is zero, through norms, activations and pools. Constants go into the biases of those
that read them, which is exact but beside zero padding: there, of several constant channels one stays, and its
column takes over the columns of the others. An addition of which one side is constant is its other side and a
bias, and the layers that made the constant go. Each of these makes others dead, so it goes on until nothing
is.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wieldy.compress.apply import widths
from wieldy.core.records import Change, Refused
from wieldy.graph.branches import ADD
from wieldy.graph.coupling import Coupling, Group, couple, unit_roots
from wieldy.graph.dead import (
    SAME,
    Dead,
    Reader,
    carried_weight,
    dead_units,
    folded_amounts,
    readers_of,
    summed_over,
)
from wieldy.graph.fold import NORM, renamed
from wieldy.graph.known import Known, known_values
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.program import Node, Program, Ref, Spec, Stored
from wieldy.graph.removal import Kept, keep_indices, remove_units

NAME = "compact"
SUB = "aten.sub.Tensor"
JOINS = (ADD, SUB, "aten.mul.Tensor", "aten.div.Tensor")
NOTHING = "none of its channels is dead"
GONE = "what it computed is constant; it went with its branch"


def compact(network: GraphNetwork) -> tuple[GraphNetwork, tuple[Change | Refused, ...]]:
    """Return a network without the channels and branches that do nothing, and what became of each layer.

    Args:
        network: traced; not altered. Constants are those of evaluation, with running statistics.

    Returns:
        A copy that computes the same up to rounding, and a record for every layer with weights: `Change`
        where channels went or the whole layer did, else `Refused` with the reason.

    Raises:
        ConfigError: the network is not traced.

    Cost: for each round (two to six) a forward pass of one example in float64, and a walk over the channels.

    Example:
        >>> from torch import nn
        >>> from wieldy.graph.trace import trace
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
        >>> with torch.no_grad():
        ...     _ = model[0].weight[1].zero_()
        >>> small, records = compact(trace(model, torch.ones(1, 2)))
        >>> records[0].before, records[0].after
        ({'out_channels': 3, 'in_channels': 2}, {'out_channels': 2, 'in_channels': 2})
        >>> torch.allclose(small(torch.ones(1, 2)), model(torch.ones(1, 2)))
        True
    """
    traced = need_traced(network, "compact")
    work = _Work(traced.program, traced.arrays())
    while _collapse(work) or _thin(work):
        pass
    small = copy.deepcopy(traced)
    if work.altered:
        small.rewrite(work.program, work.arrays, small.formats)
    return small, tuple(_account(traced.program, work))


@dataclass
class _Work:
    """The network as it stands."""

    program: Program
    arrays: dict[str, NDArray[Any]]
    altered: bool = False
    notes: dict[str, str] = field(default_factory=dict)  # of layers: what could not go, and why

    def known(self) -> dict[str, Known]:
        """Return what is known of its values now."""
        return known_values(self.program, {name: torch.from_numpy(a) for name, a in self.arrays.items()})

    def readers(self, value: str) -> list[Node]:
        """Return the nodes that read a value."""
        return [node for node in self.program.nodes if value in node.refs()]

    def owns(self, node: Node) -> bool:
        """Whether a node's tensors are its own."""
        return all(len(self.served(name)) == 1 for name in node.stored())

    def served(self, tensor: str) -> list[str]:
        """Return the names of the nodes that read a tensor."""
        return [node.name for node in self.program.nodes if tensor in node.stored()]

    def put(self, nodes: Collection[Node], outputs: tuple[str, ...], more: Mapping[str, Spec]) -> None:
        """Take over other nodes, without those that no output follows from."""
        self.program = without_idle(self.program, nodes, outputs, more)
        self.arrays = {name: self.arrays[name] for name in self.program.tensors}
        self.altered = True


def without_idle(
    program: Program, nodes: Collection[Node], outputs: tuple[str, ...], more: Mapping[str, Spec]
) -> Program:
    """Return a program of these nodes, without those that no output follows from, and their tensors."""
    needed, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if node.name in needed:
            kept.append(node)
            needed.update(node.refs())
    used = {name for node in kept for name in node.stored()}
    tensors = {name: spec for name, spec in (dict(program.tensors) | dict(more)).items() if name in used}
    return program.with_nodes(tuple(reversed(kept)), tensors).with_outputs(outputs)


def _collapse(work: _Work) -> bool:
    """Take out one branch whose value is constant; False where there is none."""
    known = work.known()
    for node in work.program.nodes:
        if node.op not in JOINS:
            continue
        for side, other in (("self", "other"), ("other", "self")):
            constant, rest = node.inputs[side], node.inputs[other]
            if not isinstance(constant, Ref) or not isinstance(rest, Ref) or not known[constant.name].whole:
                continue
            lighter = len(known[constant.name].values) == 1 and _lightens(work, node, side)
            if lighter and not known[rest.name].whole:
                _join_with_constant(work, node, side, other, known[constant.name])
                return True
    return False


def _lightens(work: _Work, node: Node, side: str) -> bool:
    """Whether layers with weights go if one side of a node does."""
    numbered = replace(node, inputs=dict(node.inputs) | {side: 0.0})
    nodes = [numbered if other.name == node.name else other for other in work.program.nodes]
    after = without_idle(work.program, nodes, work.program.outputs, {})
    return len(after.weighted_layers()) < len(work.program.weighted_layers())


def _join_with_constant(work: _Work, node: Node, side: str, other: str, known: Known) -> None:
    """Put the other side of a sum in its place with the constant in a bias, or the constant as a tensor."""
    rest = node.inputs[other]
    assert isinstance(rest, Ref)
    constant, factor = _narrowed(known.values.numpy()), _factor(node, side)
    is_sum = factor is not None and work.program.shape(rest.name) == node.shape
    if is_sum and (not constant.any() or _absorbed(work, rest.name, (factor or 0.0) * constant)):
        names = {node.name: rest.name}
        nodes = [renamed(each, names) for each in work.program.nodes if each.name != node.name]
        work.put(nodes, tuple(names.get(name, name) for name in work.program.outputs), {})
        return
    name = _fresh(work, f"constants.of_{node.name}")
    work.arrays[name] = constant.astype(np.float32)
    changed = replace(node, inputs=dict(node.inputs) | {side: Stored(name)})
    nodes = [changed if each.name == node.name else each for each in work.program.nodes]
    work.put(nodes, work.program.outputs, {name: Spec(constant.shape, learned=True)})


def _factor(node: Node, side: str) -> float | None:
    """Return what a side is multiplied by before it is added to the other as it is, or None."""
    alpha = node.inputs.get("alpha", 1)
    assert isinstance(alpha, (int, float))
    if node.op == ADD and (side == "other" or alpha == 1):
        return float(alpha)
    return -float(alpha) if node.op == SUB and side == "other" else None


def _narrowed(constant: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (1, channels, ...) with one position for all, along axes where they are alike."""
    for axis in range(2, constant.ndim):
        if (np.ptp(constant, axis=axis) <= SAME * np.abs(constant).max()).all():
            constant = constant.take([0], axis=axis)
    return constant


def _fresh(work: _Work, name: str) -> str:
    while name in work.program.tensors:
        name += "_"
    return name


def _absorbed(work: _Work, value: str, constant: NDArray[np.float64]) -> bool:
    """Add a constant of each channel to the bias of what makes a value, if nobody else reads that."""
    if value in work.program.inputs or value in work.program.outputs or len(work.readers(value)) != 1:
        return False
    node = work.program.node(value)
    axis = 1 if node.op != "aten.linear.default" else constant.ndim - 1
    if constant.size != constant.shape[axis] or not work.owns(node):
        return False
    if node.op in WEIGHTED or (node.op == NORM and node.inputs["bias"] is not None):
        _add_bias(work, node, np.broadcast_to(constant.reshape(-1), (_width(work, node),)))
        return True
    return False


def _width(work: _Work, node: Node) -> int:
    return len(work.arrays[next(node.stored())])


def _add_bias(work: _Work, node: Node, amounts: NDArray[np.float64]) -> None:
    """Add to a node's bias; a layer without one before a norm lets the norm expect less."""
    bias, after = node.inputs["bias"], work.readers(node.name)
    if isinstance(bias, Stored):
        name, amounts = bias.name, amounts
    elif (
        len(after) == 1
        and after[0].op == NORM
        and work.owns(after[0])
        and node.name not in work.program.outputs
    ):
        mean = after[0].inputs["running_mean"]
        assert isinstance(mean, Stored)
        name, amounts = mean.name, -amounts
    else:
        name = _fresh(work, f"{node.weight.removesuffix('weight')}bias")
        work.arrays[name] = np.zeros(len(amounts), np.float32)
        changed = replace(node, inputs=dict(node.inputs) | {"bias": Stored(name)})
        nodes = [changed if each.name == node.name else each for each in work.program.nodes]
        work.put(nodes, work.program.outputs, {name: Spec((len(amounts),), learned=True)})
    work.arrays[name] = (work.arrays[name].astype(np.float64) + amounts).astype(np.float32)
    work.altered = True


def _thin(work: _Work) -> bool:
    """Take out every channel that is dead now; False where there is none."""
    coupling = couple(work.program)
    readers = list(readers_of(work.program, work.arrays, coupling, work.known()))
    blocked = summed_over(coupling)
    removed: dict[str, list[int]] = {}
    gone: set[int] = set()
    work.notes = {}
    for group in coupling.groups:
        makers = _makers(work.program, group)
        dead = dead_units(coupling, group, readers, blocked, {node.op for node in makers})
        if dead.note:
            work.notes |= {node.layer: dead.note for node in makers}
        if dead.units:
            roots = unit_roots(coupling, group)
            removed[group.name] = dead.units
            gone.update(roots[unit] for unit in dead.units)
            _carry(work, readers, dead, roots)
    if removed:
        _remove(work, coupling, readers, removed, gone)
    return bool(removed)


def _makers(program: Program, group: Group) -> list[Node]:
    """Return the nodes that make the channels of a group."""
    rows = {tensor for tensor, axis in group.members if axis == 0}
    return [
        node
        for node in program.nodes
        if "weight" in node.inputs and set(node.stored()) & rows and node.op != NORM
    ]


def _carry(work: _Work, readers: list[Reader], dead: Dead, roots: list[int]) -> None:
    """Let the carrier's columns stand for those of the constant channels beside zero padding."""
    if dead.carrier is None:
        return
    carrier, gone = roots[dead.carrier], {roots[unit] for unit in dead.units}
    for reader in readers:
        if reader.needs_carrier(gone).any():
            name = reader.node.weight
            work.arrays[name] = carried_weight(reader, work.arrays[name], carrier, gone)


def _remove(
    work: _Work, coupling: Coupling, readers: list[Reader], removed: dict[str, list[int]], gone: set[int]
) -> None:
    """Remove units, and add what their constants were worth to the biases that are left."""
    amounts = {
        reader.node.name: folded_amounts(reader, work.arrays[reader.node.weight], gone)
        for reader in readers
        if reader.node.op in WEIGHTED and not reader.padded
    }
    weights = {reader.node.name: reader.node.weight for reader in readers if reader.node.name in amounts}
    work.program, kept = remove_units(work.program, coupling, removed)
    work.arrays = {name: keep_indices(array, name, kept) for name, array in work.arrays.items()}
    work.altered = True
    for name, amount in amounts.items():
        left = _left(amount, weights[name], kept)
        if left.any():
            _add_bias(work, work.program.node(name), left)


def _left(amounts: NDArray[np.float64], weight: str, kept: Kept) -> NDArray[np.float64]:
    return amounts[kept[weight, 0]] if (weight, 0) in kept else amounts


def _account(before: Program, work: _Work) -> list[Change | Refused]:
    """Return what became of every layer with weights."""
    pinned = couple(before).pinned
    after = {
        node.layer: widths(node, work.program) for node in reversed(work.program.nodes) if node.op in WEIGHTED
    }
    records: dict[str, Change | Refused] = {}
    for node in before.nodes:
        layer = node.layer
        if node.op not in WEIGHTED or layer in records:
            continue
        old, note = widths(node, before), work.notes.get(layer, "")
        new = after.get(layer, dict.fromkeys(old, 0))
        if new != old:
            note = note if layer in after else GONE
            records[layer] = Change(layer=layer, method=NAME, before=old, after=new, seed=0, note=note)
        else:
            reason = note or pinned.get(layer, NOTHING)
            records[layer] = Refused(layer=layer, method=NAME, reason=reason)
    return list(records.values())
