"""Sharing rows among tasks so that each has about the same work."""

import numpy as np
from numpy.typing import NDArray

ROW_COST = 4  # entries: what starting and storing a row costs


def cuts(lengths: NDArray[np.int32], tasks: int) -> NDArray[np.int32]:
    """Return `tasks + 1` row numbers, ascending from 0 to all, between which the work is about equal.

    Args:
        lengths: (rows,) entries of each row; a row costs its entries and a store.
        tasks: at least 1.

    Example:
        >>> cuts(np.array([10, 10, 0, 0, 20]), 2).tolist()
        [0, 2, 5]
    """
    work = np.cumsum(lengths + ROW_COST)
    inner = np.searchsorted(work, work[-1] * np.arange(1, tasks) / tasks)
    return np.concatenate([[0], inner, [len(lengths)]]).astype(np.int32)
