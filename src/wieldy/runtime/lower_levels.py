"""Lowering what computes in eight bits by its zeros: regions of levels, as operations of our own."""

from collections.abc import Collection, Mapping
from typing import Any

from wieldy.graph.ops import CONV, FAKE_QUANTIZE
from wieldy.graph.program import Node, Program
from wieldy.kernels.region.plan import plan_region
from wieldy.runtime.fuse import NORM, can_run
from wieldy.runtime.fuse_levels import FusedLevels, LevelWeights, Unfit, fuse_levels
from wieldy.runtime.lower_zeros import Zeros, plain_outputs, region_operation
from wieldy.runtime.regions import Region, find_regions

AXES = 4  # of what a region computes on


def level_regions(
    program: Program, weights: LevelWeights, anchors: Collection[str]
) -> dict[Region, FusedLevels]:
    """Return the regions around the convolutions whose weights are named, and their operations.

    A region may begin with any convolution in whole numbers: fewer numbers come in there than further in, and
    they are rounded once. A node that does not fit stays outside, and what is left is cut into regions again.

    Cost: one fusing of all regions for each such node.
    """
    outside: set[str] = set()

    def fits(node: Node) -> bool:
        if node.name in outside or len(node.shape) != AXES or 0 in node.shape:
            return False
        if node.op == FAKE_QUANTIZE:
            return True
        whole = node.op != CONV or node.weight in weights.formats
        return node.op != NORM and can_run(node, program) and whole

    def is_anchor(node: Node) -> bool:
        return node.op == CONV and node.weight in anchors and node.name not in outside

    def begins(node: Node) -> bool:
        return node.op == CONV and node.weight in weights.formats

    while True:
        try:
            return {
                region: fuse_levels(program, region, weights)
                for region in find_regions(program, fits, is_anchor, begins)
            }
        except Unfit as found:
            outside.add(found.node.name)


def lower_levels(
    region: Region,
    fused: FusedLevels,
    program: Program,
    values: Mapping[str, Any],
    batch: int,
    zeros: Zeros,
    last: Collection[str],
) -> dict[str, Any]:
    """Return the values that a region hands out; those of `last` cross its edge with channels last."""
    handed = dict(zip(region.outputs(program), fused.outputs, strict=True))
    inner = {name for name, of in fused.reads.items() if of in last or name in last}
    inner |= set(handed.values()) - plain_outputs(handed, last)
    plan = plan_region(
        fused.sizes, fused.ops, fused.outputs, variant=zeros.variant, threads=zeros.threads,
        channels_last=inner, levels=fused.levels, level_variant=zeros.level_variant,
    )  # fmt: skip
    reads = {name: values[of] for name, of in fused.reads.items()}
    return region_operation(region, plan, reads, handed, inner, batch)
