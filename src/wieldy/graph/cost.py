"""Multiply-accumulates, parameters and bytes of every layer, from shapes alone."""

from math import prod

from wieldy.core.records import LayerRow
from wieldy.graph.ops import RECURRENT, TRANSPOSED, WEIGHTED
from wieldy.graph.program import Node, Program, Shape

ITEM_BYTES = {"float32": 4, "int64": 8, "bool": 1}


def layer_costs(program: Program) -> list[LayerRow]:
    """Return the cost of each node, in order; a tensor used twice is counted where it is used first.

    MACs of a convolution: outputs x (input channels / groups) x kernel area; of a linear layer:
    outputs x inputs; of a transposed convolution: inputs x (output channels / groups) x kernel area; of a
    recurrent layer: steps x its two matrices. Everything else counts none.

    Example:
        >>> from wieldy.graph.ops import LINEAR
        >>> from wieldy.graph.program import Ref, Spec, Stored
        >>> node = Node("fc", LINEAR,
        ...     {"input": Ref("x"), "weight": Stored("w"), "bias": None}, "fc", (None, 2))
        >>> program = Program({"x": Spec((None, 4))}, (node,), ("fc",), {"w": Spec((2, 4), learned=True)})
        >>> [(cost.macs, cost.parameters, cost.bytes) for cost in layer_costs(program)]
        [(8, 8, 32)]
    """
    seen: set[str] = set()
    costs = []
    for node in program.nodes:
        names = [name for name in node.stored() if name not in seen]
        seen.update(names)
        sizes = {name: _count(program.tensors[name].shape) for name in names}
        learned = [name for name in names if program.tensors[name].learned]
        costs.append(
            LayerRow(
                layer=node.layer,
                op=node.op.split(".")[1],
                shape=node.shape,
                macs=_macs(node, program),
                parameters=sum(sizes[name] for name in learned),
                bytes=sum(size * ITEM_BYTES[program.tensors[name].dtype] for name, size in sizes.items()),
            )
        )
    return costs


def total_macs(program: Program) -> int:
    """Return the multiply-accumulates of one example."""
    return sum(cost.macs for cost in layer_costs(program))


def total_parameters(program: Program) -> int:
    """Return how many learned numbers the program has."""
    return sum(cost.parameters for cost in layer_costs(program))


def _macs(node: Node, program: Program) -> int:
    shapes = [program.tensors[name].shape for name in node.stored()]
    if node.op in WEIGHTED:
        return _count(node.shape) * _count(shapes[0][1:])
    if node.op in TRANSPOSED:
        return _count(program.shape(next(node.refs()))) * _count(shapes[0][1:])
    if node.op in RECURRENT:
        return int(node.shape[1] or 0) * sum(map(_count, shapes[:2]))
    return 0


def _count(shape: Shape) -> int:
    return prod(size for size in shape if size is not None)
