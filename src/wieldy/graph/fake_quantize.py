"""Which values of a network are rounded to whole levels, and the nodes that do it.

A value is rounded once, where it is made, and everything that reads it reads the levels: a runtime then
keeps eight bits in memory. What only hands numbers on (poolings of the largest, views, concatenation) keeps
the levels of what it was given, so rounding moves before it. There are no levels between a layer, its norm,
the sum that it goes into and its activation: those happen in the accumulator.
"""

from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass, replace

from wieldy.graph.fold import renamed
from wieldy.graph.ops import CAT, FAKE_QUANTIZE, VIEWS
from wieldy.graph.program import Argument, Node, Program, Ref

FIELDS = ("scale", "zero_point", "quant_min", "quant_max")  # of a rounding, in the order of `Levels`
HANDS_ON = VIEWS | {
    CAT, "aten.max_pool2d.default", "aten.max_pool1d.default", "aten.reshape.default", "aten.dropout.default",
    "aten.feature_dropout.default", "aten.upsample_nearest2d.vec", "aten.upsample_nearest1d.vec",
}  # fmt: skip


@dataclass(frozen=True)
class Levels:
    """Whole levels of a value: number = scale * (level - zero_point), least <= level <= largest."""

    scale: float
    zero_point: int
    least: int = 0
    largest: int = 255


def rounded_values(program: Program, layers: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the values to round so that all `layers` read levels, each with those that share its levels.

    Args:
        layers: names of nodes whose first input shall be levels.
    """
    shared: dict[str, set[str]] = {}
    nodes = {node.name: node for node in program.nodes}

    def visit(value: str) -> list[str]:
        node = nodes.get(value)
        if node is None or node.op not in HANDS_ON:
            shared.setdefault(value, {value})
            return [value]
        made = [place for source in node.refs() for place in visit(source)]
        together = set().union(*(shared[place] for place in made), {value} if node.op == CAT else set())
        for place in together:
            shared[place] = together
        return made

    for name in layers:
        visit(next(nodes[name].refs()))
    order = [*program.inputs, *nodes]
    return {
        value: tuple(sorted(shared[value], key=order.index))
        for value in order
        if value in shared and not (value in nodes and nodes[value].op == CAT)
    }


def with_levels(program: Program, levels: Mapping[str, Levels]) -> Program:
    """Return the program with each of these values rounded where it is made; outputs stay as they are."""
    names = {value: f"{value}.levels" for value in levels}
    nodes = [
        _rounding(program, value, levels[value], names[value]) for value in program.inputs if value in levels
    ]
    for node in program.nodes:
        nodes.append(renamed(node, names))
        if node.name in levels:
            nodes.append(_rounding(program, node.name, levels[node.name], names[node.name]))
    return program.with_nodes(tuple(nodes), program.tensors)


def roundings(program: Program) -> list[Node]:
    """Return the nodes that round."""
    return [node for node in program.nodes if node.op == FAKE_QUANTIZE]


def rounding_behind(nodes: Mapping[str, Node], value: str) -> Node | None:
    """Return the rounding whose levels a value holds: the one that made it, or that of what it was made of.

    Args:
        nodes: of a program, by name.
        value: a name.
    """
    node = nodes.get(value)
    if node is None or node.op == FAKE_QUANTIZE:
        return node
    if node.op not in HANDS_ON:
        return None
    found = [rounding_behind(nodes, name) for name in node.refs()]
    known = {levels_of(of) if of else None for of in found}
    return found[0] if len(known) == 1 else None


def levels_of(node: Node) -> Levels:
    """Return the levels to which a node rounds."""
    scale, *whole = (of for name in FIELDS if isinstance(of := node.inputs[name], (int, float)))
    return Levels(float(scale), *map(int, whole))


def with_other_levels(program: Program, levels: Mapping[str, Levels]) -> Program:
    """Return the program with other levels in the roundings that are named."""
    nodes = [
        replace(node, inputs=dict(node.inputs) | _given(levels[node.name])) if node.name in levels else node
        for node in program.nodes
    ]
    return program.with_nodes(tuple(nodes), program.tensors)


def _given(levels: Levels) -> dict[str, Argument]:
    return dict(zip(FIELDS, astuple(levels), strict=True))


def _rounding(program: Program, value: str, levels: Levels, name: str) -> Node:
    return Node(name, FAKE_QUANTIZE, {"self": Ref(value)} | _given(levels), "", program.shape(value))
