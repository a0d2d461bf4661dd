"""Lowering the layers that run by their zeros: regions and linear layers as operations of our own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats.sparse import block_rows
from wieldy.graph.ops import CONV, LINEAR
from wieldy.graph.program import Node, Program, Ref, Stored
from wieldy.kernels.region.ops import RegionPlan
from wieldy.kernels.region.plan import plan_region
from wieldy.kernels.sparse_linear.plan import plan_linear
from wieldy.runtime.engine import extension_ops, openvino
from wieldy.runtime.fuse import CLAMPS, Weights, can_run, fuse_region
from wieldy.runtime.regions import Region, find_regions

Arrays = Mapping[str, NDArray[Any]]
LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # where channels go


@dataclass(frozen=True)
class Zeros:
    """How layers run whose zeros pay: as regions of our own, while all else stays with OpenVINO.

    Attributes:
        blocks: by tensor, how many output channels share a pattern; a tensor that is not named runs dense.
        variant: the instruction set of the kernels.
        threads: for which the work is cut.
        levels: the tensors of whole numbers whose zeros pay; around them regions compute in eight bits.
        level_variant: the instruction set of those.
    """

    blocks: Mapping[str, int]
    variant: str
    threads: int
    levels: frozenset[str] = frozenset()
    level_variant: str = ""


def sparse_regions(program: Program, zeros: Zeros) -> list[Region]:
    """Return the regions of the convolutions that are named."""

    def is_named(node: Node) -> bool:
        weight = node.inputs.get("weight")
        return node.op == CONV and isinstance(weight, Stored) and weight.name in zeros.blocks

    return find_regions(
        program, lambda node: can_run(node, program) and (node.op != CONV or is_named(node)), is_named
    )


def lower_region(
    region: Region,
    program: Program,
    values: Mapping[str, Any],
    arrays: Arrays,
    batch: int,
    zeros: Zeros,
    last: Collection[str],
) -> dict[str, Any]:
    """Return the values that a region hands out; those of `last` cross its edge with channels last."""
    fused = fuse_region(program, region, Weights(arrays, zeros.blocks))
    handed = dict(zip(region.outputs(program), fused.outputs, strict=True))
    last = {*last, *fused.outputs} - plain_outputs(handed, last)
    plan = plan_region(
        fused.inputs, fused.ops, fused.outputs,
        variant=zeros.variant, threads=zeros.threads, channels_last=last,
    )  # fmt: skip
    reads = {name: values[name] for name in fused.inputs}
    return region_operation(region, plan, reads, handed, last, batch)


def plain_outputs(handed: Mapping[str, str], last: Collection[str]) -> set[str]:
    """Return the values of a region that leave it plane by plane; one may be handed out by two names."""
    return {value for name, value in handed.items() if name not in last}


def region_operation(
    region: Region,
    plan: RegionPlan,
    reads: Mapping[str, Any],
    handed: Mapping[str, str],
    last: Collection[str],
    batch: int,
) -> dict[str, Any]:
    """Return what a region hands out, by the program's names, from one operation of ours.

    Args:
        region: its last node gives the operation its name.
        plan: what it does.
        reads: by the region's name of a value, what it is.
        handed: by the program's name of a value, the region's; the plan's outputs are in this order.
        last: of the region's names, those that cross its edge with channels last.
        batch: examples.
    """
    ops = openvino().opset15
    constants = [ops.constant(array).output(0) for array in (plan.steps, plan.indices, plan.values)]
    given = [_turned(value, LAST) if name in last else value for name, value in reads.items()]
    shapes = [size for shape in plan.outputs for size in (batch, *shape)]
    made = extension_ops().create(
        "Region",
        [*given, *constants],
        {"shapes": shapes, "variant": plan.variant, "level_variant": plan.level_variant,
         "workspace_floats": plan.workspace_floats},
    )  # fmt: skip
    made.set_friendly_name(region.nodes[-1].name)
    return {
        name: _turned(made.output(index), FIRST) if value in last else made.output(index)
        for index, (name, value) in enumerate(handed.items())
    }


def _turned(value: Any, order: tuple[int, ...]) -> Any:
    """Return a value with its axes in another order; OpenVINO makes one with its own change of layout."""
    ops = openvino().opset15
    return ops.transpose(value, ops.constant(np.array(order, np.int64))).output(0)


def is_sparse_linear(node: Node, zeros: Zeros) -> bool:
    """Whether a node is a linear layer that is named."""
    weight = node.inputs.get("weight")
    return node.op == LINEAR and isinstance(weight, Stored) and weight.name in zeros.blocks


def clamps_of_linears(program: Program, zeros: Zeros) -> dict[str, Node]:
    """Return, by sparse linear layer, the clamp that alone reads it."""
    found = {}
    for node in program.nodes:
        if is_sparse_linear(node, zeros) and node.name not in program.outputs:
            readers = [other for other in program.nodes if node.name in other.refs()]
            if len(readers) == 1 and readers[0].op in CLAMPS:
                found[node.name] = readers[0]
    return found


def lower_linear(
    node: Node, clamp: Node | None, values: Mapping[str, Any], arrays: Arrays, zeros: Zeros
) -> Any:
    """Return a linear layer, and the clamp after it, as one operation of ours."""
    source, weight, bias = (node.inputs[name] for name in ("input", "weight", "bias"))
    assert isinstance(source, Ref)
    assert isinstance(weight, Stored)
    rows = block_rows(arrays[weight.name], zeros.blocks[weight.name])
    plan = plan_linear(
        rows.starts, rows.columns, rows.values,
        arrays[bias.name] if isinstance(bias, Stored) else np.zeros(rows.shape[0], np.float32),
        inputs=rows.shape[1], threads=zeros.threads,
    )  # fmt: skip
    constants = [openvino().opset15.constant(array).output(0) for array in plan.constants()]
    low, high = CLAMPS[clamp.op](clamp) if clamp else (-np.inf, np.inf)
    kind = {"outputs": rows.shape[0], "block": rows.block, "low": low, "high": high}
    made = extension_ops().create(
        "SparseLinear",
        [values[source.name], *constants],
        kind | {"wide": plan.wide, "variant": zeros.variant},
    )
    made.set_friendly_name((clamp or node).name)
    return made.output(0)
