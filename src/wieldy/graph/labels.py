"""One label per channel, united wherever two channels depend on each other."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import InternalError, SchemaError
from wieldy.graph.ops import BINARY, ELEMENTWISE, POOLING, SOFTMAX
from wieldy.graph.program import Argument, Node, Program, Ref, Shape, Stored

Ids = NDArray[np.int64]
AxisIds = tuple[Ids | None, ...]  # for each axis of a value: its labels, or None where nothing can be removed


class Labels:
    """The labels of a program's values and tensor axes, with a union-find over them."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.shapes: dict[str, Shape] = {name: spec.shape for name, spec in program.inputs.items()}
        self.values: dict[str, AxisIds] = {}
        self.tensors: dict[tuple[str, int], Ids] = {}
        self._parent: list[int] = []
        self._pinned: dict[int, str] = {}

    def fresh(self, count: int) -> Ids:
        """Return `count` labels that depend on nothing yet."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def axis(self, tensor: str, dimension: int, count: int) -> Ids:
        """Return the labels of a tensor's axis: those it already has, or fresh ones."""
        key = (tensor, dimension)
        if key not in self.tensors:
            self.tensors[key] = self.fresh(count)
        return self.tensors[key]

    def unite(self, first: Ids, second: Ids) -> None:
        """Let each label of `first` and its partner in `second` depend on each other."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            x, y = self.root(a), self.root(b)
            if x != y:
                low, high = min(x, y), max(x, y)
                self._parent[high] = low
                if high in self._pinned:
                    self._pinned.setdefault(low, self._pinned.pop(high))

    def pin(self, ids: Ids | None, reason: str) -> None:
        """Forbid that any of these channels is removed."""
        for label in [] if ids is None else ids.tolist():
            self._pinned.setdefault(self.root(label), reason)

    def pinned_reason(self, root: int) -> str | None:
        """Return why a unit must stay, or None if it may go."""
        return self._pinned.get(root)

    def root(self, label: int) -> int:
        """Return the representative of a label's unit."""
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label

    def roots(self, ids: Ids) -> list[int]:
        """Return the representative of each label."""
        return [self.root(label) for label in ids.tolist()]


def label_program(program: Program) -> Labels:
    """Walk the program once and return its labels."""
    labels = Labels(program)
    for name, spec in program.inputs.items():
        labels.values[name] = (None,) * len(spec.shape)
    for node in program.nodes:
        try:
            labels.values[node.name] = _rule(node.op)(labels, node)
        except (IndexError, ValueError) as error:
            raise SchemaError(
                f"program: {node.op} of {node.name!r} does not fit the shapes that it names ({error})."
            ) from None
        labels.shapes[node.name] = node.shape
    for name in program.outputs:
        for ids in labels.values[name]:
            labels.pin(ids, "its channels are the network's outputs")
    return labels


FIXED = "channels that must stay, such as the network's inputs"
Rule = Callable[[Labels, Node], AxisIds]


def _rule(op: str) -> Rule:
    if op in RULES:
        return RULES[op]
    if op in ELEMENTWISE:
        return _same
    if op in POOLING:
        return _pool
    if op in BINARY:
        return _binary
    if op in SOFTMAX:
        return _softmax
    raise InternalError(f"labels: {op} is on the allow-list but has no rule.")


def _value(argument: Argument) -> str:
    assert isinstance(argument, Ref)
    return argument.name


def _input(labels: Labels, node: Node) -> AxisIds:
    return labels.values[_value(next(iter(node.inputs.values())))]


def _same(labels: Labels, node: Node) -> AxisIds:
    return _input(labels, node)


def _pool(labels: Labels, node: Node) -> AxisIds:
    source = _input(labels, node)
    for ids in source[2:]:
        labels.pin(ids, f"{node.name} pools across them")
    return (*source[:2], None, None)


def _conv(labels: Labels, node: Node) -> AxisIds:
    weight = node.inputs["weight"]
    assert isinstance(weight, Stored)
    shape = labels.program.tensors[weight.name].shape
    out_channels, width = int(shape[0] or 0), int(shape[1] or 0)
    groups = node.groups
    source = _input(labels, node)[1]
    produced = labels.axis(weight.name, 0, out_channels)
    _bias(labels, node, produced)
    if groups == 1 or width > 1:  # of more groups, the same position goes from every group
        _read_by(labels, np.tile(labels.axis(weight.name, 1, width), groups), source)
        labels.unite(np.tile(produced[: out_channels // groups], groups), produced)
    elif source is None:
        labels.pin(produced, f"{node.layer} is depthwise over {FIXED}")
    else:  # depthwise: a channel and everything made from it go together, and the group with them
        labels.unite(np.repeat(source, out_channels // groups), produced)
    return (None, produced, None, None)


def _read_by(labels: Labels, columns: Ids, source: Ids | None) -> None:
    """The columns of a weight go with the channels that they read; a weight used twice may read two."""
    if source is None:
        labels.pin(columns, f"they read {FIXED}")
    else:
        labels.unite(columns, source)


def _linear(labels: Labels, node: Node) -> AxisIds:
    weight = node.inputs["weight"]
    assert isinstance(weight, Stored)
    rows, columns = (int(size or 0) for size in labels.program.tensors[weight.name].shape)
    source = _input(labels, node)
    _read_by(labels, labels.axis(weight.name, 1, columns), source[-1])
    produced = labels.axis(weight.name, 0, rows)
    _bias(labels, node, produced)
    return (*source[:-1], produced)


def _bias(labels: Labels, node: Node, produced: Ids) -> None:
    bias = node.inputs["bias"]
    if isinstance(bias, Stored):
        labels.unite(labels.axis(bias.name, 0, len(produced)), produced)


def _batch_norm(labels: Labels, node: Node) -> AxisIds:
    source = _input(labels, node)
    for name in node.stored():
        size = labels.program.tensors[name].shape[0]
        _read_by(labels, labels.axis(name, 0, int(size or 0)), source[1])
    return source


def _operand(labels: Labels, argument: Argument) -> tuple[AxisIds, Shape]:
    """Labels and shape of one side of a broadcast operation."""
    if isinstance(argument, Ref):
        return labels.values[argument.name], labels.shapes[argument.name]
    if isinstance(argument, Stored):
        shape = labels.program.tensors[argument.name].shape
        ids = tuple(
            labels.axis(argument.name, k, size) if size and size > 1 else None for k, size in enumerate(shape)
        )
        return ids, shape
    return (), ()


def _binary(labels: Labels, node: Node) -> AxisIds:
    sides = [_operand(labels, node.inputs[name]) for name in ("self", "other")]
    rank = len(node.shape)
    result: list[Ids | None] = []
    for axis in range(rank):
        found: list[Ids | None] = []
        for side, shape in sides:
            k = axis - (rank - len(shape))
            if k >= 0 and shape[k] != 1:
                found.append(side[k])
        known = [ids for ids in found if ids is not None]
        if len(known) == 2:
            labels.unite(known[0], known[1])
        elif len(known) < len(found):  # a side with labels meets one whose channels cannot go
            for ids in known:
                labels.pin(ids, f"{node.name} joins them with channels that must stay")
        result.append(known[0] if known else None)
    return tuple(result)


def _cat(labels: Labels, node: Node) -> AxisIds:
    tensors, dim = node.inputs["tensors"], int(node.inputs["dim"])  # type: ignore[arg-type]
    assert isinstance(tensors, tuple)
    names = [_value(item) for item in tensors]
    result: list[Ids | None] = []
    for axis in range(len(node.shape)):
        parts = [labels.values[name][axis] for name in names]
        known = [ids for ids in parts if ids is not None]
        if not known:
            result.append(None)
        elif axis == dim:
            filled = [
                _or_fixed(labels, ids, labels.shapes[name][axis])
                for ids, name in zip(parts, names, strict=True)
            ]
            result.append(np.concatenate(filled))
        else:
            for ids in known[1:]:
                labels.unite(known[0], ids)
            if len(known) < len(parts):
                labels.pin(known[0], f"{node.name} joins them with channels that must stay")
            result.append(known[0])
    return tuple(result)


def _or_fixed(labels: Labels, ids: Ids | None, size: int | None) -> Ids:
    if ids is not None:
        return ids
    fixed = labels.fresh(int(size or 0))
    labels.pin(fixed, f"they are {FIXED}")
    return fixed


def _mean(labels: Labels, node: Node) -> AxisIds:
    source = _input(labels, node)
    dims = node.inputs["dim"]
    assert isinstance(dims, tuple)
    for dim in dims:
        labels.pin(source[dim], f"{node.name} averages over them")  # type: ignore[index]
    if node.inputs["keepdim"]:
        return tuple(None if axis in dims else ids for axis, ids in enumerate(source))
    return tuple(ids for axis, ids in enumerate(source) if axis not in dims)


def _softmax(labels: Labels, node: Node) -> AxisIds:
    source = _input(labels, node)
    labels.pin(source[int(node.inputs["dim"])], f"{node.name} normalises over them")  # type: ignore[arg-type]
    return source


def _reshape(labels: Labels, node: Node) -> AxisIds:
    source, before = _input(labels, node), labels.shapes[_value(node.inputs["self"])]
    result: list[Ids | None] = [None] * len(node.shape)
    for old, new in matched_axes(before, node.shape):
        carried = [axis for axis in old if source[axis] is not None]
        if not carried:
            continue
        wide = [axis for axis in new if node.shape[axis] != 1]
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


def matched_axes(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Pair the shortest runs of axes that hold the same elements; the batch pairs with itself.

    Example:
        >>> matched_axes((None, 8, 2, 2), (None, 32))
        [([0], [0]), ([1, 2, 3], [1])]
    """
    pairs = [([0], [0])] if before and after and before[0] is None and after[0] is None else []
    i = j = len(pairs)
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


RULES: dict[str, Rule] = {
    "aten.conv2d.default": _conv,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    "aten.cat.default": _cat,
    "aten.mean.dim": _mean,
    "aten.reshape.default": _reshape,
}
