"""Channels with small filters go first.

Source: Li, Kadav, Durdanovic, Samet, Graf, "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.1.
Score of a channel: the L1 norm (or L2) of the filters that produce it. Ours: per weight (divided by the
number of weights, for L2 under the root), averaged over the layers that a group couples, and divided by the
group's mean, since norms of different layers do not compare.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wieldy.graph.coupling import Group
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import WEIGHTED
from wieldy.methods.contract import MethodConfig
from wieldy.stats.collect import Stats


class MagnitudeConfig(MethodConfig):
    """Settings of magnitude importance."""

    norm: Literal["l1", "l2"] = "l1"


def row_norms(weight: NDArray[np.float64], norm: Literal["l1", "l2"]) -> NDArray[np.float64]:
    """Return the mean absolute value, or the root of the mean square, of each row of (rows, ...).

    Example:
        >>> row_norms(np.array([[3.0, -1.0], [0.0, 2.0]]), "l1").tolist()
        [2.0, 1.0]
    """
    flat = weight.reshape(len(weight), -1)
    return np.asarray(np.abs(flat).mean(axis=1) if norm == "l1" else np.sqrt(np.square(flat).mean(axis=1)))


def score(network: GraphNetwork, group: Group, stats: Stats, config: MagnitudeConfig) -> NDArray[np.float64]:  # noqa: ARG001
    """Return (channels,) importances with mean 1."""
    producers = {next(node.stored()) for node in network.program.nodes if node.op in WEIGHTED}
    found = []
    for (tensor, axis), units in group.members.items():
        if axis == 0 and tensor in producers:
            norms = row_norms(network.tensor(tensor).detach().double().numpy(), config.norm)
            found.append([norms[list(unit)].mean() for unit in units])
    if not found:  # no layer produces it by weights: every channel counts the same
        return np.ones(group.size)
    scores = np.mean(found, axis=0)
    mean = float(scores.mean())
    if mean == 0:
        return np.ones(group.size)
    with np.errstate(invalid="ignore"):  # weights that are not finite stay so, and the planner refuses them
        return np.asarray(scores / mean)
