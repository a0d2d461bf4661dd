"""Operators that reduce axes or lay a value out otherwise."""

from typing import Any

from wieldy.runtime.lowering.context import Lowered, Lowering


def reduce(name: str) -> Lowering:
    """A reduction over axes."""

    def lowering(a: Lowered) -> Any:
        value = a.typed(a["self"], a.node.dtype)
        return getattr(a.ops, f"reduce_{name}")(value, a.whole(a["dim"]), a["keepdim"])

    return lowering


def norm(a: Lowered) -> Any:
    """The root of the sum of squares."""
    return a.ops.reduce_l2(a["self"], a.whole(a["dim"]), a["keepdim"])


def cumsum(a: Lowered) -> Any:
    """Sums up to each place."""
    return a.ops.cum_sum(a.typed(a["self"], a.node.dtype), a.whole(a["dim"]))


def reshape(a: Lowered) -> Any:
    """The same numbers in another shape."""
    return a.ops.reshape(a["self"], a.whole(a.shape), special_zero=False)


def matmul(a: Lowered) -> Any:
    """The product of two values."""
    return a.ops.matmul(a["self"], a["other"], transpose_a=False, transpose_b=False)


def expand(a: Lowered) -> Any:
    """Repeated along axes of one."""
    return a.ops.broadcast(a["self"], a.whole(a.shape))


def slice(a: Lowered) -> Any:
    """Part of an axis."""
    ends = (a.whole([a[name]]) for name in ("start", "end", "step", "dim"))
    return a.ops.slice(a["self"], *ends)


PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def pad(a: Lowered) -> Any:
    """Torch names the last axis first, begin and end side by side."""
    pad, rank = a["pad"], len(a.node.shape)
    sides = [pad[2 * place : 2 * place + 2] for place in range(len(pad) // 2)]
    begins, ends = ([0] * (rank - len(sides)) + [side[k] for side in sides[::-1]] for k in (0, 1))
    fill = a.constant(a["value"] or 0.0) if a["mode"] == "constant" else None
    return a.ops.pad(a["self"], a.whole(begins), a.whole(ends), PAD_MODES[a["mode"]], fill)
