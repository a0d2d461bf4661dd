"""Low rank: layers of a copy replaced by two thinner ones each."""

import copy
from collections.abc import Sequence

from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.methods.factor import svd
from wieldy.stats.collect import Stats


def factor(
    network: GraphNetwork, stats: Stats, config: svd.SvdConfig, layers: Sequence[str] | None = None
) -> tuple[GraphNetwork, tuple[Change | Refused, ...]]:
    """Return a network with layers factored, and what became of each.

    Args:
        network: traced; not altered.
        stats: second moments of what the layers read, where `config` weighs by them.
        config: how thin.
        layers: by name; default: all with weights.

    Raises:
        ConfigError: moments are asked for and missing.

    Cost: a copy of the weights, and one decomposition for each layer.
    """
    small = copy.deepcopy(need_traced(network, "factor"))
    scope = small.program.weighted_layers() if layers is None else layers
    return small, tuple(svd.apply(small, scope, stats, config))
