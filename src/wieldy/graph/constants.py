"""What a network computes from nothing but constants is computed once, while it is read."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode

LOWEST = torch.finfo(torch.float32).min
TURNED = {
    torch.float64: torch.float32,
    torch.int32: torch.int64,
    torch.int16: torch.int64,
    torch.uint8: torch.int64,
}


def finite(number: Any) -> Any:
    """Return a number, the lowest float for minus infinity: a softmax makes nothing of either."""
    return LOWEST if isinstance(number, float) and number == -math.inf else number


class Constants:
    """The constant results of an exported graph, by fx node.

    Parameters are no constants: they are learned, and whatever is computed from them stays in the network.
    """

    def __init__(self, known: Mapping[str, Tensor]) -> None:
        self._known = {name: t for name, t in known.items() if not isinstance(t, nn.Parameter)}

    def fold(self, fx: FxNode) -> Tensor | None:
        """Return the result of an operator that depends on no input, or None where it does on one.

        Minus infinity becomes the lowest float: added to what a softmax reads, both leave nothing.
        """
        if not isinstance(fx.meta.get("val"), Tensor) or not _is_settled(fx):
            return None
        if any(source.name not in self._known for source in fx.all_input_nodes):
            return None
        args, kwargs = torch.fx.node.map_arg(
            (fx.args, fx.kwargs), lambda node: self._known[node.name].clone()
        )
        with torch.no_grad():
            found: Tensor = fx.target(*args, **kwargs)  # type: ignore[operator]
        self._known[fx.name] = found
        return found

    def replace(self, old: FxNode, new: FxNode) -> None:
        """Let whoever reads one constant from here on read another."""
        self._known[old.name] = self._known[new.name]


def stored_form(constant: Tensor) -> Tensor:
    """Return a constant in a dtype that packages hold, without minus infinity."""
    constant = constant.detach().to(TURNED.get(constant.dtype, constant.dtype))
    if constant.is_floating_point():
        constant = constant.masked_fill(constant == -math.inf, LOWEST)
    return constant.contiguous()


def _is_settled(fx: FxNode) -> bool:
    """Whether an operator does the same each time: no size that follows the batch, nothing random."""
    if (
        not isinstance(fx.target, torch._ops.OpOverload)
        or torch.Tag.nondeterministic_seeded in fx.target.tags
    ):
        return False
    numbers: list[Any] = []
    torch.fx.node.map_aggregate((fx.args, fx.kwargs), numbers.append)
    return not any(isinstance(number, (torch.SymInt, torch.SymFloat, torch.SymBool)) for number in numbers)
