"""Channels whose removal changes the loss least, to first order, go first.

Source: Molchanov, Mallya, Tyree, Frosio, Kautz, "Importance Estimation for Neural Network Pruning",
CVPR 2019, equation 8: importance = mean over batches of (sum over the structure's parameters of
gradient * weight)^2.

The structure is taken where the channel is read: the input columns of every layer that reads it. There the
sum of gradient * weight is exactly the first-order change of the loss when the channel is cut off. Taken
where the channel is produced, a norm layer in training mode would make the sum vanish (its output ignores
the filter's scale). Scores are changes of one loss, so they compare across groups as they are.
"""

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import ConfigError
from wieldy.graph.coupling import Group
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import MethodConfig
from wieldy.stats.collect import Stats


class TaylorConfig(MethodConfig):
    """Settings of first-order importance: none beside the seed."""


def mean_square(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map (batches, channels) first-order changes to (channels,) importances.

    Example:
        >>> mean_square(np.array([[1.0, 0.0], [-1.0, 2.0]])).tolist()
        [1.0, 2.0]
    """
    return np.asarray(np.square(sums).mean(axis=0))


def score(network: GraphNetwork, group: Group, stats: Stats, config: TaylorConfig) -> NDArray[np.float64]:  # noqa: ARG001
    """Return (channels,) squared first-order changes of the loss."""
    total: NDArray[np.float64] | None = None
    for (tensor, axis), units in group.members.items():
        if axis == 1 and tensor in stats.products:
            products = stats.products[tensor]
            sums = np.stack([products[:, list(unit)].sum(axis=1) for unit in units], axis=1)
            total = sums if total is None else total + sums
    if total is None:
        raise ConfigError(
            f"taylor: no layer that reads group {group.name!r} was collected. Run wieldy.collect on this "
            "network, or keep the group."
        )
    return mean_square(total)
