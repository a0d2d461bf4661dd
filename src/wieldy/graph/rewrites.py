"""Operators that a program says in other words: as one that it knows, or as several steps."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.fx import Node as FxNode

from wieldy.core.errors import TraceError
from wieldy.graph.arguments import given_arguments, source_line
from wieldy.graph.constants import finite
from wieldy.graph.ops import CAST, FULL, GRU, LSTM, WHERE
from wieldy.graph.program import FLOAT, Argument, Node, Ref, Shape, Stored, with_batch

Value = Ref | Stored


class Steps:
    """The nodes that one exported operator becomes; `place` finds what its fx arguments are here."""

    def __init__(self, fx: FxNode, caller: str, place: Callable[[FxNode], Value]) -> None:
        self.fx, self.caller, self.place = fx, caller, place
        self.given: dict[str, Any] = given_arguments(fx)
        self.nodes: list[Node] = []

    def add(self, op: str, arguments: Mapping[str, Argument], shape: Shape, dtype: str = FLOAT) -> Ref:
        """Add a step and return its result."""
        name = f"{self.fx.name}.{len(self.nodes)}"
        self.nodes.append(Node(name, op, dict(arguments), self.caller, shape, dtype))
        return Ref(name)

    def value(self, name: str) -> Value:
        """Return what an argument is that must be a tensor."""
        found = self.given[name]
        assert isinstance(found, FxNode)
        return self.place(found)

    def operand(self, name: str) -> Argument:
        """Return an argument that may be a tensor or a number."""
        found = self.given[name]
        return self.place(found) if isinstance(found, FxNode) else finite(found)

    def cut(self, value: Value, dim: int, start: int, shape: Shape) -> Ref:
        """Return as much of a value along an axis as `shape` has, from `start` on."""
        ends: dict[str, Argument] = {"start": start, "end": start + int(shape[dim] or 0), "step": 1}
        return self.add("aten.slice.Tensor", {"self": value, "dim": dim, **ends}, shape)

    def cast(self, value: Value, shape: Shape, dtype: str) -> Ref:
        """Return a value in another dtype."""
        return self.add(CAST, {"self": value, "dtype": dtype}, shape, dtype)


def shape_of(value: Tensor) -> Shape:
    """Return the shape of an exported value; None is the batch."""
    return tuple(int(size) if isinstance(size, int) else None for size in value.shape)


def dtype_of(value: Tensor) -> str:
    """Return the dtype of an exported value as a program names it; whole numbers are all int64."""
    name = str(value.dtype).removeprefix("torch.")
    return "int64" if name in ("int32", "int16", "int8", "uint8") else name


def _shuffle(steps: Steps, shape: Shape) -> list[Ref]:
    """Channels dealt out anew: groups apart, places first, together again."""
    batch, channels, *rest = shape
    groups = int(steps.given["groups"])
    of_each = int(channels or 0) // groups
    apart, turned = (batch, groups, of_each, *rest), (batch, of_each, groups, *rest)
    found = steps.add(
        "aten.reshape.default", {"self": steps.value("self"), "shape": with_batch(apart, -1)}, apart
    )
    order = (0, 2, 1, *range(3, len(apart)))
    found = steps.add("aten.permute.default", {"self": found, "dims": order}, turned)
    return [steps.add("aten.reshape.default", {"self": found, "shape": with_batch(shape, -1)}, shape)]


def _masked_fill(steps: Steps, shape: Shape) -> list[Ref]:
    given = {
        "condition": steps.value("mask"), "self": steps.operand("value"), "other": steps.value("self"),
    }  # fmt: skip
    return [steps.add(WHERE, given, shape, dtype_of(steps.fx.meta["val"]))]


def _glu(steps: Steps, shape: Shape) -> list[Ref]:
    """One half times the sigmoid of the other."""
    source, rank = steps.value("self"), len(shape)
    dim = int(steps.given["dim"]) % rank
    width = int(shape[dim] or 0)
    halves = [steps.cut(source, dim, start, shape) for start in (0, width)]
    gate = steps.add("aten.sigmoid.default", {"self": halves[1]}, shape)
    return [steps.add("aten.mul.Tensor", {"self": halves[0], "other": gate}, shape)]


def _stack(steps: Steps, shape: Shape) -> list[Ref]:
    """A new axis for each, and then one after another."""
    dim = int(steps.given["dim"]) % len(shape)
    one = (*shape[:dim], 1, *shape[dim + 1 :])
    apart = tuple(
        steps.add("aten.reshape.default", {"self": steps.place(fx), "shape": with_batch(one, -1)}, one)
        for fx in steps.given["tensors"]
    )
    return [steps.add("aten.cat.default", {"tensors": apart, "dim": dim}, shape)]


def _diff(steps: Steps, shape: Shape) -> list[Ref]:
    """All but the first less all but the last."""
    if steps.given["n"] != 1 or steps.given["prepend"] is not None or steps.given["append"] is not None:
        raise TraceError(
            f"{steps.fx.name}: differences are taken once, of what is given{source_line(steps.fx)}. "
            "Call it once for each, on joined values."
        )
    dim = int(steps.given["dim"]) % len(shape)
    last, first = (steps.cut(steps.value("self"), dim, start, shape) for start in (1, 0))
    return [steps.add("aten.sub.Tensor", {"self": last, "other": first, "alpha": 1}, shape)]


def _roll(steps: Steps, shape: Shape) -> list[Ref]:
    """The end of each axis before its beginning."""
    shifts, dims = steps.given["shifts"], steps.given["dims"]
    found = steps.value("self")
    if not dims or any(shape[int(dim) % len(shape)] is None for dim in dims):
        raise TraceError(
            f"{steps.fx.name}: must roll along fixed axes{source_line(steps.fx)}. Name them: dims=(...)."
        )
    for shift, dim in zip(shifts, (int(dim) % len(shape) for dim in dims), strict=True):
        width = int(shape[dim] or 0)
        at = -int(shift) % width
        sizes = {0: at, at: width - at}
        pieces = tuple(
            steps.cut(found, dim, start, (*shape[:dim], size, *shape[dim + 1 :]))
            for start, size in sorted(sizes.items(), reverse=True)
            if size
        )
        found = steps.add("aten.cat.default", {"tensors": pieces, "dim": dim}, shape)
    assert isinstance(found, Ref)
    return [found]


def _variance(steps: Steps, shape: Shape) -> list[Ref]:
    """The mean square of the distance from the mean, and its root where a deviation is asked for."""
    source = shape_of(steps.given["self"].meta["val"])
    dims = tuple(int(dim) % len(source) for dim in steps.given["dim"])
    count = math.prod(int(source[dim] or 0) for dim in dims)
    given = steps.given.get("correction", int(steps.given.get("unbiased", True)))
    correction = 1.0 if given is None else float(given)
    if count <= correction:
        raise TraceError(
            f"{steps.fx.name}: needs more numbers than its correction, {correction:g}; got {count}"
            f"{source_line(steps.fx)}. Name other axes."
        )
    kept = tuple(1 if axis in dims else size for axis, size in enumerate(source))
    value, along = steps.value("self"), {"dim": dims, "dtype": None}
    mean = steps.add("aten.mean.dim", {"self": value, "keepdim": True, **along}, kept)
    apart = steps.add("aten.sub.Tensor", {"self": value, "other": mean, "alpha": 1}, source)
    squares = steps.add("aten.pow.Tensor_Scalar", {"self": apart, "exponent": 2.0}, source)
    keepdim = bool(steps.given["keepdim"])
    found = steps.add("aten.mean.dim", {"self": squares, "keepdim": keepdim, **along}, shape)
    scale = count / (count - correction)
    found = steps.add("aten.mul.Tensor", {"self": found, "other": scale}, shape)
    if str(steps.fx.target).startswith("aten.std"):
        found = steps.add("aten.sqrt.default", {"self": found}, shape)
    return [found]


def _instance_norm(steps: Steps, shape: Shape) -> list[Ref]:
    """A group norm whose groups are single channels."""
    if not steps.given["use_input_stats"]:
        raise TraceError(
            f"{steps.fx.name}: instance norm with running statistics is not supported. "
            "Use track_running_stats=False, or batch norm."
        )
    optional = {name: None if steps.given[name] is None else steps.value(name) for name in ("weight", "bias")}
    given: dict[str, Argument] = {"input": steps.value("input"), "num_groups": int(shape[1] or 0), **optional}
    given |= {"eps": float(steps.given["eps"]), "cudnn_enabled": True}
    return [steps.add("aten.group_norm.default", given, shape)]


def _power(exponent: float) -> "Rewrite":
    def rewrite(steps: Steps, shape: Shape) -> list[Ref]:
        given: dict[str, Argument] = {"self": steps.value("self"), "exponent": exponent}
        return [steps.add("aten.pow.Tensor_Scalar", given, shape)]

    return rewrite


def _cast(steps: Steps, shape: Shape) -> list[Ref]:
    return [steps.cast(steps.value("self"), shape, dtype_of(steps.fx.meta["val"]))]


def _filled(steps: Steps, shape: Shape) -> list[Ref]:
    """Zeros, ones or any number in a shape that follows the batch."""
    name = str(steps.fx.target).split(".")[1].removeprefix("new_").removesuffix("_like")
    fill = {"zeros": 0.0, "ones": 1.0}.get(name, steps.given.get("fill_value"))
    if isinstance(fill, bool):
        fill = int(fill)
    given: dict[str, Argument] = {"size": with_batch(shape, -1), "fill_value": finite(fill)}
    return [steps.add(FULL, given, shape, dtype_of(steps.fx.meta["val"]))]


def _recurrent(steps: Steps, shape: Shape) -> list[Ref]:  # noqa: ARG001
    """Layer by layer and direction by direction; results are the outputs and the last states."""
    given = steps.given
    if "data" in given:
        raise TraceError(f"{steps.fx.name}: packed sequences are not supported. Pad them to one length.")
    op = LSTM if str(steps.fx.target) == LSTM else GRU
    _check_state(steps)
    outputs: list[Tensor] = list(steps.fx.meta["val"])
    batch_first, directions = bool(given["batch_first"]), 1 + bool(given["bidirectional"])
    value: Value = steps.value("input")
    batch, length = shape_of(outputs[0])[:2] if batch_first else shape_of(outputs[0])[1::-1]
    width = shape_of(given["input"].meta["val"])[-1]
    if not batch_first:
        value = steps.add("aten.permute.default", {"self": value, "dims": (1, 0, 2)}, (batch, length, width))
    hidden = int(outputs[1].shape[-1])
    params, each = [steps.place(fx) for fx in given["params"]], 4 if given["has_biases"] else 2
    lasts: list[Ref] = []
    for layer in range(int(given["num_layers"])):
        sides = []
        for direction in range(directions):
            first = (layer * directions + direction) * each
            weights = [*params[first : first + each], None, None][:4]
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            arguments: dict[str, Argument] = {"input": value, **dict(zip(names, weights, strict=True))}
            made = steps.add(op, arguments | {"reverse": direction == 1}, (batch, length, hidden))
            sides.append(made)
            at = 0 if direction else int(length or 0) - 1
            lasts.append(steps.add("aten.select.int", {"self": made, "dim": 1, "index": at}, (batch, hidden)))
        value = sides[0]
        if directions == 2:
            both = (batch, length, 2 * hidden)
            value = steps.add("aten.cat.default", {"tensors": tuple(sides), "dim": 2}, both)
        if given["dropout"] and layer < int(given["num_layers"]) - 1:
            wide = (batch, length, directions * hidden)
            dropped: dict[str, Argument] = {"input": value, "p": float(given["dropout"]), "train": False}
            value = steps.add("aten.dropout.default", dropped, wide)
    return [_turned(steps, value, shape_of(outputs[0]), batch_first=batch_first), _stacked(steps, lasts)]


def _check_state(steps: Steps) -> None:
    """Refuse a state to begin with that is anything but zeros."""
    states = steps.given["hx"]
    for state in states if isinstance(states, (list, tuple)) else [states]:
        if "zeros" not in str(state.target):
            raise TraceError(
                f"{steps.fx.name}: a recurrent layer must begin with zeros{source_line(steps.fx)}. "
                "Leave the initial state out."
            )


def _turned(steps: Steps, value: Value, shape: Shape, *, batch_first: bool) -> Ref:
    if batch_first:
        assert isinstance(value, Ref)
        return value
    return steps.add("aten.permute.default", {"self": value, "dims": (1, 0, 2)}, shape)


def _stacked(steps: Steps, lasts: list[Ref]) -> Ref:
    """Return the last states of all layers and directions, (layers, batch, hidden)."""
    batch, hidden = next(node.shape for node in steps.nodes if node.name == lasts[0].name)
    rows = [
        steps.add(
            "aten.reshape.default", {"self": last, "shape": (1, -1, int(hidden or 0))}, (1, batch, hidden)
        )
        for last in lasts
    ]
    if len(rows) == 1:
        return rows[0]
    return steps.add("aten.cat.default", {"tensors": tuple(rows), "dim": 0}, (len(rows), batch, hidden))


def _upsampled(steps: Steps, shape: Shape) -> list[Ref]:
    """To a size; a factor must make a whole one, since torch reads other places with any other."""
    source = shape_of(steps.given["input"].meta["val"])[2:]
    for factor, old, new in zip(steps.given["scale_factors"] or (), source, shape[2:], strict=False):
        if abs(float(factor) * int(old or 0) - int(new or 0)) > 1e-9:
            raise TraceError(
                f"{steps.fx.name}: scale_factor {factor} does not lead from {old} to a whole size"
                f"{source_line(steps.fx)}. Give size= instead."
            )
    given: dict[str, Argument] = {
        "input": steps.value("input"),
        "output_size": tuple(int(size or 0) for size in shape[2:]),
    }
    if "align_corners" in steps.given:
        given["align_corners"] = bool(steps.given["align_corners"])
    return [steps.add(str(steps.fx.target), given, shape)]


Rewrite = Callable[[Steps, Shape], list[Ref]]
CASTS = frozenset(
    f"aten.{name}"
    for name in (
        "to.dtype",
        "to.dtype_layout",
        "to.device",
        "to.other",
        "type_as.default",
        "_to_copy.default",
    )
)
FILLS = ("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")

REWRITES: dict[str, Rewrite] = {
    "aten.channel_shuffle.default": _shuffle,
    "aten.masked_fill.Scalar": _masked_fill,
    "aten.masked_fill.Tensor": _masked_fill,
    "aten.glu.default": _glu,
    "aten.stack.default": _stack,
    "aten.diff.default": _diff,
    "aten.roll.default": _roll,
    **{f"aten.{name}.{kind}": _variance for name in ("var", "std") for kind in ("dim", "correction")},
    "aten.square.default": _power(2.0),
    "aten.reciprocal.default": _power(-1.0),
    **dict.fromkeys(CASTS, _cast),
    "aten.instance_norm.default": _instance_norm,
    LSTM: _recurrent,
    GRU: _recurrent,
    "aten.upsample_nearest1d.vec": _upsampled,
    "aten.upsample_nearest2d.vec": _upsampled,
    "aten.upsample_bilinear2d.vec": _upsampled,
    **{f"aten.{name}.default": _filled for name in FILLS},
}
SEVERAL = frozenset({LSTM, GRU})  # their results are taken apart by the nodes that follow


def is_result(fx: FxNode) -> bool:
    """Whether a node takes one of several results of a rewritten operator."""
    return fx.target is operator.getitem and str(fx.args[0].target) in SEVERAL  # type: ignore[union-attr]
