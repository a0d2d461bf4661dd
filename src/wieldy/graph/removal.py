"""Taking channels out of a program: every axis, shape, group count and reshape follows."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import ConfigError
from wieldy.graph.coupling import Axis, Coupling, unit_roots
from wieldy.graph.labels import AxisIds, Ids, Labels
from wieldy.graph.ops import EXPAND, TRANSPOSED
from wieldy.graph.program import Argument, Node, Program, Ref, Shape, Spec, with_batch

Kept = dict[Axis, NDArray[np.intp]]


def remove_units(
    program: Program, coupling: Coupling, units: Mapping[str, Collection[int]]
) -> tuple[Program, Kept]:
    """Return the program without `units`, and which indices of each tensor axis stay.

    Args:
        program: the one that `coupling` was found on.
        units: for each group's name, the units to remove.

    Raises:
        ConfigError: a group does not exist, a unit is outside it, or nothing of it would remain.
    """
    roots = _roots(coupling, units)
    labels = coupling.labels

    def stays(ids: Ids) -> NDArray[np.intp]:
        return _stays(labels, ids, roots)

    kept = _kept(labels, labels.tensors, roots)
    tensors = {
        name: replace(spec, shape=tuple(_size(kept, (name, k), size) for k, size in enumerate(spec.shape)))
        for name, spec in program.tensors.items()
    }
    shapes: dict[str, Shape] = {name: spec.shape for name, spec in program.inputs.items()}
    nodes = []
    for node in program.nodes:
        shape = _shrunk(node.shape, labels.values[node.name], stays)
        if node.op == "aten.slice.Tensor":
            inputs = _moved(node, labels, stays)
        else:
            inputs = _follow(node, shape, shapes, labels.shapes, tensors)
        nodes.append(replace(node, shape=shape, inputs=inputs))
        shapes[node.name] = shape
    return program.with_nodes(tuple(nodes), tensors), kept


def remaining(coupling: Coupling, units: Mapping[str, Collection[int]], values: Collection[str]) -> Kept:
    """Return which indices of each axis of some values stay when `units` go; whole axes are left out."""
    labels = coupling.labels
    axes = {
        (name, axis): ids
        for name in values
        for axis, ids in enumerate(labels.values[name])
        if ids is not None
    }
    return _kept(labels, axes, _roots(coupling, units))


def _kept(labels: Labels, axes: Mapping[Axis, Ids], roots: Collection[int]) -> Kept:
    """Return the indices that stay, of each axis that loses some."""
    return {axis: index for axis, ids in axes.items() if len(index := _stays(labels, ids, roots)) < len(ids)}


def _stays(labels: Labels, ids: Ids, roots: Collection[int]) -> NDArray[np.intp]:
    return np.flatnonzero([root not in roots for root in labels.roots(ids)])


def _roots(coupling: Coupling, units: Mapping[str, Collection[int]]) -> frozenset[int]:
    names = {group.name: group for group in coupling.groups}
    roots: set[int] = set()
    for name, chosen in units.items():
        if name not in names:
            raise ConfigError(f"plan: there is no group {name!r}; groups are {', '.join(sorted(names))}.")
        group = names[name]
        wrong = [unit for unit in chosen if not 0 <= unit < group.size]
        if wrong or len(set(chosen)) >= group.size:
            raise ConfigError(
                f"plan: group {name!r} has channels 0 to {group.size - 1}, at least one of which must stay; "
                f"got {sorted(set(chosen))[:8]}."
            )
        represented = unit_roots(coupling, group)
        roots.update(represented[unit] for unit in chosen)
    return frozenset(roots)


def _size(kept: Kept, axis: Axis, size: int | None) -> int | None:
    return len(kept[axis]) if axis in kept else size


def _shrunk(shape: Shape, ids: AxisIds, stays: Any) -> Shape:
    return tuple(size if axis is None else len(stays(axis)) for size, axis in zip(shape, ids, strict=True))


def _follow(
    node: Node,
    shape: Shape,
    shapes: Mapping[str, Shape],
    before: Mapping[str, Shape],
    tensors: Mapping[str, Spec],
) -> Mapping[str, Argument]:
    """Return the node's arguments with the widths that they spell out brought up to date."""
    if node.op == "aten.reshape.default":
        return dict(node.inputs) | {"shape": with_batch(shape, -1)}
    if node.op == EXPAND:
        return dict(node.inputs) | {"size": with_batch(shape, -1)}
    if node.op == "aten.group_norm.default":
        return _fewer_groups(node, shapes, before)
    if node.groups != 1 and node.op not in TRANSPOSED:  # there, every group only gets narrower
        source, weight = node.inputs["input"], next(node.stored())
        assert isinstance(source, Ref)
        width, per_group = shapes[source.name][1], tensors[weight].shape[1]
        assert width is not None
        assert per_group is not None
        return dict(node.inputs) | {"groups": width // per_group}
    return node.inputs


def _moved(node: Node, labels: Labels, stays: Any) -> Mapping[str, Argument]:
    """Return a slice's arguments: it begins and ends after as many channels as remain before."""
    source = next(node.refs())
    dim, start, end = (node.inputs[name] for name in ("dim", "start", "end"))
    assert isinstance(dim, int)
    assert isinstance(start, int)
    assert isinstance(end, int)
    ids = labels.values[source][dim]
    if ids is None:
        return node.inputs
    begin, stop = np.searchsorted(stays(ids), [start, end]).tolist()
    return dict(node.inputs) | {"start": begin, "end": stop}


def _fewer_groups(
    node: Node, shapes: Mapping[str, Shape], before: Mapping[str, Shape]
) -> Mapping[str, Argument]:
    """Return a group norm's arguments: as many channels in each group as before."""
    source, groups = next(node.refs()), node.inputs["num_groups"]
    old, new = before[source][1], shapes[source][1]
    assert isinstance(groups, int)
    assert old is not None
    assert new is not None
    return dict(node.inputs) | {"num_groups": new * groups // old}


def keep_indices(array: NDArray[Any], name: str, kept: Kept) -> NDArray[Any]:
    """Return the part of one stored tensor or value that stays."""
    for (tensor, axis), index in kept.items():
        if tensor == name:
            array = np.take(array, index, axis=axis)
    return array
