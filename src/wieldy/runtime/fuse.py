"""From the nodes of a region to its operations: norms, sums and clamps go into the convolution before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats.sparse import block_rows
from wieldy.graph.fold import affine
from wieldy.graph.ops import CAT, CONV
from wieldy.graph.program import Node, Program, Ref, Stored
from wieldy.kernels.region.ops import Concat, Conv, GlobalMean, Op, Pooling, Size, read_by
from wieldy.runtime.regions import Region

Arrays = Mapping[str, NDArray[Any]]
CLAMPS: dict[str, Callable[[Node], tuple[float, float]]] = {
    "aten.relu.default": lambda _: (0.0, np.inf),
    "aten.relu6.default": lambda _: (0.0, 6.0),
    "aten.hardtanh.default": lambda node: (_number(node, "min_val"), _number(node, "max_val")),
}
NORM, ADD = "aten.batch_norm.default", "aten.add.Tensor"
MAX_POOL, AVG_POOL = "aten.max_pool2d.default", "aten.avg_pool2d.default"
MEAN, ADAPTIVE = "aten.mean.dim", "aten.adaptive_avg_pool2d.default"
FLAT = 2  # axes of what linear layers read: examples and features
DROPOUT = ("aten.dropout.default", "aten.feature_dropout.default")
SPREADS = {  # what must be given for each axis
    CONV: ("stride", "padding", "dilation"),
    MAX_POOL: ("kernel_size", "padding", "dilation"),
    AVG_POOL: ("kernel_size", "padding"),
}


def _number(node: Node, name: str) -> float:
    value = node.inputs[name]
    assert isinstance(value, (int, float))
    return float(value)


def _ints(node: Node, name: str) -> tuple[int, ...]:
    value = node.inputs[name]
    assert isinstance(value, tuple)
    return tuple(int(item) for item in value)  # type: ignore[arg-type]  # fits() saw to it


def _read(node: Node, name: str) -> str:
    value = node.inputs[name]
    assert isinstance(value, Ref)
    return value.name


def can_run(node: Node, program: Program) -> bool:
    """Whether a node's operator, arguments and shapes are among those of a region; a convolution's weight
    is another question."""
    reads = [program.shape(name) for name in node.refs()]
    planes = all(len(shape) == 4 for shape in [*reads, node.shape])
    if not planes or 0 in node.shape or () in (node.inputs[name] for name in SPREADS.get(node.op, ())):
        return False
    if node.op == ADD:
        refs = list(node.refs())
        return len(refs) == 2 and node.inputs["alpha"] == 1 and reads[0] == reads[1] == node.shape
    if node.op == CAT:
        return node.inputs["dim"] in (1, -3)
    if node.op == MEAN:
        return set(_ints(node, "dim")) in ({2, 3}, {-1, -2}) and node.inputs["keepdim"] is True
    if node.op == ADAPTIVE:
        return _ints(node, "output_size") == (1, 1)
    if node.op in (MAX_POOL, AVG_POOL):
        return not (node.inputs["ceil_mode"] and node.op == AVG_POOL)
    return node.op in (CONV, NORM, *CLAMPS, *DROPOUT)


@dataclass(frozen=True)
class Weights:
    """The stored tensors of a program, and how many output channels of each share a pattern."""

    arrays: Arrays
    blocks: Mapping[str, int]


@dataclass(frozen=True)
class Fused:
    """A region as its operations: the values it reads, and those it hands out, in order."""

    inputs: Mapping[str, Size]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]


def fuse_region(program: Program, region: Region, weights: Weights) -> Fused:
    """Return the operations of a region."""
    ops: list[Op] = []
    alias: dict[str, str] = {}  # a node that adds nothing -> the value that it is
    for node in region.nodes:
        if node.op in DROPOUT:
            alias[node.name] = alias.get(_read(node, "input"), _read(node, "input"))
            continue
        ops.append(_operation(node, program, weights, alias))
    outputs = tuple(alias.get(name, name) for name in region.outputs(program))
    inputs = {name: size_of(program, name) for name in region.inputs()}
    return Fused(inputs, tuple(_fuse(ops, set(outputs))), outputs)


def size_of(program: Program, name: str, batch: int = 1) -> Size:
    """Return the size of a value without its batch; flat ones lie side by side as one row of pixels."""
    shape = tuple(int(size or 0) for size in program.shape(name)[1:])
    return Size(shape[0], 1, batch) if len(shape) == FLAT - 1 else Size(*shape)


def _operation(node: Node, program: Program, weights: Weights, alias: Mapping[str, str]) -> Op:
    """Return one node as an operation of its own."""
    refs = [alias.get(name, name) for name in node.refs()]
    size = size_of(program, node.name)
    if node.op == CONV:
        return _conv(node, refs[0], size, weights)
    if node.op == CAT:
        return Concat(tuple(refs), node.name)
    if node.op in (MEAN, ADAPTIVE):
        return GlobalMean(refs[0], node.name)
    if node.op in (MAX_POOL, AVG_POOL):
        return pooling_of(node, refs[0], program)
    plain = _identity(refs[0], node.name, size.channels)
    if node.op == ADD:
        return replace(plain, residual=refs[1])
    if node.op == NORM:
        tensors = {
            name: weights.arrays[of.name] for name, of in node.inputs.items() if isinstance(of, Stored)
        }
        return _scaled(plain, *affine(tensors, _number(node, "eps")))
    low, high = CLAMPS[node.op](node)
    return replace(plain, low=low, high=high)


def pooling_of(node: Node, source: str, program: Program) -> Pooling:
    """Return a pooling that reads `source`."""
    size, average = size_of(program, node.name), node.op == AVG_POOL
    kernel = spread_of(node, "kernel_size")
    return Pooling(
        source, node.name, kernel, _pair(_ints(node, "stride") or kernel), spread_of(node, "padding"),
        (1, 1) if average else spread_of(node, "dilation"), average,
        bool(average and node.inputs["count_include_pad"]), (size.height, size.width),
    )  # fmt: skip


def spread_of(node: Node, name: str) -> tuple[int, int]:
    """Return an argument that is a number for each axis, or one for both."""
    return _pair(_ints(node, name))


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return (values[0], values[-1])


def _conv(node: Node, source: str, size: Size, weights: Weights) -> Conv:
    name = node.inputs["weight"]
    assert isinstance(name, Stored)
    weight, bias = weights.arrays[name.name], node.inputs["bias"]
    block = weights.blocks.get(name.name, 1)
    if node.groups > 1 and (size.channels // node.groups) % block:
        block = 1  # a block must not span two groups
    rows = block_rows(weight, block)
    if node.groups == size.channels == weight.shape[0]:  # depthwise runs dense
        rows = block_rows(np.ones_like(weight), 1)
        rows = replace(rows, values=weight.reshape(-1, 1))
    values = weights.arrays[bias.name] if isinstance(bias, Stored) else np.zeros(size.channels, np.float32)
    return Conv(
        source, node.name, size.channels, rows.block, rows.starts, rows.columns, rows.values, values,
        _pair(weight.shape[2:]), spread_of(node, "stride"), spread_of(node, "padding"),
        spread_of(node, "dilation"), node.groups, layer=node.name,
    )  # fmt: skip


def _identity(source: str, target: str, channels: int) -> Conv:
    """A depthwise convolution by ones: what an addition, a norm or a clamp that stands alone becomes."""
    counts = np.arange(channels + 1, dtype=np.int32)
    return Conv(
        source, target, channels, 1, counts, np.zeros(channels, np.int32), np.ones((channels, 1), np.float32),
        np.zeros(channels, np.float32), (1, 1), groups=channels,
    )  # fmt: skip


def _scaled(op: Conv, scale: NDArray[np.floating[Any]], shift: NDArray[np.floating[Any]]) -> Conv:
    """Return op followed by a scale and a shift of each channel."""
    blocks = len(op.starts) - 1
    by_row = np.zeros(blocks * op.block)
    by_row[: op.channels] = scale
    of_entry = np.repeat(by_row.reshape(blocks, op.block), np.diff(op.starts), axis=0)
    return replace(
        op,
        values=(op.values * of_entry).astype(np.float32),
        bias=(op.bias * scale + shift).astype(np.float32),
    )


def _fuse(ops: list[Op], kept: set[str]) -> list[Op]:
    """Merge identities into the convolution whose result they alone read."""
    readers: dict[str, int] = {}
    for op in ops:
        for name in read_by(op):
            readers[name] = readers.get(name, 0) + 1
    found: list[Op] = []
    for op in ops:
        merged = None
        if isinstance(op, Conv) and _is_identity(op):
            merged = _merge(op, found, lambda name: readers[name] == 1 and name not in kept)
        found.append(merged or op)
    return found


def _is_identity(op: Conv) -> bool:
    plain = (op.kernel, op.stride, op.padding) == ((1, 1), (1, 1), (0, 0))
    return plain and op.groups == op.channels == len(op.columns)


def _merge(op: Conv, found: list[Op], alone: Callable[[str], bool]) -> Conv | None:
    """Fold an identity into one of its operands, the last one if both will do, and drop that one."""
    for index in range(len(found) - 1, -1, -1):
        before = found[index]
        if not isinstance(before, Conv) or before.target not in (op.source, op.residual):
            continue
        if not alone(before.target) or before.low != -np.inf or before.high != np.inf:
            continue
        plain = bool((op.values == 1).all() and not op.bias.any())
        if op.residual is None:
            if before.residual is not None and not plain:
                continue  # a norm after an addition scales the residual too
            merged = before if plain else _scaled(before, op.values[:, 0], op.bias)
        elif before.residual is None and plain:
            other = op.residual if before.target == op.source else op.source
            merged = replace(before, residual=other)
        else:
            continue
        del found[index]
        return replace(merged, target=op.target, low=op.low, high=op.high)
    return None
