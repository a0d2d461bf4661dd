"""Operators that are affine in what they read: value = A x + shift, with A known by what it does.

In real arithmetic weights, running statistics and literals are the numbers that the package holds, taken as
they are. The scale of a norm, weight / sqrt(var + eps), is no float64, so it counts as rounded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv1d_input, conv2d_input

from wieldy.assure.bounds.rounding import UNDERFLOW, Box, above, below, gamma
from wieldy.core.errors import UnsupportedOpError
from wieldy.graph.fold import NORM, affine
from wieldy.graph.network import DROPOUTS
from wieldy.graph.operators import operator
from wieldy.graph.ops import CAT, CONV, CONV1D, LINEAR, OPS
from wieldy.graph.program import Node, Program, Ref, Stored

Arrays = Mapping[str, NDArray[Any]]
NORM_TERMS = 10  # roundings on the way to scale, shift and scale * x + shift


@dataclass(frozen=True)
class Affine:
    """value = A_1 x_1 + A_2 x_2 + ... + shift, of what `sources` name.

    Attributes:
        sources: names of the values that are read.
        apply: maps (n, ...) values to A x, without the shift.
        sizes: the same with |A|.
        pull: maps (m, ...) coefficients of the value to those of each x: A' c.
        terms: how many roundings lie between an entry of x and one of A x + shift, either way; with 0 they
            are handed on as they are, each once.
        shift: (...) float64, without a batch; None where there is none.
        shift_sizes: (...), what the shift's own rounding is measured by; None: the shift's sizes.
        mixes: whether an entry of the value is made of several.
    """

    sources: tuple[str, ...]
    apply: Callable[..., Tensor]
    sizes: Callable[..., Tensor]
    pull: Callable[[Tensor], tuple[Tensor, ...]]
    terms: int
    shift: Tensor | None = None
    shift_sizes: Tensor | None = None
    mixes: bool = True

    def reach(self, *largest: Tensor) -> Tensor:
        """Return |A| x + |shift|, of magnitudes: what rounding is measured by."""
        found = self.sizes(*largest)
        if self.shift is None:
            return found
        return found + (self.shift.abs() if self.shift_sizes is None else self.shift_sizes)

    def image(self, *boxes: Box) -> Box:
        """Return the box of A x + shift, with A c + shift as its centre and |A| r as its radius.

        Real |A x + shift - computed centre| <= |A| r + gamma_terms (|A| |c| + |shift|).
        """
        if not self.terms:
            low, high = (self.apply(*(getattr(box, end) for box in boxes)) for end in ("low", "high"))
            return Box(low, high)
        lost = gamma(self.terms)
        centres, radii = zip(*(box.centred() for box in boxes), strict=True)
        centre = self.apply(*centres) if self.shift is None else self.apply(*centres) + self.shift
        radius = self.sizes(*(r + lost * c.abs() for c, r in zip(centres, radii, strict=True)))
        if self.shift is not None:
            radius = radius + lost * (self.shift.abs() if self.shift_sizes is None else self.shift_sizes)
        radius = radius * (1 + 2 * gamma(self.terms + 4)) + UNDERFLOW
        centre = torch.where(centre.isfinite(), centre, torch.nan)  # a sum beyond float64 says nothing
        return Box(below(centre - radius), above(centre + radius))


Make = Callable[[Node, Program, Arrays], Affine]


def example_shape(program: Program, value: str) -> tuple[int, ...]:
    """Return the shape that one example has in a value."""
    return tuple(size for size in program.shape(value) if size is not None)


def _before(node: Node, program: Program) -> tuple[int, ...]:
    return example_shape(program, next(node.refs()))


def _tensor(node: Node, arrays: Arrays, name: str) -> Tensor:
    held = node.inputs[name]
    assert isinstance(held, Stored)
    return torch.from_numpy(arrays[held.name].astype(np.float64))


def _bias(node: Node, program: Program, arrays: Arrays, axis: int = 0) -> Tensor | None:
    if node.inputs["bias"] is None:
        return None
    return _spread(_tensor(node, arrays, "bias"), example_shape(program, node.name), axis)


def _spread(vector: Tensor, shape: tuple[int, ...], axis: int = 0) -> Tensor:
    """A vector along one axis of a shape without batch."""
    axis %= len(shape)
    return vector.reshape([-1 if index == axis else 1 for index in range(len(shape))]).expand(shape)


def _linear(node: Node, program: Program, arrays: Arrays) -> Affine:
    weight = _tensor(node, arrays, "weight")
    return Affine(
        sources=tuple(node.refs()),
        apply=lambda x: F.linear(x, weight),
        sizes=lambda x: F.linear(x, weight.abs()),
        pull=lambda c: (c @ weight,),
        terms=max(weight.shape) + 1,
        shift=_bias(node, program, arrays, axis=-1),
    )


def _conv(node: Node, program: Program, arrays: Arrays) -> Affine:
    weight, before = _tensor(node, arrays, "weight"), _before(node, program)
    call: Callable[..., Tensor] = F.conv2d if node.op == CONV else F.conv1d
    pulled: Callable[..., Tensor] = conv2d_input if node.op == CONV else conv1d_input
    how = {name: node.inputs[name] for name in ("stride", "padding", "dilation", "groups")}
    taps = prod(weight.shape[2:]) * max(weight.shape[1], weight.shape[0] // node.groups)
    return Affine(
        sources=tuple(node.refs()),
        apply=lambda x: call(x, weight, None, **how),
        sizes=lambda x: call(x, weight.abs(), None, **how),
        pull=lambda c: (pulled((len(c), *before), weight, c, **how),),
        terms=taps + 1,
        shift=_bias(node, program, arrays),
    )


def _norm(node: Node, program: Program, arrays: Arrays) -> Affine:
    held = {name: arrays[of.name] for name, of in node.inputs.items() if isinstance(of, Stored)}
    eps, shape = node.inputs["eps"], example_shape(program, node.name)
    assert isinstance(eps, float | int)
    scale, shift = (_spread(torch.from_numpy(side), shape) for side in affine(held, eps))
    sizes = (_spread(_tensor(node, arrays, "running_mean"), shape) * scale).abs()
    bias = _bias(node, program, arrays)
    sizes = sizes if bias is None else sizes + bias.abs()
    return _scaled(node, program, scale, NORM_TERMS, shift, sizes)


def _scaled(
    node: Node,
    program: Program,
    scale: Tensor,
    terms: int,
    shift: Tensor | None = None,
    shift_sizes: Tensor | None = None,
) -> Affine:
    """scale * x + shift, entry by entry; where x has fewer entries, each is used often."""
    before = _before(node, program)
    return Affine(
        sources=tuple(node.refs()),
        apply=lambda x: x * scale,
        sizes=lambda x: x * scale.abs(),
        pull=lambda c: ((c * scale).sum_to_size(len(c), *before),),
        terms=terms + prod(scale.shape) // max(1, prod(before)),
        shift=shift,
        shift_sizes=shift_sizes,
        mixes=False,
    )


def _sum(node: Node, program: Program, arrays: Arrays) -> Affine:
    """self + alpha * other, or minus, of two values or of one and what is stored."""
    alpha = node.inputs["alpha"]
    assert isinstance(alpha, float | int)
    signs = {"self": 1.0, "other": float(alpha) * (-1 if ".sub." in node.op else 1)}
    sources, after = tuple(node.refs()), example_shape(program, node.name)
    if len(sources) == 1:
        value, other = ("self", "other") if isinstance(node.inputs["self"], Ref) else ("other", "self")
        shift = _operand(node, arrays, other, after) * signs[other]
        return _scaled(node, program, torch.full(after, signs[value], dtype=torch.float64), 3, shift)
    shapes = [example_shape(program, name) for name in sources]
    first, second = signs.values()
    pairs = tuple(zip((first, second), shapes, strict=True))
    return Affine(
        sources=sources,
        apply=lambda x, y: first * x + second * y,
        sizes=lambda x, y: abs(first) * x + abs(second) * y,
        pull=lambda c: tuple((sign * c).sum_to_size(len(c), *shape) for sign, shape in pairs),
        terms=2 + max(prod(after) // max(1, prod(shape)) for shape in shapes),
    )


def _scaling(node: Node, program: Program, arrays: Arrays) -> Affine:
    """A value times what is stored, or divided by it."""
    divides, name = ".div." in node.op, "self" if isinstance(node.inputs["other"], Ref) else "other"
    if len(tuple(node.refs())) != 1 or (divides and name == "self"):
        raise UnsupportedOpError(f"{node.op.split('.')[1]} by what depends on the input")
    factor = _operand(node, arrays, name, example_shape(program, node.name))
    return _scaled(node, program, 1 / factor if divides else factor, 2)


def _operand(node: Node, arrays: Arrays, name: str, shape: tuple[int, ...]) -> Tensor:
    """An operand that no input reaches, for one example."""
    held = node.inputs[name]
    array = arrays[held.name] if isinstance(held, Stored) else held
    return torch.as_tensor(np.asarray(array, np.float64)).expand(1, *shape)[0]


def _averaged(node: Node, program: Program, arrays: Arrays) -> Affine:  # noqa: ARG001 - a Make
    """Means and sums: what torch does, which has no negative coefficient."""
    (name,) = (name for name, of in node.inputs.items() if isinstance(of, Ref))
    before = _before(node, program)
    rest = {name: node.inputs[name] for name, kind in OPS[node.op] if kind not in ("none", "value")}

    def apply(x: Tensor) -> Tensor:
        return operator(node.op)(**{name: x}, **rest)

    def pull(c: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.func.vjp(apply, c.new_zeros(len(c), *before))[1](c)
        return found

    return Affine(tuple(node.refs()), apply, apply, pull, terms=prod(before) + 4)


def _handed_on(node: Node, program: Program, arrays: Arrays) -> Affine:
    """Views: every entry of the value is one that was read."""
    return replace(_averaged(node, program, arrays), terms=0, mixes=False)


def _same(node: Node, program: Program, arrays: Arrays) -> Affine:  # noqa: ARG001 - a Make
    """Dropout, which does nothing in evaluation mode."""
    if node.inputs["train"]:
        raise UnsupportedOpError("dropout that drops at random in evaluation mode too")
    return Affine(tuple(node.refs()), lambda x: x, lambda x: x, lambda c: (c,), terms=0, mixes=False)


def _joined(node: Node, program: Program, arrays: Arrays) -> Affine:  # noqa: ARG001 - a Make
    sources, axis = tuple(node.refs()), node.inputs["dim"]
    assert isinstance(axis, int)
    widths = [example_shape(program, name)[axis - 1] for name in sources]

    def apply(*x: Tensor) -> Tensor:
        return torch.cat(x, axis)

    return Affine(sources, apply, apply, lambda c: torch.split(c, widths, axis), terms=0, mixes=False)


AFFINE: dict[str, Make] = {
    LINEAR: _linear,
    CONV: _conv,
    CONV1D: _conv,
    NORM: _norm,
    CAT: _joined,
    **dict.fromkeys(DROPOUTS, _same),
    **dict.fromkeys(("aten.add.Tensor", "aten.sub.Tensor"), _sum),
    **dict.fromkeys(("aten.mul.Tensor", "aten.div.Tensor"), _scaling),
    **{
        f"aten.{name}": _averaged
        for name in (
            "mean.dim", "sum.dim_IntList", "avg_pool1d.default", "avg_pool2d.default",
            "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default",
        )
    },
    **{
        f"aten.{name}": _handed_on
        for name in ("reshape.default", "permute.default", "slice.Tensor", "select.int")
    },
}  # fmt: skip
