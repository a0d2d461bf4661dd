"""Structures of a weight: sets of numbers that a smaller dense computation leaves out together.

A weight (outputs, inputs, ...) of a layer with g groups is seen as g parts, (outputs / g, inputs / g, area):
- filters: all that makes one output channel, as many as there are outputs;
- channels: all that reads one input channel, as many as the layer reads;
- columns: all that reads one position of the kernel in one input channel (the shapes of SSL);
- layer: everything.
"""

from math import prod
from typing import Literal

import torch
from torch import Tensor

Structure = Literal["filters", "channels", "columns", "layer"]
SUMMED: dict[str, tuple[int, ...]] = {  # axes of (groups, outputs / groups, inputs / groups, area)
    "filters": (2, 3),
    "channels": (1, 3),
    "columns": (1,),
    "layer": (0, 1, 2, 3),
}


def by_group(weight: Tensor, groups: int = 1) -> Tensor:
    """View (outputs, inputs / groups, ...) as (groups, outputs / groups, inputs / groups, area)."""
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


def norms(weight: Tensor, structure: Structure, groups: int = 1, order: int = 2) -> Tensor:
    """Return (structures,) norms of that order, in the order of output channels, input channels or columns.

    Example:
        >>> weight = torch.tensor([[3.0, 0.0], [4.0, 1.0]])
        >>> norms(weight, "channels").tolist(), norms(weight, "filters", order=1).tolist()
        ([5.0, 1.0], [3.0, 5.0])
    """
    found: Tensor = torch.linalg.vector_norm(by_group(weight, groups), ord=order, dim=SUMMED[structure])
    return found.reshape(-1)


def spread(values: Tensor, weight: Tensor, structure: Structure, groups: int = 1) -> Tensor:
    """Return a tensor of the weight's shape that holds, for each of its numbers, its structure's value.

    Example:
        >>> spread(torch.tensor([1.0, 2.0]), torch.zeros(3, 2), "channels").tolist()
        [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    """
    shape = by_group(weight, groups).shape
    kept = [1 if axis in SUMMED[structure] else size for axis, size in enumerate(shape)]
    return values.reshape(kept).expand(shape).reshape(weight.shape)


def size_of(weight: Tensor, structure: Structure, groups: int = 1) -> int:
    """Return how many numbers each structure has.

    Example:
        >>> size_of(torch.zeros(8, 4, 3, 3), "columns"), size_of(torch.zeros(8, 4, 3, 3), "filters")
        (8, 36)
    """
    shape = by_group(weight, groups).shape
    return prod(shape[axis] for axis in SUMMED[structure])
