"""Which channels must go together.

Every axis of a stored tensor that carries channels, and every channel axis of a value, holds one label per
channel. Walking the program once unites the labels of channels that depend on each other. What remains are
units: the smallest sets of (tensor, axis, index) that can be removed and leave a network that still fits.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from wieldy.graph.labels import Labels
from wieldy.graph.program import Program
from wieldy.graph.rules import label_program

Axis = tuple[str, int]  # a stored tensor and one of its axes


@dataclass(frozen=True)
class Group:
    """Units of one kind: removing unit `u` takes `members[axis][u]` from every axis, and nothing else.

    A residual stream is one group; so is the inside of one block.

    Attributes:
        name: the layer that first produces these channels.
        members: for each (tensor, axis), the indices that each unit takes there.
    """

    name: str
    members: Mapping[Axis, tuple[tuple[int, ...], ...]]

    @property
    def size(self) -> int:
        """How many units there are: the channels that can be removed one at a time."""
        return len(next(iter(self.members.values())))

    def __str__(self) -> str:
        axes = ", ".join(f"{tensor}[{axis}]" for tensor, axis in self.members)
        width = len(next(iter(self.members.values()))[0])
        units = "channels" if width == 1 else f"units of {width} channels"
        return f"{self.name}: {self.size} {units} in {axes}"


@dataclass(frozen=True)
class Coupling:
    """All groups of a program, and the layers whose channels must stay with the reason why."""

    groups: tuple[Group, ...]
    pinned: Mapping[str, str]
    labels: Labels

    def group(self, name: str) -> Group:
        """Return the group called `name`."""
        return next(group for group in self.groups if group.name == name)


def couple(program: Program) -> Coupling:
    """Find the groups of `program`.

    Raises:
        SchemaError: the shapes that the program names do not fit each other; those of a trace do.

    Cost: linear in the number of channels times the number of nodes.

    Example:
        >>> from wieldy.graph.program import Node, Ref, Spec, Stored
        >>> def linear(name, source, shape):
        ...     inputs = {"input": Ref(source), "weight": Stored(f"{name}.weight"), "bias": None}
        ...     return Node(name, "aten.linear.default", inputs, name, shape)
        >>> program = Program(
        ...     {"x": Spec((None, 4))},
        ...     (linear("first", "x", (None, 3)), linear("second", "first", (None, 2))),
        ...     ("second",),
        ...     {"first.weight": Spec((3, 4)), "second.weight": Spec((2, 3))})
        >>> print(couple(program).groups[0])
        first: 3 channels in first.weight[0], second.weight[1]
    """
    labels = label_program(program)
    items: dict[int, dict[Axis, list[int]]] = defaultdict(lambda: defaultdict(list))
    for axis, ids in labels.tensors.items():
        for index, root in enumerate(labels.roots(ids)):
            items[root][axis].append(index)
    kinds: dict[tuple[tuple[Axis, int], ...], list[int]] = defaultdict(list)
    pinned: dict[str, str] = {}
    for root, axes in items.items():
        reason = labels.pinned_reason(root)
        if reason is None:
            kinds[tuple((axis, len(found)) for axis, found in axes.items())].append(root)
        else:
            layers = [_layer(tensor) for tensor, dimension in axes if dimension == 0]
            pinned |= {layer: reason for layer in layers if layer not in pinned}
    groups = [
        (_layer(kind[0][0][0]), {axis: tuple(tuple(items[root][axis]) for root in roots) for axis, _ in kind})
        for kind, roots in kinds.items()
    ]
    return Coupling(_named(groups), pinned, labels)


def _named(groups: list[tuple[str, dict[Axis, tuple[tuple[int, ...], ...]]]]) -> tuple[Group, ...]:
    """Name each group after its first layer; number those that share one."""
    seen: dict[str, int] = defaultdict(int)
    named = []
    for name, members in groups:
        seen[name] += 1
        named.append(Group(name if seen[name] == 1 else f"{name}#{seen[name]}", members))
    return tuple(named)


def _layer(tensor: str) -> str:
    return tensor.rsplit(".", 1)[0] if "." in tensor else tensor


def unit_roots(coupling: Coupling, group: Group) -> list[int]:
    """Return the label that represents each unit of `group`."""
    (axis, indices), *_ = group.members.items()
    return coupling.labels.roots(coupling.labels.tensors[axis][[unit[0] for unit in indices]])
