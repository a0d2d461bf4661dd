"""Lowering what computes in eight bits by its zeros: regions of levels, as operations of our own."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from wieldy.graph.fake_quantize import HANDS_ON, rounding_behind
from wieldy.graph.ops import CONV, FAKE_QUANTIZE, LINEAR, WEIGHTED
from wieldy.graph.program import Node, Program, Ref
from wieldy.kernels.region.plan import plan_region
from wieldy.runtime.engine import openvino
from wieldy.runtime.fuse import CLAMPS, DROPOUT, FLAT, NORM, can_run
from wieldy.runtime.fuse_levels import FusedLevels, LevelWeights, Unfit, fuse_levels
from wieldy.runtime.lower_zeros import Zeros, plain_outputs, region_operation
from wieldy.runtime.regions import Region, find_regions

PLANES = 4  # axes of what convolutions read
LEAST_WEIGHTS = 2**21  # of a linear layer: fewer lie in a cache, from where OpenVINO multiplies all as fast


def level_regions(
    program: Program, weights: LevelWeights, anchors: Collection[str], batch: int = 1
) -> dict[Region, FusedLevels]:
    """Return the regions around the layers whose weights are named, and their operations.

    A region may begin with any convolution in whole numbers: fewer numbers come in there than further in, and
    they are rounded once. Linear layers that are named, and large enough, have regions of their own. A node
    that does not fit stays outside, and what is left is cut into regions again.

    Args:
        program: a network.
        weights: of its layers.
        anchors: names of weights.
        batch: examples that linear layers compute together.

    Cost: one fusing of all regions for each node that does not fit.
    """
    outside: set[str] = set()

    def fits(node: Node) -> bool:
        if node.name in outside or 0 in node.shape:
            return False
        if node.op == FAKE_QUANTIZE:
            return len(node.shape) in (PLANES, FLAT)
        if len(node.shape) == FLAT:
            return _runs_flat(node, program) and (node.op != LINEAR or is_anchor(node))
        whole = node.op != CONV or node.weight in weights.formats
        return node.op != NORM and can_run(node, program) and whole

    def is_anchor(node: Node) -> bool:
        if node.op not in (CONV, LINEAR) or node.weight not in anchors or node.name in outside:
            return False
        return node.op == CONV or weights.arrays[node.weight].size >= LEAST_WEIGHTS

    def begins(node: Node) -> bool:
        return node.op in (CONV, LINEAR) and node.weight in weights.formats

    while True:
        try:
            return {
                region: fuse_levels(program, region, weights, batch)
                for region in find_regions(program, fits, is_anchor, begins)
            }
        except Unfit as found:
            outside.add(found.node.name)


def _runs_flat(node: Node, program: Program) -> bool:
    """Whether a node's operator and shapes are among those of a region of linear layers."""
    known = node.op in (LINEAR, *CLAMPS, *DROPOUT)
    return known and all(len(program.shape(name)) == FLAT for name in node.refs())


def repeated_roundings(
    program: Program, region: Region, fused: FusedLevels, inside: Collection[str]
) -> Iterator[Node]:
    """Yield, for each value that a region hands out from levels, its rounding again, where layers read it.

    It changes no number; without it OpenVINO does not see that a layer reads levels, and computes in float32.

    Args:
        inside: the names of all nodes in regions.
    """
    nodes = {node.name: node for node in program.nodes}

    def is_multiplied(name: str) -> bool:
        readers = [node for node in program.nodes if name in node.refs() and node.name not in inside]
        return any(
            node.op in WEIGHTED or (node.op in HANDS_ON and is_multiplied(node.name)) for node in readers
        )

    for name, of in zip(region.outputs(program), fused.outputs, strict=True):
        rounding = rounding_behind(nodes, name)
        if rounding and of in fused.levels and is_multiplied(name):
            given = dict(rounding.inputs) | {"self": Ref(name)}
            yield replace(rounding, name=f"{name}.levels", inputs=given, shape=program.shape(name))


def lower_levels(
    region: Region,
    fused: FusedLevels,
    program: Program,
    values: Mapping[str, Any],
    batch: int,
    zeros: Zeros,
    last: Collection[str],
) -> dict[str, Any]:
    """Return the values that a region hands out; those of `last` cross its edge with channels last.

    Flat values do so in any case: they are the pixels of one row.
    """
    handed = dict(zip(region.outputs(program), fused.outputs, strict=True))
    flat = len(region.nodes[0].shape) == FLAT
    inner = {name for name, of in fused.reads.items() if flat or of in last or name in last}
    inner |= set(handed.values()) - (set() if flat else plain_outputs(handed, last))
    plan = plan_region(
        fused.sizes, fused.ops, fused.outputs, variant=zeros.variant, threads=zeros.threads,
        channels_last=inner, levels=fused.levels, level_variant=zeros.level_variant,
    )  # fmt: skip
    reads = {name: values[of] for name, of in fused.reads.items()}
    if not flat:
        return region_operation(region, plan, reads, handed, inner, batch)
    ops, axes = openvino().opset15, np.array([0, 1], np.int64)
    rows = {name: ops.unsqueeze(value, axes).output(0) for name, value in reads.items()}
    made = region_operation(region, plan, rows, handed, (), batch=1)
    return {name: ops.squeeze(value, axes).output(0) for name, value in made.items()}
