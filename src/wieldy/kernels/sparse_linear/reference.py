"""The slow, obvious version of the sparse linear layer: one output after the other, in float64."""

import numpy as np
from numpy.typing import NDArray

from wieldy.kernels.contract import Contract

CONTRACT = Contract("sparse_linear", "|bias| + sum |v*x|")


def sparse_linear(
    x: NDArray[np.float32],
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    low: float = -np.inf,
    high: float = np.inf,
) -> NDArray[np.float64]:
    """Return clamp(bias + W x, low, high), not rounded to float32.

    Formula::

        out[n, r] = clamp(bias[r] + sum_i values[i, r mod block] * x[n, columns[i]], low, high)

    over the entries i of r's block row. A NaN passes the clamp.

    Args:
        x: (examples, inputs) float32.
        starts: (block rows + 1,) int32; block row k keeps `columns[starts[k]:starts[k + 1]]`, ascending.
        columns: (kept,) int32.
        values: (kept, block) float32.
        bias: (outputs,) float32.
        low, high: of the clamp.

    Returns:
        (examples, outputs) float64.

    Cost: examples * kept * block multiply-adds.

    Example:
        >>> arrays = np.array([0, 1, 2], np.int32), np.array([2, 0], np.int32), np.float32([[5], [-7]])
        >>> x = np.array([[1, 10, 100]], np.float32)
        >>> sparse_linear(x, *arrays, np.ones(2, np.float32), low=0).tolist()
        [[501.0, 0.0]]
    """
    out = np.empty((len(x), len(bias)))
    for row in range(len(bias)):
        block, lane = divmod(row, values.shape[1])
        kept = slice(starts[block], starts[block + 1])
        products = x[:, columns[kept]].astype(np.float64) * values[kept, lane].astype(np.float64)
        out[:, row] = products.sum(axis=1) + bias[row]
    return np.where(np.isnan(out), out, np.clip(out, float(np.float32(low)), float(np.float32(high))))


def error_bound(
    x: NDArray[np.float32],
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return how far each result of a compiled variant may lie from the reference: CONTRACT, elementwise."""
    magnitude = sparse_linear(np.abs(x), starts, columns, np.abs(values), np.abs(bias))
    terms = np.repeat(np.diff(starts), values.shape[1])[: len(bias)].astype(np.int64)
    return CONTRACT.bound(terms, magnitude)
