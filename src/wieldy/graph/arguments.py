"""Reading the arguments of one exported operator into those that the allow-list names."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node as FxNode

from wieldy.core.errors import TraceError
from wieldy.graph.constants import finite
from wieldy.graph.ops import INTS, MATMUL, OPS, REDUCTIONS, SOFTMAX, WHERE
from wieldy.graph.program import Argument, Ref, Stored
from wieldy.graph.soundness import fits

SAME_PADDING = frozenset({"aten.conv1d.padding", "aten.conv2d.padding"})
REVERSED = "aten.rsub.Scalar"
REWRITTEN = {
    "aten.conv1d.padding": "aten.conv1d.default",
    "aten.conv2d.padding": "aten.conv2d.default",
    "aten.bmm.default": MATMUL,
    REVERSED: "aten.sub.Tensor",
    **{
        f"aten.{name}.Scalar": f"aten.{name}.Tensor"
        for name in ("add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge")
    },
    **{f"aten.where.{name}": WHERE for name in ("ScalarSelf", "ScalarOther", "Scalar")},
    "aten.max.other": "aten.maximum.default",
    "aten.min.other": "aten.minimum.default",
    "aten.clamp_min.default": "aten.clamp.default",
    "aten.clamp_max.default": "aten.clamp.default",
    "aten.bitwise_not.default": "aten.logical_not.default",
    "aten.bitwise_and.Tensor": "aten.logical_and.default",
    "aten.bitwise_or.Tensor": "aten.logical_or.default",
    "aten.__and__.Tensor": "aten.logical_and.default",
    "aten.__or__.Tensor": "aten.logical_or.default",
}
BITWISE = frozenset(op for op in REWRITTEN if "bitwise" in op or "__" in op)  # on truths alone
DIMENSIONS = frozenset(REDUCTIONS) | SOFTMAX | {"aten.cat.default"}
DROPOUTS = frozenset({"aten.dropout.default", "aten.feature_dropout.default"})


def functional(op: str) -> str:
    """Return the operator that returns its result where `op` writes it into its first argument.

    Example:
        >>> functional("aten.relu_.default"), functional("aten.relu.default")
        ('aten.relu.default', 'aten.relu.default')
    """
    name = op.split(".")[1]
    return op.replace("_.", ".", 1) if name.endswith("_") and not name.startswith("__") else op


def given_arguments(fx: FxNode) -> dict[str, Any]:
    """Return all arguments of a node by name, defaults included, as torch.fx holds them."""
    schema = fx.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((argument.name for argument in schema), fx.args, strict=False)) | dict(fx.kwargs)
    return {a.name: given.get(a.name, a.default_value if a.has_default_value() else None) for a in schema}


def source_line(fx: FxNode) -> str:
    """Return where in the user's file a node comes from, if export recorded it."""
    lines = [line.strip() for line in (fx.meta.get("stack_trace") or "").splitlines() if "File " in line]
    return f" ({lines[-1].removesuffix(',')})" if lines else ""


def read_arguments(
    fx: FxNode, op: str, stored: Mapping[str, str], values: Mapping[str, str]
) -> dict[str, Argument]:
    """Return the arguments of `fx` by name.

    Args:
        fx: an exported node.
        op: its operator, not in place.
        stored: tensor names by fx node.
        values: the value that holds each fx node's result now.

    Raises:
        TraceError: an argument cannot be stored, or the operator would not do the same on each call.
    """
    full = given_arguments(fx)
    full.setdefault("input", full.get("self"))  # dropout_ names it so
    full.setdefault("other", full.get("mat2"))  # and bmm so
    for absent in ("min", "max", "alpha"):  # of what is written as an operator with more arguments
        full.setdefault(absent, 1 if absent == "alpha" else None)
    if op in BITWISE and fx.meta["val"].dtype != torch.bool:
        raise TraceError(f"{fx.name}: bitwise operators work on truth values alone{source_line(fx)}.")
    if op in SAME_PADDING:
        full["padding"] = _same_padding(fx, full)
    if op == REVERSED:
        full["self"], full["other"] = full["other"], full["self"]
    op = REWRITTEN.get(op, op)
    found = {}
    for name, kind in OPS[op]:
        value = _argument(full[name], kind, fx, stored, values)
        if not fits(value, kind):
            raise TraceError(f"{fx.name}: {_misfit(name, kind, value)}")
        found[name] = _from_end(value, fx) if op in DIMENSIONS and name == "dim" else value
    _check_training(fx, op, found)
    return found


def _argument(
    value: Any, kind: str, fx: FxNode, stored: Mapping[str, str], values: Mapping[str, str]
) -> Argument:
    if isinstance(value, FxNode):
        if value.name in stored:
            return Stored(stored[value.name])
        if value.name in values:
            return Ref(values[value.name])
        raise TraceError(
            f"{fx.name}: computes with {value.name!r}, the batch size or another number that follows the "
            "inputs. Use a fixed number."
        )
    if isinstance(value, (list, tuple)):
        if kind == "values":
            return tuple(_argument(item, "value", fx, stored, values) for item in value)  # type: ignore[return-value]
        return _spread(tuple(_whole(item, fx) for item in value), kind, fx)
    if kind in INTS and type(value) is int:
        return (value,)
    if "where" in str(fx.target):
        value = finite(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise TraceError(f"{fx.name}: its arguments must be finite; got {value}.")
    return value  # type: ignore[no-any-return]


def _misfit(name: str, kind: str, value: object) -> str:
    """Say why an argument is not of the kind that its operator takes."""
    if kind == "tensor" and value is None:
        return (
            f"{name!r} is missing: it normalises with each batch's own statistics, which a package cannot. "
            "Use track_running_stats=True."
        )
    if kind.startswith("tensor"):
        return (
            f"{name!r} must be a stored tensor; it is computed on each call. Fold masks and weight norms "
            "into the weights first, for instance with torch.nn.utils.prune.remove or parametrize's "
            "remove_parametrizations."
        )
    if kind in ("value", "values"):
        return (
            f"{name!r} must be computed from the network's inputs; got {value!r}. Store its result instead."
        )
    if kind == "none":
        return f"{name!r} must keep its default; got {value!r}. Leave it out."
    if isinstance(value, complex):
        return f"{name!r} is the complex number {value!r}; networks compute in float32. Leave that part out."
    return f"{name!r} must be of kind {kind}; got {value!r}."


def _whole(value: Any, fx: FxNode) -> int:
    if isinstance(value, int):
        return value
    raise TraceError(
        f"{fx.name}: an argument depends on the batch size ({value}); it must be a fixed number."
    )


def _from_end(value: Argument, fx: FxNode) -> Argument:
    """Count axes from the front; all operators that name axes count those of what they are given."""
    first = fx.args[0]
    source = first if isinstance(first, FxNode) else first[0]  # type: ignore[index]
    rank = int(source.meta["val"].ndim)  # type: ignore[union-attr]
    if isinstance(value, tuple):
        return tuple(int(dim) % rank for dim in value)  # type: ignore[arg-type]
    assert isinstance(value, int)
    return value % rank


def _same_padding(fx: FxNode, full: Mapping[str, Any]) -> list[int]:
    """Write padding='same' and 'valid' as numbers."""
    kernel = full["weight"].meta["val"].shape[2:]
    if full["padding"] == "valid":
        return [0] * len(kernel)
    dilation = [*full["dilation"]] * (len(kernel) // len(full["dilation"]))
    spans = [d * (int(k) - 1) for d, k in zip(dilation, kernel, strict=True)]
    if any(span % 2 for span in spans):
        raise TraceError(
            f"{fx.name}: padding='same' with an even kernel pads one side more. Use an odd "
            "kernel, or pad first."
        )
    return [span // 2 for span in spans]


def _check_training(fx: FxNode, op: str, arguments: Mapping[str, Argument]) -> None:
    """Refuse what draws at random, or follows the batch, in evaluation mode too."""
    if op in DROPOUTS and arguments["train"]:
        raise TraceError(
            f"{fx.name}: drops at random in evaluation mode too. Write "
            "F.dropout(x, p, training=self.training)."
        )
    if op == "aten.batch_norm.default" and arguments["training"]:
        raise TraceError(
            f"{fx.name}: normalises with each batch's own statistics in evaluation mode too. Write "
            "F.batch_norm(..., training=self.training)."
        )


def _spread(values: tuple[int, ...], kind: str, fx: FxNode) -> tuple[int, ...]:
    """Write one number for all axes as one for each, and an empty stride as the kernel's size."""
    name = str(fx.target).split(".")[1]
    if kind not in INTS or not name.endswith(("1d", "2d")):
        return values
    if not values and "pool" in name:
        values = tuple(fx.args[1])  # type: ignore[arg-type]
    return values * int(name[-2]) if len(values) == 1 else values
