"""What operators that only lay a value out otherwise do to the labels of its channels."""

from collections.abc import Sequence
from math import prod

import numpy as np

from wieldy.graph.labels import AxisIds, Ids, Labels, Rule, joined, operand, source_ids, whole, wholes
from wieldy.graph.ops import ATTENTION, BINARY, ELEMENTWISE, EXPAND, MATMUL, VIEWS
from wieldy.graph.program import Node, Program, Shape


def _permute(labels: Labels, node: Node) -> AxisIds:
    """Channels are followed to their new axis."""
    source = source_ids(labels, node)
    return tuple(source[axis] for axis in wholes(node, "dims"))


def _expand(labels: Labels, node: Node) -> AxisIds:
    """Channels are followed; what is repeated has none."""
    side = operand(labels, node.inputs["self"])
    return joined(labels, node, [side], len(node.shape))


def _slice(labels: Labels, node: Node) -> AxisIds:
    """Of a part of an axis, what stays is a part again if nothing is skipped; see removal.py."""
    source, dim, step = list(source_ids(labels, node)), whole(node, "dim"), whole(node, "step")
    ids = source[dim]
    if ids is None:
        return tuple(source)
    if step != 1:
        labels.pin(ids, f"{node.name} skips some of them")
        source[dim] = None
    else:
        source[dim] = ids[whole(node, "start") : whole(node, "end")]
    return tuple(source)


def _select(labels: Labels, node: Node) -> AxisIds:
    """Channels are followed; the axis that is taken from stays."""
    source, dim = source_ids(labels, node), whole(node, "dim")
    labels.pin(source[dim], f"{node.name} picks one of them by its place")
    return source[:dim] + source[dim + 1 :]


def _pad(labels: Labels, node: Node) -> AxisIds:
    """Channels are followed; axes that grow stay."""
    source, pad = list(source_ids(labels, node)), wholes(node, "pad")
    for place in range(0, len(pad), 2):
        axis = len(source) - 1 - place // 2
        if any(pad[place : place + 2]):
            labels.pin(source[axis], f"{node.name} puts others beside them")
            source[axis] = None
    return tuple(source)


def _reshape(labels: Labels, node: Node) -> AxisIds:
    """Channels are followed through axes that are split, joined or left alone; others stay."""
    source, before = source_ids(labels, node), labels.shapes[next(node.refs())]
    result: list[Ids | None] = [None] * len(node.shape)
    for old, new in matched_axes(before, node.shape):
        carried = [axis for axis in old if source[axis] is not None]
        if not carried:
            continue
        wide = [axis for axis in new if node.shape[axis] != 1]
        if len(wide) > 1 and all(before[axis] == 1 for axis in old if axis != carried[0]):
            axis, ids = _spread(labels, node, source[carried[0]], wide)  # type: ignore[arg-type]
            result[axis] = ids
            continue
        if len(wide) == 1:  # axes merge into one, or one keeps its width
            grid = np.zeros([before[axis] or 1 for axis in old], np.int64)
            if len(carried) == 1:
                sizes = [-1 if axis == carried[0] else 1 for axis in old]
                grid += source[carried[0]].reshape(sizes)  # type: ignore[union-attr]
                result[wide[0]] = grid.reshape(-1)
                continue
        for axis in carried:
            labels.pin(source[axis], f"{node.name} spreads them over several axes")
    return tuple(result)


def _spread(labels: Labels, node: Node, ids: Ids, axes: list[int]) -> tuple[int, Ids]:
    """Return the axis that carries channels on where one axis becomes several, and its labels.

    What has the same place on that axis goes together: whole heads where attention reads them, else the same
    position of every group of channels.
    """
    kept = len(axes) - (2 if _is_attended(labels.program, node.name) else 1)
    grid = np.moveaxis(ids.reshape([node.shape[axis] or 1 for axis in axes]), kept, 0)
    together = grid.reshape(len(grid), -1)
    labels.unite(np.repeat(together[:, 0], together.shape[1]), together.reshape(-1))
    return axes[kept], together[:, 0]


def _is_attended(program: Program, name: str) -> bool:
    """Whether a product of two values reads a value, turned or cut as it may be."""
    readers = [node for node in program.nodes if name in node.refs()]
    return any(
        node.op in (MATMUL, ATTENTION)
        or (node.op in VIEWS | ELEMENTWISE | BINARY and _is_attended(program, node.name))
        for node in readers
    )


def matched_axes(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Pair the shortest runs of axes that hold the same elements; the batch pairs with itself.

    Example:
        >>> matched_axes((None, 8, 2, 2), (None, 32))
        [([0], [0]), ([1, 2, 3], [1])]
    """
    if None not in before or None not in after:
        return _matched(before, after)
    i, j = before.index(None), after.index(None)
    behind = [
        ([axis + i + 1 for axis in old], [axis + j + 1 for axis in new])
        for old, new in _matched(before[i + 1 :], after[j + 1 :])
    ]
    return [*_matched(before[:i], after[:j]), ([i], [j]), *behind]


def _matched(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    pairs, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        old, new = _next(before, i), _next(after, j)
        i, j = i + len(old), j + len(new)
        while (p := _product(before, old)) != (q := _product(after, new)):
            if p < q:
                old, i = [*old, i], i + 1
            else:
                new, j = [*new, j], j + 1
        while i < len(before) and before[i] == 1:
            old, i = [*old, i], i + 1
        while j < len(after) and after[j] == 1:
            new, j = [*new, j], j + 1
        pairs.append((old, new))
    return pairs


def _next(shape: Shape, start: int) -> list[int]:
    return [start] if start < len(shape) else []


def _product(shape: Shape, axes: Sequence[int]) -> int:
    return prod(shape[axis] or 1 for axis in axes)


AXIS_RULES: dict[str, Rule] = {
    "aten.reshape.default": _reshape,
    EXPAND: _expand,
    "aten.permute.default": _permute,
    "aten.slice.Tensor": _slice,
    "aten.select.int": _select,
    "aten.pad.default": _pad,
}
