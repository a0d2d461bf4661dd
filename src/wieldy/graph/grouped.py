"""A layer whose blocks stand in order on the diagonal, as a convolution in groups that holds them alone."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import ConfigError
from wieldy.graph.ops import CONV1D, LINEAR, WEIGHTED
from wieldy.graph.program import Argument, Node, Ref, Shape, Stored, with_batch

if TYPE_CHECKING:
    from wieldy.graph.network import GraphNetwork


def as_grouped(network: "GraphNetwork", layer: str, blocks: int) -> None:
    """Rewrite a layer in place as a convolution in so many groups; the network computes what it did.

    A linear layer becomes a convolution in one dimension with a kernel of one. Leaf modules are made anew.

    Raises:
        ConfigError: there is no such layer, its weight serves others too, it has groups, its channels cannot
            be cut into so many blocks, or a weight outside them is not zero.
    """
    node = _node(network, layer)
    arrays = network.arrays()
    small = diagonal_blocks(arrays[node.weight], blocks, layer)
    if node.op == LINEAR:
        small = small[..., None]
    arrays[node.weight] = small
    program = network.program
    nodes = tuple(
        part
        for old in program.nodes
        for part in (_rewritten(network, old, blocks) if old is node else (old,))
    )
    tensors = dict(program.tensors) | {node.weight: replace(program.tensors[node.weight], shape=small.shape)}
    formats = {name: form for name, form in network.formats.items() if name != node.weight}
    network.rewrite(program.with_nodes(nodes, tensors), arrays, formats)


def groupable(network: "GraphNetwork", layer: str, blocks: int) -> bool:
    """Say whether `as_grouped` would take a layer."""
    try:
        weight = network.tensor(_node(network, layer).weight)
        diagonal_blocks(weight.detach().cpu().numpy(), blocks, layer)
    except ConfigError:
        return False
    return True


def diagonal_blocks(weight: NDArray[np.float32], blocks: int, layer: str = "weight") -> NDArray[np.float32]:
    """Return the blocks of (outputs, inputs, ...) one below the other: (outputs, inputs / blocks, ...).

    Raises:
        ConfigError: they do not come out even, or a weight outside them is not zero.

    Example:
        >>> diagonal_blocks(np.array([[1, 2, 0, 0], [0, 0, 3, 4]], np.float32), 2).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    outputs, inputs = weight.shape[:2]
    if outputs % blocks or inputs % blocks:
        raise ConfigError(
            f"grouped: {layer}: {outputs} x {inputs} channels cannot be cut into {blocks} equal blocks. "
            "Use a number that divides both."
        )
    cut = weight.reshape(blocks, outputs // blocks, blocks, inputs // blocks, *weight.shape[2:])
    inside = np.eye(blocks, dtype=bool)
    if cut.swapaxes(1, 2)[~inside].any():
        raise ConfigError(
            f"grouped: {layer}: weights outside {blocks} blocks on the diagonal must be zero; some are not. "
            "Use Pivot(PivotConfig(template='diagonal')) first."
        )
    return np.ascontiguousarray(
        cut.swapaxes(1, 2)[inside].reshape(outputs, inputs // blocks, *weight.shape[2:])
    )


def _node(network: "GraphNetwork", layer: str) -> Node:
    nodes = [node for node in network.program.nodes if node.op in WEIGHTED]
    found = [node for node in nodes if node.layer == layer]
    if not found:
        raise ConfigError(
            f"grouped: {layer!r} is no layer with weights. Layers are "
            f"{', '.join(sorted({node.layer for node in nodes}))}."
        )
    (node, *more) = found
    shared = [other for other in network.program.nodes if node.weight in other.stored() and other is not node]
    if more or shared or node.groups > 1:
        why = "it has groups already" if node.groups > 1 else "its weight serves several layers"
        raise ConfigError(f"grouped: {layer}: must be a plain layer of its own; {why}. Leave it as it is.")
    if node.op == LINEAR and len(node.shape) != 2:
        raise ConfigError(
            f"grouped: {layer}: a linear layer must map (batch, features); it yields {node.shape}. "
            "Leave it as it is."
        )
    return node


def _rewritten(network: "GraphNetwork", node: Node, blocks: int) -> tuple[Node, ...]:
    """Return a layer in groups; a linear one between two reshapes."""
    if node.op != LINEAR:
        return (replace(node, inputs=dict(node.inputs) | {"groups": blocks}),)
    source, bias = node.inputs["input"], node.inputs["bias"]
    assert isinstance(source, Ref)
    names = [f"{node.name}.{part}" for part in ("before", "grouped")]
    wide, deep = (*network.program.shape(source.name), 1), (*node.shape, 1)
    given: dict[str, Argument] = {"input": Ref(names[0]), "weight": Stored(node.weight), "bias": bias}
    given |= {"stride": (1,), "padding": (0,), "dilation": (1,), "groups": blocks}
    return (
        _reshape(names[0], source, wide),
        Node(names[1], CONV1D, given, node.module, deep),
        _reshape(node.name, Ref(names[1]), node.shape),
    )


def _reshape(name: str, source: Ref, shape: Shape) -> Node:
    return Node(name, "aten.reshape.default", {"self": source, "shape": with_batch(shape, -1)}, "", shape)
