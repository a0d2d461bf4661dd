"""Products of weights and gradients, batch by batch: what first-order importance is made of."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wieldy.core import lock, rng
from wieldy.core.data import Data, count, part
from wieldy.core.errors import ConfigError
from wieldy.core.progress import Progress, Silent
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.tensors import alone, tensors
from wieldy.stats.loss import check_outputs, loss_of
from wieldy.stats.modes import evaluating
from wieldy.stats.moments import Moments
from wieldy.stats.ranges import Ranges


@dataclass
class Stats:
    """Statistics of a network on a few examples.

    Attributes:
        products: for each weight of a convolution or linear layer, (batches, columns) float64: the sum over
            everything but the input channel of weight times gradient of the mean loss.
        examples: how many examples they come from.
        ranges: where the numbers of values lie; see `collect_ranges`.
        moments: of what layers read; see `collect_moments`.
    """

    products: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    examples: int = 0
    ranges: Ranges = field(default_factory=dict)
    moments: Moments = field(default_factory=dict)


def collect(
    network: GraphNetwork,
    data: Data,
    *,
    examples: int = 1024,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> Stats:
    """Run forward and backward over some training examples, in evaluation mode, and keep small sums.

    Args:
        network: not altered; gradients that it holds are left alone.
        data: examples are drawn from `train`, in an order that `seed` fixes.
        examples: how many to use, at most.

    Returns:
        Stats with batches x input channels numbers for each layer.

    Raises:
        DataError: labels that the network has no output for.
        ConfigError: targets are no labels and the metric has no loss.

    Cost: one forward and backward pass over `examples`.
    """
    weights = {name: network.tensor(name) for node in network.program.nodes if node.op in WEIGHTED
               for name in [next(node.stored())]}  # fmt: skip
    sums: dict[str, list[NDArray[np.float64]]] = {name: [] for name in weights}
    loss_from = loss_of(data.metric)
    if loss_from is None:
        raise ConfigError(
            f"collect: the metric {data.metric.name!r} has no loss whose gradients could be taken. Give it "
            "one: Metric(..., loss=...), or choose a method that needs none: method: {name: magnitude}."
        )
    seen, total = 0, min(examples, data.train.size)
    order = rng.generator(seed, "stats", "order")
    with (
        lock.working(),
        evaluating(network),
        _asking_for_gradients(weights.values()),
        (progress or Silent()).task("collecting statistics", total) as task,
    ):
        for inputs, targets in data.train.batches(batch_size, order):
            x, y = (part(rows, slice(total - seen)) for rows in (inputs, targets))
            outputs = network(*tensors(x))
            check_outputs(outputs, data.train.labels, "train")
            loss = loss_from(outputs, alone(tensors(y)))
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                product = weight.detach() * (0.0 if gradient is None else gradient)
                sums[name].append(_per_column(product))
            seen += count(x)
            task.advance(count(x))
            if seen >= total:
                break
    return Stats({name: np.stack(found) for name, found in sums.items()}, seen)


@contextmanager
def _asking_for_gradients(weights: Collection[Tensor]) -> Iterator[None]:
    """Let frozen weights ask for gradients for a while: what is not trained can still be removed."""
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_()
    try:
        with torch.enable_grad():
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


def _per_column(product: Tensor) -> NDArray[np.float64]:
    """Sum (rows, columns, ...) over everything but columns."""
    axes = [axis for axis in range(product.ndim) if axis != 1]
    return product.double().sum(dim=axes).numpy()
