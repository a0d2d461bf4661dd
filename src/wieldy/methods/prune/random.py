"""Channels at random: the baseline that every importance has to beat.

Source: none needed. Score: uniform on (0, 1], drawn anew for each group from the seed and the group's name.
"""

import numpy as np
from numpy.typing import NDArray

from wieldy.core import rng
from wieldy.graph.coupling import Group
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import MethodConfig
from wieldy.stats.collect import Stats


class RandomConfig(MethodConfig):
    """Settings of random importance: the seed is all of it."""


def score(network: GraphNetwork, group: Group, stats: Stats, config: RandomConfig) -> NDArray[np.float64]:  # noqa: ARG001
    """Return (channels,) numbers in (0, 1]."""
    return 1.0 - rng.generator(config.seed, "random importance", group.name).random(group.size)
