"""Which values cross the edge of a region with their channels next to each other.

OpenVINO computes dense convolutions and poolings that way. A region that reads what they compute as it lies,
and hands out what they read, takes one pass over memory where plain planes would take two.
"""

from collections.abc import Collection

from wieldy.graph.ops import BINARY, CONV, ELEMENTWISE
from wieldy.graph.program import Node, Program
from wieldy.runtime.fuse import AVG_POOL, MAX_POOL, NORM
from wieldy.runtime.regions import Region

SETTLED = frozenset({CONV, MAX_POOL, AVG_POOL})  # their kernels want channels last, whatever they are given
CARRIERS = ELEMENTWISE | BINARY | {NORM}  # take what they are given


def channels_last(program: Program, region: Region, inside: Collection[str]) -> frozenset[str]:
    """Return the inputs and outputs of a region that OpenVINO computes, or reads, with channels last.

    Args:
        program: a network.
        region: one of its regions.
        inside: the names of all nodes in regions: what they compute lies plane by plane.
    """
    outside = {node.name: node for node in program.nodes if node.name not in inside}
    made = {name for name in region.inputs() if _is_made(outside.get(name), outside)}
    return frozenset(made | {name for name in region.outputs(program) if _is_read(name, program, outside)})


def _is_made(node: Node | None, outside: dict[str, Node]) -> bool:
    """Whether a convolution or pooling made it, or something elementwise of what they made."""
    if node is None or node.op in SETTLED:
        return node is not None
    return node.op in CARRIERS and any(_is_made(outside.get(name), outside) for name in node.refs())


def _is_read(name: str, program: Program, outside: dict[str, Node]) -> bool:
    """Whether convolutions and poolings alone read it, or something elementwise of it."""
    readers = [node for node in program.nodes if name in node.refs()]
    return (
        name not in program.outputs
        and len(readers) > 0
        and all(
            node.name in outside
            and (node.op in SETTLED or (node.op in CARRIERS and _is_read(node.name, program, outside)))
            for node in readers
        )
    )
