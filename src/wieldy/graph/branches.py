"""Which layers a shortcut passes by: without them the network is thinner by a branch, and whole."""

from collections.abc import Mapping
from dataclasses import dataclass

from wieldy.graph.ops import WEIGHTED
from wieldy.graph.program import Node, Program, Ref

ADD = "aten.add.Tensor"


@dataclass(frozen=True)
class Branch:
    """One side of an addition whose other side does without it.

    Attributes:
        join: the node that adds.
        layers: those with weights that only this side needs, in order.
        shortcut: those that only the other side needs, fewer than on this one.
    """

    join: str
    layers: tuple[str, ...]
    shortcut: tuple[str, ...]


def branches(program: Program) -> tuple[Branch, ...]:
    """Return the branches of a program, in the order of their additions.

    Of the two sides of an addition the branch is the one with more layers of its own; what it computes may be
    read nowhere else.

    Example:
        >>> from wieldy.graph.program import Spec, Stored
        >>> inputs = {"input": Ref("x"), "weight": Stored("w"), "bias": None}
        >>> layer = Node("y", "aten.linear.default", inputs, "y", (None, 2))
        >>> add = Node("z", ADD, {"self": Ref("y"), "other": Ref("x"), "alpha": 1}, "", (None, 2))
        >>> program = Program({"x": Spec((None, 2))}, (layer, add), ("z",), {"w": Spec((2, 2))})
        >>> branches(program)
        (Branch(join='z', layers=('y',), shortcut=()),)
    """
    needs: dict[str, frozenset[str]] = {name: frozenset() for name in program.inputs}
    for node in program.nodes:
        needs[node.name] = frozenset({node.name}).union(*(needs[name] for name in node.refs()))
    found = [_branch(program, node, needs) for node in program.nodes if node.op == ADD]
    return tuple(branch for branch in found if branch)


def _branch(program: Program, join: Node, needs: Mapping[str, frozenset[str]]) -> Branch | None:
    sides = [side.name for side in (join.inputs["self"], join.inputs["other"]) if isinstance(side, Ref)]
    if len(sides) < 2:
        return None
    own = [needs[one] - needs[other] for one, other in (sides, sides[::-1])]
    layers = [_layers(program, names) for names in own]
    longer = int(len(layers[1]) > len(layers[0]))
    if len(layers[0]) == len(layers[1]) or not _is_closed(program, own[longer], join.name):
        return None
    return Branch(join.name, layers[longer], layers[1 - longer])


def _layers(program: Program, names: frozenset[str]) -> tuple[str, ...]:
    found = [node.layer for node in program.nodes if node.name in names and node.op in WEIGHTED]
    return tuple(dict.fromkeys(found))


def _is_closed(program: Program, names: frozenset[str], join: str) -> bool:
    """Whether nobody but the nodes themselves and the join reads them."""
    read = {name for node in program.nodes if node.name not in names | {join} for name in node.refs()}
    return not names & (read | set(program.outputs))
