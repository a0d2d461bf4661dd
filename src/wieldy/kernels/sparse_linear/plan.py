"""From the block rows of a linear layer to what its kernel reads."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.kernels.balance import cuts

TASKS_PER_THREAD = 4
NARROW = 2**16  # inputs whose columns fit two bytes


@dataclass(frozen=True)
class LinearPlan:
    """The constants of linear.h, in the order in which the operation takes them.

    Attributes:
        starts: (row blocks + 1,) int32.
        columns: int32, or two uint16 in each where not `wide`.
        values: (kept * block,) float32.
        bias: (row blocks * block,) float32.
        cuts: int32, row blocks between which the work is about equal.
        wide: whether a column takes four bytes.
    """

    starts: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    bias: NDArray[np.float32]
    cuts: NDArray[np.int32]
    wide: bool

    def constants(self) -> tuple[NDArray[Any], ...]:
        """Return the arrays in order; none is empty."""
        found: tuple[NDArray[Any], ...] = (self.starts, self.columns, self.values, self.bias, self.cuts)
        return tuple(array if array.size else np.zeros(1, array.dtype) for array in found)


def plan_linear(
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    inputs: int,
    threads: int,
) -> LinearPlan:
    """Lay out a linear layer.

    Args:
        starts, columns, values: block rows; values (kept, block) float32.
        bias: (outputs,) float32.
        inputs: features of an example.
        threads: for which the work is cut.
    """
    padded = np.zeros((len(starts) - 1) * values.shape[1], np.float32)
    padded[: len(bias)] = bias
    tasks = threads * TASKS_PER_THREAD if threads > 1 else 1
    narrow = inputs <= NARROW
    if narrow:
        pairs = np.zeros(len(columns) + len(columns) % 2, np.uint16)
        pairs[: len(columns)] = columns
        columns = pairs.view(np.int32)
    return LinearPlan(starts, columns, values.ravel(), padded, cuts(np.diff(starts), tasks), not narrow)
