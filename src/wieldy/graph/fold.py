"""Folding batch norms into the layers before them, where nothing else reads those."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.graph.ops import WEIGHTED
from wieldy.graph.program import Argument, Node, Program, Ref, Spec, Stored

Arrays = dict[str, NDArray[Any]]
NORM = "aten.batch_norm.default"


def affine(
    tensors: Mapping[str, NDArray[Any]], eps: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and shift of a batch norm: weight / sqrt(var + eps), and bias - mean * scale.

    Args:
        tensors: running_mean and running_var, and weight and bias where it has them.
        eps: what is added to the variance.
    """
    mean, var = (tensors[f"running_{name}"].astype(np.float64) for name in ("mean", "var"))
    scale = tensors.get("weight", np.ones_like(mean)) / np.sqrt(var + eps)
    return scale, tensors.get("bias", np.zeros_like(mean)) - mean * scale


def fold_norms(program: Program, arrays: Mapping[str, NDArray[Any]]) -> tuple[Program, Arrays]:
    """Return a network that computes the same without the batch norms that follow a layer with weights.

    W' = scale W and b' = scale b + shift, row by row. A norm stays where its layer's result is read
    elsewhere or is an output, or where the layer's tensors serve twice.

    Args:
        program, arrays: a network; not altered.
    """
    folded = {norm.name: layer for norm in program.nodes if (layer := layer_before(program, norm))}
    tensors, found = dict(program.tensors), dict(arrays)
    nodes: list[Node] = []
    layers = {layer.name: program.node(norm) for norm, layer in folded.items()}
    for node in program.nodes:
        if node.name in folded:
            continue
        if node.name in layers:
            node = _folded(node, layers[node.name], tensors, found)
        nodes.append(renamed(node, {norm: layer.name for norm, layer in folded.items()}))
    used = {name for node in nodes for name in node.stored()}
    outputs = tuple(folded[name].name if name in folded else name for name in program.outputs)
    kept = {name: spec for name, spec in tensors.items() if name in used}
    return (
        program.with_nodes(tuple(nodes), kept).with_outputs(outputs),
        {name: found[name] for name in kept},
    )


def layer_before(program: Program, norm: Node) -> Node | None:
    """Return the layer that a norm can be folded into."""
    source = norm.inputs.get("input")
    if norm.op != NORM or not isinstance(source, Ref) or source.name in program.inputs:
        return None
    layer = program.node(source.name)
    readers = [node for node in program.nodes if layer.name in node.refs()]
    names = set(layer.stored())
    served = [node for node in program.nodes if names & set(node.stored())]
    alone = len(readers) == len(served) == 1 and layer.name not in program.outputs
    is_last = len(layer.shape) > 2 or layer.op != "aten.linear.default" or len(norm.shape) == 2
    return layer if layer.op in WEIGHTED and alone and is_last else None


def _folded(layer: Node, norm: Node, tensors: dict[str, Spec], arrays: Arrays) -> Node:
    """Scale a layer's tensors in place of `tensors` and `arrays`, and return it with a bias."""
    held = {name: arrays[of.name] for name, of in norm.inputs.items() if isinstance(of, Stored)}
    eps, weight, bias = norm.inputs["eps"], layer.weight, layer.inputs["bias"]
    assert isinstance(eps, (int, float))
    scale, shift = affine(held, eps)
    rows = arrays[weight]
    arrays[weight] = (rows * scale.reshape(-1, *(1,) * (rows.ndim - 1))).astype(np.float32)
    name = bias.name if isinstance(bias, Stored) else f"{weight.removesuffix('weight')}bias"
    while not isinstance(bias, Stored) and name in tensors:
        name += "_"
    before = arrays[name] if isinstance(bias, Stored) else 0.0
    arrays[name] = (before * scale + shift).astype(np.float32)
    tensors[name] = Spec(arrays[name].shape, learned=True)
    return replace(layer, inputs=dict(layer.inputs) | {"bias": Stored(name)})


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Return a node that reads other values in the place of some."""

    def turned(argument: Argument) -> Argument:
        if isinstance(argument, Ref):
            return Ref(names.get(argument.name, argument.name))
        if isinstance(argument, tuple):
            return tuple(turned(item) for item in argument)  # type: ignore[return-value]
        return argument

    return replace(node, inputs={name: turned(argument) for name, argument in node.inputs.items()})
