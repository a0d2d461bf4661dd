"""How many numbers of a rounded network lie beyond the ranges that were chosen, and so saturate."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from wieldy.core import lock
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import FAKE_QUANTIZE
from wieldy.graph.program import Node
from wieldy.graph.tensors import tensors
from wieldy.stats.modes import evaluating


@torch.no_grad()
def saturated_shares(
    network: GraphNetwork, batches: Iterable[tuple[NDArray[np.generic], ...]]
) -> dict[str, float]:
    """Return, for each value that is rounded, the share of its numbers that a level cannot stand for.

    A number saturates where it lies more than half a level beyond the least or the largest.

    Args:
        network: that `quantize` returned; not altered.
        batches: of inputs, each a tuple.

    Cost: one forward pass.
    """
    roundings = {next(node.refs()): node for node in network.program.nodes if node.op == FAKE_QUANTIZE}
    inputs = list(network.program.inputs)
    outside, total = dict.fromkeys(roundings, 0), dict.fromkeys(roundings, 0)
    with lock.working(), evaluating(network):
        seen = network.watch([name for name in roundings if name not in inputs])
        for batch in batches:
            given = tensors(batch)
            network(*given)
            values = dict(zip(inputs, given, strict=True)) | dict(seen)
            for name, node in roundings.items():
                outside[name] += _outside(values[name], node)
                total[name] += values[name].numel()
        network.watch(())
    return {name: outside[name] / max(1, total[name]) for name in roundings}


def _outside(value: torch.Tensor, node: Node) -> int:
    scale, zero, least, largest = (
        float(number)
        for number in (node.inputs[name] for name in ("scale", "zero_point", "quant_min", "quant_max"))
        if isinstance(number, (int, float))
    )
    level = torch.round(value.double() / scale) + zero
    return int(((level < least) | (level > largest)).sum())
