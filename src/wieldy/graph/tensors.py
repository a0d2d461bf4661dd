"""Batches of arrays as tensors, and what networks yield as tuples."""

import numpy as np
import torch
from torch import Tensor

from wieldy.core.data import Rows, each

Values = Tensor | tuple[Tensor, ...]


def tensors(rows: Rows) -> tuple[Tensor, ...]:
    """Return a batch as tensors, one for each input."""
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in each(rows))


def alone(values: tuple[Tensor, ...]) -> Values:
    """Return a tuple of one as what it holds."""
    return values[0] if len(values) == 1 else values


def all_of(values: Values) -> tuple[Tensor, ...]:
    """Return what a network yields as a tuple."""
    return values if isinstance(values, tuple) else (values,)


def as_rows(values: Values) -> Rows:
    """Return what a network yields as numpy."""
    arrays = tuple(value.detach().numpy() for value in all_of(values))
    return arrays[0] if isinstance(values, Tensor) else arrays
