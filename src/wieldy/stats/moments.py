"""Moments of what layers read: E[x x^T] and E[x] over all examples and positions, summed in float64."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wieldy.core import lock
from wieldy.core.errors import DataError
from wieldy.core.progress import Progress, Silent
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import CONV1D, LINEAR
from wieldy.graph.program import Node
from wieldy.graph.tensors import tensors
from wieldy.stats.modes import evaluating


@dataclass
class SecondMoment:
    """The means of x x^T and of x over rows x.

    Example:
        >>> moment = SecondMoment(2)
        >>> moment.update(np.array([[1.0, 0.0], [1.0, 2.0]]))
        >>> moment.mean.tolist()
        [[1.0, 1.0], [1.0, 2.0]]
    """

    width: int
    rows: int = 0

    def __post_init__(self) -> None:
        self._sum = np.zeros((self.width, self.width))
        self._first = np.zeros(self.width)

    def update(self, rows: NDArray[np.floating]) -> None:
        """Add rows, (n, width)."""
        wide = rows.astype(np.float64)
        self._sum += wide.T @ wide
        self._first += wide.sum(axis=0)
        self.rows += len(rows)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(width, width), symmetric and positive semi-definite."""
        return self._sum / max(1, self.rows)

    @property
    def first(self) -> NDArray[np.float64]:
        """(width,), the mean of x itself."""
        return self._first / max(1, self.rows)


Moments = dict[str, SecondMoment]


def patches(node: Node, weight: Tensor, x: Tensor) -> Tensor:
    """Return what each output of a layer is a product with: (n, inputs * kernel area), channels outermost.

    Linear layers and convolutions without groups.
    """
    if node.op == LINEAR:
        return x.reshape(-1, x.shape[-1])
    stride, padding, dilation = (node.inputs[name] for name in ("stride", "padding", "dilation"))
    kernel = tuple(weight.shape[2:])
    if node.op == CONV1D:  # over pictures of height one
        x, kernel = x.unsqueeze(2), (1, *kernel)
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)  # type: ignore[misc]
    columns = F.unfold(x, kernel, dilation, padding, stride)  # type: ignore[arg-type]
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])


def collect_moments(
    network: GraphNetwork,
    batches: Iterable[tuple[NDArray[np.generic], ...]],
    layers: Sequence[str],
    *,
    progress: Progress | None = None,
) -> Moments:
    """Run over examples once for each layer, in evaluation mode: one layer's moments are built at a time.

    Args:
        network: not altered.
        batches: the same tuples of inputs each time it is iterated.
        layers: linear layers, and convolutions without groups, by their names.

    Raises:
        DataError: there are no examples.

    Cost: one forward pass over the examples, and (inputs * kernel area)^2 float64 for each layer.
    """
    nodes = {node.layer: node for node in network.program.nodes if node.layer in layers}
    sources = {layer: next(node.refs()) for layer, node in nodes.items()}
    inputs = list(network.program.inputs)
    held = [tensors(batch) for batch in batches]
    if not held:
        raise DataError("moments: there are no examples; at least one is needed.")
    found: Moments = {}
    with (
        lock.working(),
        evaluating(network),
        torch.no_grad(),
        (progress or Silent()).task("collecting second moments", len(held)) as task,
    ):
        seen = network.watch([name for name in sources.values() if name not in inputs])
        for batch in held:
            network(*batch)
            values = dict(zip(inputs, batch, strict=True)) | dict(seen)
            for layer, node in nodes.items():
                rows = patches(node, network.tensor(next(node.stored())), values[sources[layer]]).numpy()
                found.setdefault(layer, SecondMoment(rows.shape[1])).update(rows)
            task.advance(1)
        network.watch(())
    return found
