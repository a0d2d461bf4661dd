"""Operators that only show a value otherwise: its axes in another order, or a part of it.

Torch has many names for them; a program has three: permute, slice and select.
"""

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from wieldy.graph.arguments import given_arguments
from wieldy.graph.program import Argument, Ref

ORDERS = frozenset(
    f"aten.{name}"
    for name in (
        "permute.default", "transpose.int", "t.default", "swapaxes.default", "swapdims.default",
        "movedim.int", "movedim.intlist", "moveaxis.int", "moveaxis.intlist", "mT.default",
        "numpy_T.default",
    )
)  # fmt: skip
PIECES = frozenset(
    f"aten.{name}"
    for name in (
        "chunk.default", "split.Tensor", "split.sizes", "split_with_sizes.default", "tensor_split.sections",
        "tensor_split.indices", "unsafe_chunk.default", "unsafe_split.Tensor", "unbind.int",
    )
)  # fmt: skip
PARTS = frozenset({"aten.slice.Tensor", "aten.narrow.default", "aten.select.int"})


def is_piece(fx: FxNode) -> bool:
    """Whether a node takes one result of an operator that has several."""
    return fx.target is operator.getitem and str(fx.args[0].target) in PIECES  # type: ignore[union-attr]


def order_of(fx: FxNode) -> tuple[int, ...]:
    """Return which axis of its input each axis of a node's result is: sizes that differ name the axes."""
    source, *rest = fx.args
    rank = source.meta["val"].ndim  # type: ignore[union-attr]
    named = torch.empty(tuple(range(rank)), device="meta")
    return tuple(fx.target(named, *rest, **fx.kwargs).shape)  # type: ignore[operator]


def part_of(fx: FxNode, source: str) -> tuple[str, dict[str, Argument]]:
    """Return operator and arguments of a node that takes a part of the value `source`."""
    given = given_arguments(fx)
    value = fx.args[0].meta["val"]  # type: ignore[union-attr]
    dim = int(given["dim"]) % value.ndim
    if fx.target is torch.ops.aten.select.int:
        return _select(source, dim, int(given["index"]) % int(value.shape[dim]))
    size = fx.meta["val"].shape[dim]
    start = int(given["start"] or 0)
    start = max(0, start + int(value.shape[dim])) if start < 0 else start
    step = int(given.get("step", 1))
    return _slice(source, dim, start, start + step * (int(size) - 1) + 1 if size else start, step)


def piece_of(fx: FxNode, source: str) -> tuple[str, dict[str, Argument]]:
    """Return operator and arguments of a node that takes one of the pieces of the value `source`."""
    cutter, place = fx.args
    assert isinstance(cutter, FxNode)
    assert isinstance(place, int)
    dim = int(given_arguments(cutter)["dim"]) % cutter.args[0].meta["val"].ndim  # type: ignore[union-attr]
    pieces: list[Tensor] = list(cutter.meta["val"])
    place %= len(pieces)
    if cutter.target is torch.ops.aten.unbind.int:
        return _select(source, dim, place)
    start = sum(int(piece.shape[dim]) for piece in pieces[:place])
    return _slice(source, dim, start, start + int(pieces[place].shape[dim]), 1)


def _slice(source: str, dim: int, start: int, end: int, step: int) -> tuple[str, dict[str, Argument]]:
    given: dict[str, Any] = {"self": Ref(source), "dim": dim, "start": start, "end": end, "step": step}
    return "aten.slice.Tensor", given


def _select(source: str, dim: int, index: int) -> tuple[str, dict[str, Argument]]:
    return "aten.select.int", {"self": Ref(source), "dim": dim, "index": index}
