"""One label per channel, united wherever two channels depend on each other."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

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
        self.ties: list[tuple[Ids, Ids]] = []  # what was united, place by place
        self._parent: list[int] = []
        self._pinned: dict[int, str] = {}

    @property
    def count(self) -> int:
        """How many labels there are."""
        return len(self._parent)

    def fresh(self, count: int) -> Ids:
        """Return `count` labels that depend on nothing yet."""
        start = self.count
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
        self.ties.append((first, second))
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


Rule = Callable[[Labels, Node], AxisIds]  # what an operator does to labels: those of what it yields


def source_ids(labels: Labels, node: Node) -> AxisIds:
    """Return the labels of the value that a node reads first."""
    return labels.values[next(node.refs())]


def operand(labels: Labels, argument: Argument) -> tuple[AxisIds, Shape]:
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


def joined(labels: Labels, node: Node, sides: Sequence[tuple[AxisIds, Shape]], rank: int) -> AxisIds:
    """Return the labels of values that are broadcast against each other."""
    result: list[Ids | None] = []
    for axis in range(rank):
        found: list[Ids | None] = []
        for side, shape in sides:
            k = axis - (rank - len(shape))
            if k >= 0 and shape[k] != 1:
                found.append(side[k])
        known = [ids for ids in found if ids is not None]
        for ids in known[1:]:
            labels.unite(known[0], ids)
        if len(known) < len(found):  # a side with labels meets one whose channels cannot go
            for ids in known:
                labels.pin(ids, f"{node.name} joins them with channels that must stay")
        result.append(known[0] if known else None)
    return tuple(result)


def whole(node: Node, name: str) -> int:
    """Return an argument that is a whole number."""
    value = node.inputs[name]
    assert isinstance(value, int)
    return value


def wholes(node: Node, name: str) -> tuple[int, ...]:
    """Return an argument that is a list of whole numbers."""
    value = node.inputs[name]
    assert isinstance(value, tuple)
    return tuple(int(item) for item in value)  # type: ignore[arg-type]  # fits() saw to it
