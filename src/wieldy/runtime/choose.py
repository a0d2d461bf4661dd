"""Which layers run by their zeros: those for which the cost table says that it pays, edges included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats import BY_BLOCK
from wieldy.graph.cost_table import FLOAT_BYTES, CostTable, work_of
from wieldy.graph.ops import CONV, LINEAR
from wieldy.graph.program import Node, Program, Stored
from wieldy.runtime.fuse import can_run
from wieldy.runtime.regions import Region, find_regions

Arrays = Mapping[str, NDArray[Any]]
LEAST_GAIN = 0.15  # of the dense time: less is within what a table knows
DENSE_BLOCK = 8  # how a dense layer runs between sparse ones
WAYS_PER_EDGE = 2  # what crosses is carried by us and laid out anew by OpenVINO


@dataclass(frozen=True)
class Option:
    """A layer in and out of a region, in predicted milliseconds."""

    dense_ms: float
    zeros_ms: float
    block: int

    @property
    def gain_ms(self) -> float:
        """What is won inside."""
        return self.dense_ms - self.zeros_ms


def choose(program: Program, arrays: Arrays, stored: Mapping[str, int], table: CostTable) -> dict[str, int]:
    """Return the tensors of the layers that run in our kernels, with how many rows of each share a pattern.

    Args:
        program, arrays: a network.
        stored: tensors that are stored without zeros, and the rows that share a pattern there.
        table: of this machine and tier.
    """
    chosen = _chosen(program, arrays, stored, table)
    return {_weight(node): chosen[node.name].block for node in program.nodes if node.name in chosen}


def _chosen(
    program: Program, arrays: Arrays, stored: Mapping[str, int], table: CostTable
) -> dict[str, Option]:
    """Return, by node, the layers that run in our kernels."""
    options = {
        node.name: _option(program, node, arrays, stored, table)
        for node in program.nodes
        if node.op == CONV or (node.op == LINEAR and _weight(node) in stored)
    }
    chosen = {
        node.name: options[node.name]
        for node in program.nodes
        if node.op == LINEAR and node.name in options and _pays([options[node.name]], 0.0)
    }
    sparse = {node.name for node in program.nodes if node.op == CONV and _weight(node) in stored}
    for region in find_regions(program, lambda n: can_run(n, program), lambda n: n.name in sparse):
        for node in _best(program, region.nodes, options, table):
            chosen[node.name] = options[node.name]
    return chosen


def predicted_ms(
    program: Program, arrays: Arrays, stored: Mapping[str, int], table: CostTable
) -> tuple[float, float]:
    """Return what the table says of all layers with weights: run by their zeros where it pays, and dense."""
    chosen = _chosen(program, arrays, stored, table)
    alone = {
        node.name: table.ms("dense", work_of(program, node))
        for node in program.nodes
        if node.op in (CONV, LINEAR)
    }
    zeros = sum(chosen[name].zeros_ms if name in chosen else ms for name, ms in alone.items())
    return zeros, sum(alone.values())


def _weight(node: Node) -> str:
    weight = node.inputs["weight"]
    assert isinstance(weight, Stored)
    return weight.name


def _option(
    program: Program,
    node: Node,
    arrays: Mapping[str, NDArray[Any]],
    stored: Mapping[str, int],
    table: CostTable,
) -> Option:
    """Return the best form of a layer inside: as it is stored, or dense in full blocks."""
    work, weight = work_of(program, node), arrays[_weight(node)]
    blocks = {stored.get(_weight(node), DENSE_BLOCK), DENSE_BLOCK} if work.kind == "conv" else {1}
    if work.kind == "linear":
        blocks = {stored[_weight(node)]}
    costs = {}
    for block in blocks:
        kept = work.weights if work.kind == "depthwise" else kept_values(weight, block)
        costs[block] = table.ms(BY_BLOCK[block], work, kept)
    best = min(costs, key=lambda block: costs[block])
    return Option(table.ms("dense", work), costs[best], best)


def kept_values(weight: NDArray[Any], block: int) -> int:
    """Return how many values a weight (rows, ...) has where `block` rows share a pattern."""
    matrix = (weight != 0).reshape(len(weight), -1)
    missing = -len(matrix) % block
    padded = np.concatenate([matrix, np.zeros((missing, matrix.shape[1]), bool)])
    return int(padded.reshape(-1, block, matrix.shape[1]).any(axis=1).sum()) * block


def _pays(options: Sequence[Option], edges_ms: float) -> bool:
    dense = sum(option.dense_ms for option in options)
    return sum(option.gain_ms for option in options) - edges_ms > LEAST_GAIN * dense


def _best(
    program: Program, nodes: tuple[Node, ...], options: Mapping[str, Option], table: CostTable
) -> list[Node]:
    """Return the convolutions of the runs of `nodes` that win most, what crosses their edges counted."""
    places = [place for place, node in enumerate(nodes) if node.op == CONV]
    if not places:
        return []
    best, found = 0.0, None
    for first, begin in enumerate(places):
        gain = 0.0
        for last in range(first, len(places)):
            gain += options[nodes[places[last]].name].gain_ms
            if gain <= best:
                continue
            end = places[last + 1] if last + 1 < len(places) else len(nodes)
            won = gain - _edges_ms(program, nodes[begin:end], table)
            if won > best:
                best, found = won, (begin, end)
    if found is None:
        return []
    inside = [node for node in nodes[slice(*found)] if node.op == CONV]
    if not _pays([options[node.name] for node in inside], _edges_ms(program, nodes[slice(*found)], table)):
        return []
    before, after = nodes[: found[0]], nodes[found[1] :]
    return [*_best(program, before, options, table), *inside, *_best(program, after, options, table)]


def _edges_ms(program: Program, nodes: tuple[Node, ...], table: CostTable) -> float:
    """Return what carrying activations into and out of a run of nodes costs."""
    run = Region(nodes)
    crossing = [*run.inputs(), *run.outputs(program)]
    numbers = sum(prod(size or 1 for size in program.shape(name)[1:]) for name in crossing)
    return WAYS_PER_EDGE * numbers * FLOAT_BYTES / 1e6 * table.edge_ms_per_mb
