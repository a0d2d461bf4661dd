"""How many numbers of a rounded network lie beyond the ranges that were chosen, and so saturate."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from wieldy.core import lock
from wieldy.graph.fake_quantize import Levels, levels_of, roundings
from wieldy.graph.network import GraphNetwork
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
    known = {next(node.refs()): levels_of(node) for node in roundings(network.program)}
    inputs = list(network.program.inputs)
    outside, total = dict.fromkeys(known, 0), dict.fromkeys(known, 0)
    with lock.working(), evaluating(network):
        seen = network.watch([name for name in known if name not in inputs])
        for batch in batches:
            given = tensors(batch)
            network(*given)
            values = dict(zip(inputs, given, strict=True)) | dict(seen)
            for name, levels in known.items():
                outside[name] += _outside(values[name], levels)
                total[name] += values[name].numel()
        network.watch(())
    return {name: outside[name] / max(1, total[name]) for name in known}


def _outside(value: torch.Tensor, levels: Levels) -> int:
    level = torch.round(value.double() / levels.scale) + levels.zero_point
    return int(((level < levels.least) | (level > levels.largest)).sum())
