"""Which numbers of a network are the same whatever it is given, and what they are.

A filter of zeros yields its bias; a norm in evaluation, an activation or a pool makes another constant of it;
a layer that multiplies nothing but constants yields one again. Every value of the program is walked through
twice: once with what is known and zeros in the place of the rest, and once with ones in the place of what is
not known, which shows how far that reaches, padding included.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wieldy.graph.operators import operator
from wieldy.graph.ops import (
    BINARY,
    ELEMENTWISE,
    EXPAND,
    FULL,
    LINEAR,
    OPS,
    POOLING,
    REDUCTIONS,
    TRANSPOSED,
    WEIGHTED,
)
from wieldy.graph.program import FLOAT, Argument, Node, Program, Ref, Stored, with_batch

CARRIED = frozenset(  # numbers change places, or are blended with weights that are not negative
    {
        "aten.reshape.default",
        "aten.permute.default",
        "aten.slice.Tensor",
        "aten.select.int",
        "aten.cat.default",
    }
    | {EXPAND, "aten.upsample_nearest1d.vec", "aten.upsample_nearest2d.vec", "aten.upsample_bilinear2d.vec"}
)
PER_NUMBER = ELEMENTWISE | {"aten.batch_norm.default", "aten.prelu.default"}
NORMALISED = frozenset({"aten.softmax.int", "aten.group_norm.default", "aten.layer_norm.default"})
FOLLOWED = CARRIED | PER_NUMBER | NORMALISED | BINARY | POOLING | {*REDUCTIONS, FULL, "aten.pad.default"}


@dataclass(frozen=True)
class Known:
    """What is known of one value, for one example.

    Attributes:
        values: (1, ...) float64; zero where nothing is known.
        unknown: (1, ...) which numbers follow the input.
    """

    values: Tensor
    unknown: Tensor

    @property
    def whole(self) -> bool:
        """Whether nothing of it follows the input."""
        return not bool(self.unknown.any())


@torch.no_grad()
def known_values(program: Program, tensors: Mapping[str, Tensor]) -> dict[str, Known]:
    """Return what is known of every value of a network in evaluation.

    Args:
        program: its nodes.
        tensors: its tensors by name; a batch norm computes with its running statistics.

    Cost: a forward pass of one example in float64, of which layers that read nothing known take no part.

    Example:
        >>> from wieldy.graph.program import Spec
        >>> inputs = {"input": Ref("x"), "weight": Stored("w"), "bias": Stored("b")}
        >>> layer = Node("y", "aten.linear.default", inputs, "y", (None, 2))
        >>> program = Program({"x": Spec((None, 1))}, (layer,), ("y",), {"w": Spec((2, 1)), "b": Spec((2,))})
        >>> found = known_values(program, {"w": torch.tensor([[0.0], [3.0]]), "b": torch.tensor([5.0, 6.0])})
        >>> found["y"].values.tolist(), found["y"].unknown.tolist()
        ([[5.0, 0.0]], [[False, True]])
    """
    known = {name: _nothing(with_batch(spec.shape, 1)) for name, spec in program.inputs.items()}
    for node in program.nodes:
        known[node.name] = _of(node, known, tensors)
    return known


def _nothing(shape: tuple[int, ...]) -> Known:
    return Known(torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.bool))


def _of(node: Node, known: Mapping[str, Known], tensors: Mapping[str, Tensor]) -> Known:
    """Return what is known of a node's result."""
    read = {name: known[name] for name in node.refs()}
    if node.op in WEIGHTED or node.op in TRANSPOSED:
        return _multiplied(node, next(iter(read.values())), tensors)
    follows = node.op in FOLLOWED and node.dtype == FLOAT
    if not follows or (node.op not in BINARY and all(bool(side.unknown.all()) for side in read.values())):
        return _nothing(with_batch(node.shape, 1)) if read or not follows else _whole(node, read, tensors)
    if all(side.whole for side in read.values()):
        return _whole(node, read, tensors)
    if node.op in PER_NUMBER:
        return _masked(_on_values(node, read, tensors), next(iter(read.values())).unknown)
    if node.op in BINARY:
        return _joined(node, read, tensors)
    if node.op in NORMALISED:
        return _nothing(with_batch(node.shape, 1))
    return _carried(node, read, tensors)


def _whole(node: Node, read: Mapping[str, Known], tensors: Mapping[str, Tensor]) -> Known:
    return _masked(_on_values(node, read, tensors), torch.zeros((), dtype=torch.bool))


def _on_values(node: Node, read: Mapping[str, Known], tensors: Mapping[str, Tensor]) -> Tensor:
    return _called(node, {name: side.values for name, side in read.items()}, tensors)


def _multiplied(node: Node, source: Known, tensors: Mapping[str, Tensor]) -> Known:
    """A result is known where every weight that is not zero meets what is."""
    weight, shape = tensors[node.weight].detach(), with_batch(node.shape, 1)
    if node.op in WEIGHTED and bool(source.unknown.all()):
        idle = (weight == 0).flatten(1).all(1)
        bias = node.inputs["bias"]
        values = tensors[bias.name].detach() if isinstance(bias, Stored) else weight.new_zeros(len(weight))
        wide = (-1,) if node.op == LINEAR else (-1, *(1,) * (len(shape) - 2))
        return _masked(values.double().reshape(wide).expand(shape), ~idle.reshape(wide))
    name = next(node.refs())
    without = replace(node, inputs=dict(node.inputs) | {"bias": None})
    marks = {name: source.unknown.double()}
    unknown = _called(without, marks, dict(tensors) | {node.weight: (weight != 0).double()}) > 0
    return _masked(_called(node, {name: source.values}, tensors), unknown)


def _joined(node: Node, known: Mapping[str, Known], tensors: Mapping[str, Tensor]) -> Known:
    """Both sides have to be known, but for a product with zero."""
    sides = [node.inputs[name] for name in ("self", "other")]
    result = _on_values(node, known, tensors)
    unknown = torch.zeros(result.shape, dtype=torch.bool)
    for name in node.refs():
        unknown = unknown | known[name].unknown
    if node.op == "aten.mul.Tensor":
        for side in sides:
            unknown = unknown & ~_zeros(side, known, tensors)
    return _masked(result, unknown)


def _zeros(side: Argument, known: Mapping[str, Known], tensors: Mapping[str, Tensor]) -> Tensor:
    """Return where one side of a product is zero whatever comes."""
    if isinstance(side, Ref):
        return (known[side.name].values == 0) & ~known[side.name].unknown
    return torch.as_tensor(tensors[side.name] if isinstance(side, Stored) else side) == 0


def _carried(node: Node, known: Mapping[str, Known], tensors: Mapping[str, Tensor]) -> Known:
    """What is not known reaches wherever a one in its place does."""
    marks = {name: side.unknown.double() for name, side in known.items()}
    marking = {"aten.amin.default": replace(node, op="aten.amax.default")}.get(node.op, node)
    if "value" in node.inputs:  # a number that is padded with is known
        marking = replace(node, inputs=dict(node.inputs) | {"value": None})
    unknown = _called(marking, marks, tensors) > 0
    return _masked(_on_values(node, known, tensors), unknown)


def _masked(values: Tensor, unknown: Tensor) -> Known:
    """Forget what follows the input, and what is not a number."""
    values, unknown = values.double(), unknown.expand(values.shape)
    unknown = unknown | ~values.isfinite()
    return Known(values.masked_fill(unknown, 0.0), unknown)


def _called(node: Node, values: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Tensor:
    """Compute a node for one example in float64; what trains otherwise is in evaluation."""
    resolved = {name: _resolved(value, values, tensors) for name, value in node.inputs.items()}
    resolved |= {flag: False for flag in ("training", "train") if flag in resolved}
    if node.op in (EXPAND, FULL):
        resolved["size"] = with_batch(node.shape, 1)
    if node.op == FULL:
        return torch.full(resolved["size"], resolved["fill_value"], dtype=torch.float64)
    given = {name: resolved[name] for name, kind in OPS[node.op] if kind != "none"}
    return operator(node.op)(**given)


def _resolved(value: Argument, values: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, Stored):
        tensor = tensors[value.name].detach()
        return tensor.double() if tensor.is_floating_point() else tensor
    if isinstance(value, tuple):
        return [_resolved(item, values, tensors) for item in value]
    return value
