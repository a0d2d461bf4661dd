"""Which layers run by their zeros: those for which the cost table says that it pays, edges included."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats import BY_BLOCK
from wieldy.graph.cost_table import FLOAT_BYTES, CostTable, work_of
from wieldy.graph.ops import CONV, LINEAR
from wieldy.graph.program import Node, Program
from wieldy.runtime.fuse import can_run
from wieldy.runtime.regions import Region, find_regions

Arrays = Mapping[str, NDArray[Any]]
LEAST_GAIN = 0.15  # of the dense time: less is within what a table of this machine knows
FOREIGN_GAIN = 0.25  # and less than this within what one of another CPU does
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


def choose(
    program: Program,
    arrays: Arrays,
    stored: Mapping[str, int],
    table: CostTable,
    least_gain: float = LEAST_GAIN,
) -> dict[str, int]:
    """Return the tensors of the layers that run in our kernels, with how many rows of each share a pattern.

    Args:
        program, arrays: a network.
        stored: tensors that are stored without zeros, and the rows that share a pattern there.
        table: of this machine and tier.
        least_gain: of the dense time, which a region must promise.
    """
    chosen, _ = _chosen(program, _options(program, arrays, stored, table), stored, table, least_gain)
    return {node.weight: chosen[node.name].block for node in program.nodes if node.name in chosen}


def _options(
    program: Program, arrays: Arrays, stored: Mapping[str, int], table: CostTable
) -> dict[str, Option]:
    """Return, by node, how the layers that can run in our kernels would."""
    found = {}
    for node in _layers(program, stored):
        weight = arrays[node.weight]
        found[node.name] = _option(program, node, stored, table, partial(kept_values, weight))
    return found


def _layers(program: Program, stored: Collection[str]) -> list[Node]:
    flat = [node for node in program.nodes if _is_flat(node) and node.weight in stored]
    return [node for node in program.nodes if node.op == CONV] + flat


def _chosen(
    program: Program,
    options: Mapping[str, Option],
    stored: Collection[str],
    table: CostTable,
    least_gain: float,
) -> tuple[dict[str, Option], float]:
    """Return, by node, the layers that run in our kernels, and what crossing the edges of regions costs."""
    chosen = {
        node.name: options[node.name]
        for node in program.nodes
        if _is_flat(node) and node.name in options and _pays([options[node.name]], 0.0, least_gain)
    }
    edges_ms = 0.0
    sparse = {node.name for node in program.nodes if node.op == CONV and node.weight in stored}
    for region in find_regions(program, lambda n: can_run(n, program), lambda n: n.name in sparse):
        nodes, crossing_ms = _best(program, region.nodes, options, table, least_gain)
        chosen |= {node.name: options[node.name] for node in nodes}
        edges_ms += crossing_ms
    return chosen, edges_ms


def forecast_ms(
    program: Program, zeros: Mapping[str, float], dense_ms: Mapping[str, float], table: CostTable
) -> float:
    """Return what the table says of a network of which only shares of zeros are known, edges included.

    Args:
        program: a network.
        zeros: the share of each weight's numbers that is zero, each for itself; of dense ones nothing.
        dense_ms: by node, what its layer takes dense.
        table: of this machine and tier.

    Cost: grows with the square of the layers in a region.
    """

    def kept(node: Node, block: int) -> int:
        return round((1 - zeros.get(node.weight, 0.0) ** block) * work_of(program, node).weights)

    stored = dict.fromkeys(zeros, 1)
    options = {
        node.name: replace(
            _option(program, node, stored, table, partial(kept, node)), dense_ms=dense_ms[node.name]
        )
        for node in _layers(program, stored)
    }
    chosen, edges_ms = _chosen(program, options, stored, table, LEAST_GAIN)
    inside = sum(option.zeros_ms for option in chosen.values())
    return inside + edges_ms + sum(ms for name, ms in dense_ms.items() if name not in chosen)


def predicted_ms(
    program: Program, arrays: Arrays, stored: Mapping[str, int], table: CostTable
) -> tuple[float, float]:
    """Return what the table says of all layers with weights: run by their zeros where it pays, and dense."""
    chosen, _ = _chosen(program, _options(program, arrays, stored, table), stored, table, LEAST_GAIN)
    alone = {
        node.name: table.ms("dense", work_of(program, node))
        for node in program.nodes
        if node.op in (CONV, LINEAR)
    }
    zeros = sum(chosen[name].zeros_ms if name in chosen else ms for name, ms in alone.items())
    return zeros, sum(alone.values())


def _is_flat(node: Node) -> bool:
    """Whether a node is a linear layer on one row for each example.

    Over a sequence dense rows share what they load of a weight, and ours do not: with 90 % zeros the linear
    layers of a sentence encoder of 64 words took three times as long.
    """
    return node.op == LINEAR and len(node.shape) == 2


def _option(
    program: Program,
    node: Node,
    stored: Mapping[str, int],
    table: CostTable,
    kept_of: Callable[[int], int],
) -> Option:
    """Return the best form of a layer inside: as it is stored, or dense in full blocks.

    Args:
        kept_of: how many values stay where so many rows share a pattern.
    """
    work = work_of(program, node)
    blocks = {stored.get(node.weight, DENSE_BLOCK), DENSE_BLOCK} if work.kind == "conv" else {1}
    if work.kind == "linear":
        blocks = {stored[node.weight]}
    costs = {}
    for block in blocks:
        kept = work.weights if work.kind == "depthwise" else kept_of(block)
        costs[block] = table.ms(BY_BLOCK[block], work, kept)
    best = min(costs, key=lambda block: costs[block])
    return Option(table.ms("dense", work), costs[best], best)


def kept_values(weight: NDArray[Any], block: int) -> int:
    """Return how many values a weight (rows, ...) has where `block` rows share a pattern."""
    matrix = (weight != 0).reshape(len(weight), -1)
    missing = -len(matrix) % block
    padded = np.concatenate([matrix, np.zeros((missing, matrix.shape[1]), bool)])
    return int(padded.reshape(-1, block, matrix.shape[1]).any(axis=1).sum()) * block


def _pays(options: Sequence[Option], edges_ms: float, least_gain: float) -> bool:
    dense = sum(option.dense_ms for option in options)
    return sum(option.gain_ms for option in options) - edges_ms > least_gain * dense


def _best(
    program: Program,
    nodes: tuple[Node, ...],
    options: Mapping[str, Option],
    table: CostTable,
    least_gain: float,
) -> tuple[list[Node], float]:
    """Return the convolutions of the runs of `nodes` that win most, and what crossing their edges costs."""
    places = [place for place, node in enumerate(nodes) if node.op == CONV]
    if not places:
        return [], 0.0
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
        return [], 0.0
    inside = [node for node in nodes[slice(*found)] if node.op == CONV]
    edges_ms = _edges_ms(program, nodes[slice(*found)], table)
    if not _pays([options[node.name] for node in inside], edges_ms, least_gain):
        return [], 0.0
    sides = (nodes[: found[0]], nodes[found[1] :])
    (before, before_ms), (after, after_ms) = (
        _best(program, side, options, table, least_gain) for side in sides
    )
    return [*before, *inside, *after], before_ms + edges_ms + after_ms


def _edges_ms(program: Program, nodes: tuple[Node, ...], table: CostTable) -> float:
    """Return what carrying activations into and out of a run of nodes costs."""
    run = Region(nodes)
    crossing = [*run.inputs(), *run.outputs(program)]
    numbers = sum(prod(size or 1 for size in program.shape(name)[1:]) for name in crossing)
    return WAYS_PER_EDGE * numbers * FLOAT_BYTES / 1e6 * table.edge_ms_per_mb
