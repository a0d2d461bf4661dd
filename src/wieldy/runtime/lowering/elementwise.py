"""Operators that take each number for itself, or two against each other."""

from typing import Any

import numpy as np

from wieldy.graph.program import FLOAT
from wieldy.runtime.lowering.context import Lowered, Lowering


def clamp(low: str, high: str) -> Lowering:
    """Between two numbers that the node gives."""
    return lambda a: a.ops.clamp(a["self"], float(a[low]), float(a[high]))


def unary(name: str) -> Lowering:
    """An operation of OpenVINO's with one argument."""
    return lambda a: getattr(a.ops, name)(a["self"])


def binary(name: str) -> Lowering:
    """An operation on two sides, which first become what the node yields."""

    def lowering(a: Lowered) -> Any:
        first, second = (a.typed(a[side], a.node.dtype) for side in ("self", "other"))
        if a.given.get("alpha", 1) != 1:
            second = a.ops.multiply(second, a.typed(a["alpha"], a.node.dtype))
        return getattr(a.ops, name)(first, second)

    return lowering


def compare(name: str) -> Lowering:
    """Both sides are compared in the dtype that torch would promote them to."""

    def lowering(a: Lowered) -> Any:
        sides = [a[side] for side in ("self", "other")]
        kinds = {_kind(side) for side in sides}
        dtype = next(kind for kind in (FLOAT, "int64", "bool") if kind in kinds)
        return getattr(a.ops, name)(*(a.typed(side, dtype) for side in sides))

    return lowering


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "int64" if isinstance(value, int) else FLOAT
    return str(value.get_element_type().to_dtype())


def logical(name: str) -> Lowering:
    """An operation on truths."""

    def lowering(a: Lowered) -> Any:
        given = [a.typed(a[side], "bool") for side in ("self", "other") if side in a.given]
        return getattr(a.ops, name)(*given)

    return lowering


def where(a: Lowered) -> Any:
    """One side where the condition holds, else the other."""
    yes, no = (a.typed(a[side], a.node.dtype) for side in ("self", "other"))
    return a.ops.select(a.typed(a["condition"], "bool"), yes, no)


def cast(a: Lowered) -> Any:
    """Torch cuts towards zero, as OpenVINO does; anything but zero is true."""
    if a.node.dtype == "bool":
        return a.ops.not_equal(a["self"], a.typed(0, str(a["self"].get_element_type().to_dtype())))
    return a.typed(a["self"], a.node.dtype)


def full(a: Lowered) -> Any:
    """One number everywhere."""
    return a.constant(np.full(a.shape, a["fill_value"]), np.dtype(a.node.dtype))


def pow(a: Lowered) -> Any:
    """To a fixed power."""
    return a.ops.power(a["self"], a.typed(a["exponent"], a.node.dtype))


def fake_quantize(a: Lowered) -> Any:
    """Rounding to whole levels, as the operation that OpenVINO makes whole numbers of."""
    ends = [
        a.constant((a[end] - a["zero_point"]) * np.float64(a["scale"])) for end in ("quant_min", "quant_max")
    ]
    return a.ops.fake_quantize(a["self"], *ends, *ends, a["quant_max"] - a["quant_min"] + 1)


def rsqrt(a: Lowered) -> Any:
    """One over the root."""
    return a.ops.divide(a.constant(1.0), a.ops.sqrt(a["self"]))


def softplus(a: Lowered) -> Any:
    """log(1 + exp(beta x)) / beta; beyond the threshold torch has x, which float32 cannot tell apart."""
    if a["beta"] == 1:
        return a.ops.softplus(a["self"])
    beta = a.constant(a["beta"])
    return a.ops.divide(a.ops.softplus(a.ops.multiply(a["self"], beta)), beta)


def limits(a: Lowered) -> Any:
    """A clamp that may be open on either side."""
    value = a["self"]
    for name, apply in (("min", a.ops.maximum), ("max", a.ops.minimum)):
        if a[name] is not None:
            value = apply(value, a.typed(a[name], a.node.dtype))
    return value


def elu(a: Lowered) -> Any:
    """scale * (x if x > 0 else alpha * (exp(input_scale * x) - 1))."""
    if a["scale"] == 1 and a["input_scale"] == 1:
        return a.ops.elu(a["self"], float(a["alpha"]))
    positive = a.ops.relu(a["self"])
    negative = a.ops.minimum(a["self"], a.constant(0.0))
    grown = a.ops.subtract(a.ops.exp(a.ops.multiply(negative, a.constant(a["input_scale"]))), a.constant(1.0))
    both = a.ops.add(positive, a.ops.multiply(grown, a.constant(a["alpha"])))
    return a.ops.multiply(both, a.constant(a["scale"]))


def gelu(a: Lowered) -> Any:
    """By the error function, or by tanh."""
    return a.ops.gelu(a["self"], "tanh" if a["approximate"] == "tanh" else "erf")


def leaky_relu(a: Lowered) -> Any:
    """One slope for all numbers below zero."""
    return a.ops.prelu(a["self"], a.constant([a["negative_slope"]]))
