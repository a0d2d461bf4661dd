"""A program as steps that know their boxes and lines, or the operator for which there are none."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from wieldy.assure.bounds.affine import AFFINE, Affine, Arrays, example_shape
from wieldy.assure.bounds.relaxed import BENDS, Bend
from wieldy.core.errors import UnsupportedOpError
from wieldy.graph.cost import layer_costs
from wieldy.graph.program import FLOAT, Node, Program

Step = Affine | Bend


@dataclass(frozen=True)
class Steps:
    """A program, ready for bounds.

    Attributes:
        program: its nodes.
        steps: by the name of the value that each yields, in order.
        macs: multiply-adds of one example for a value and all that it is made of.
        asking: the bends whose source is worth bounding by CROWN: it is affine in something, its box by
            intervals is not the smallest there is already, and no bend before asked for it.
    """

    program: Program
    steps: Mapping[str, Step]
    macs: Mapping[str, int]
    asking: frozenset[str]

    @property
    def output(self) -> str:
        """The name of the one output.

        Raises:
            UnsupportedOpError: there are several.
        """
        if len(self.program.outputs) != 1:
            raise UnsupportedOpError(f"bounds: there must be one output; got {len(self.program.outputs)}.")
        return self.program.outputs[0]

    @property
    def bends(self) -> int:
        """How many entries of one example go into a bend."""
        bends = (step for step in self.steps.values() if not isinstance(step, Affine))
        return sum(_size(self.program, step.sources[0]) for step in bends)

    @property
    def crown_macs(self) -> int:
        """How many multiply-adds CROWN takes for one example where no bend is decided."""
        sources = [self.steps[name].sources[0] for name in self.asking]
        last = _size(self.program, self.output) * self.macs[self.output]
        return 2 * (last + sum(_size(self.program, source) * self.macs[source] for source in sources))


def steps_of(program: Program, arrays: Arrays) -> Steps:
    """Return a program's nodes as steps.

    Args:
        program, arrays: a network, such as a traced one's `program` and `arrays()`.

    Raises:
        UnsupportedOpError: there are no bounds for an operator, or not for the way in which it is used.

    Example:
        >>> import torch
        >>> from wieldy.graph.trace import trace
        >>> network = trace(torch.nn.Linear(2, 3), torch.zeros(1, 2))
        >>> steps_of(network.program, network.arrays()).crown_macs
        36
    """
    for name, spec in program.inputs.items():
        if spec.dtype != FLOAT:
            raise UnsupportedOpError(f"bounds: inputs must be {FLOAT}; {name!r} is {spec.dtype}.")
    steps = {node.name: _step(node, program, arrays) for node in program.nodes}
    costs = [cost.macs for cost in layer_costs(program)]
    return Steps(program, steps, _macs(steps, costs), _asking(program, steps))


def _macs(steps: Mapping[str, Step], costs: list[int]) -> dict[str, int]:
    """Add up the costs of all that every value is made of."""
    ahead: dict[str, frozenset[str]] = {}
    for name, step in steps.items():
        ahead[name] = frozenset({name}).union(*(ahead.get(source, frozenset()) for source in step.sources))
    own = dict(zip(steps, costs, strict=True))
    return {name: sum(own[of] for of in made_of) for name, made_of in ahead.items()}


def _asking(program: Program, steps: Mapping[str, Step]) -> frozenset[str]:
    """One affine map of a box is bounded exactly by its rows; a second one no longer sees a box."""
    free, exact = set(program.inputs), set(program.inputs)
    asking: dict[str, str] = {}  # bends, by what they read
    for name, step in steps.items():
        source = step.sources[0]
        if not isinstance(step, Affine):
            if source not in exact and isinstance(steps[source], Affine):
                asking.setdefault(source, name)
        elif len(step.sources) == 1:
            if source in (free if step.mixes else exact):
                exact.add(name)
            if source in free and not step.mixes and _size(program, name) <= _size(program, source):
                free.add(name)
    return frozenset(asking.values())


def _size(program: Program, value: str) -> int:
    """How many entries a value has, of one example."""
    return prod(example_shape(program, value))


def _step(node: Node, program: Program, arrays: Arrays) -> Step:
    try:
        if node.op not in AFFINE and node.op not in BENDS:
            raise UnsupportedOpError(node.op.split(".")[1])
        _check(node, program)
        if node.op in AFFINE:
            return AFFINE[node.op](node, program, arrays)
        return BENDS[node.op](node, program)
    except UnsupportedOpError as error:
        raise UnsupportedOpError(
            f"bounds: there are no bounds for {error} (layer {node.layer!r}). The operators that "
            "have them are listed in docs/evidence.md."
        ) from None


def bounded() -> list[str]:
    """Return the names of all operators that have bounds.

    Example:
        >>> "relu" in bounded()
        True
    """
    return sorted({op.split(".")[1] for op in (*AFFINE, *BENDS)})


def _check(node: Node, program: Program) -> None:
    """Refuse what mixes examples, and values that are not made of any."""
    name = node.op.split(".")[1]
    shapes = [program.shape(source) for source in node.refs()]
    batched = all(shape[:1] == (None,) and None not in shape[1:] for shape in (*shapes, node.shape))
    given: dict[str, Any] = dict(node.inputs)
    axes = given.get("dim")
    across = axes == 0 or (isinstance(axes, tuple) and 0 in axes)
    moved = given["dims"][:1] != (0,) if name == "permute" else False
    if name == "reshape" and batched:
        moved = _size(program, node.name) != _size(program, next(node.refs()))
    if not shapes or not batched or across or moved:
        raise UnsupportedOpError(f"{name} that does not work example by example")
    if len({len(shape) for shape in shapes}) > 1:
        raise UnsupportedOpError(f"{name} of values with {' and '.join(str(len(of)) for of in shapes)} axes")
