"""Several methods on one network, in order: channels go, layers become two, weights become zero, bits go."""

import copy
from collections import defaultdict
from typing import Literal

from pydantic import Field

from wieldy.compress.apply import apply_plan
from wieldy.compress.factor import factor
from wieldy.core.config import Frozen
from wieldy.core.records import Change, Plan, Refused
from wieldy.formats.level_blocks import INPUTS
from wieldy.graph.network import GraphNetwork
from wieldy.methods.factor.svd import SvdConfig
from wieldy.methods.prune.zeros import ZerosConfig, weighted
from wieldy.methods.prune.zeros import apply as set_to_zero
from wieldy.stats.collect import Stats
from wieldy.train.mask import Mask

Kind = Literal["channels", "rank", "zeros", "blocks"]
KINDS: tuple[Kind, ...] = ("channels", "rank", "zeros", "blocks")
ONLY_IN_FLOATS, ONLY_IN_LEVELS = "zeros", "blocks"  # what each precision has kernels for
BLOCK = 1  # weights that become zero do so each for itself, or in eight bits four inputs together


class Mix(Frozen):
    """What is done to a network.

    Attributes:
        remove: the units of each group that go.
        ranks: the share of its numbers that a layer's two factors have.
        zeros: the share of a layer's weights that become zero; such a layer computes in float32.
        blocks: the share of a layer's blocks of four input channels that become zero, for eight bits.
        in_levels: whether what is left computes in eight bits.
    """

    remove: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    ranks: dict[str, float] = Field(default_factory=dict)
    zeros: dict[str, float] = Field(default_factory=dict)
    blocks: dict[str, float] = Field(default_factory=dict)
    in_levels: bool = False

    @property
    def thins(self) -> bool:
        """Whether anything is taken from the network, so that there is something to learn again."""
        return bool(self.remove or self.ranks or self.zeros or self.blocks)

    def __str__(self) -> str:
        parts = []
        if self.remove:
            parts.append(f"{sum(map(len, self.remove.values()))} channels less in {len(self.remove)} groups")
        if self.ranks:
            parts.append(f"{len(self.ranks)} layers as two")
        if self.zeros:
            parts.append(f"{_range(self.zeros)} zeros in {len(self.zeros)} layers")
        if self.blocks:
            parts.append(f"{_range(self.blocks)} zeros in blocks of four inputs in {len(self.blocks)} layers")
        if self.in_levels:
            parts.append("eight bits")
        return ", ".join(parts) or "nothing"


def _range(shares: dict[str, float]) -> str:
    low, high = min(shares.values()), max(shares.values())
    return f"{high:.0%}" if low == high else f"{low:.0%} to {high:.0%}"


def thinned(
    network: GraphNetwork, mix: Mix, stats: Stats
) -> tuple[GraphNetwork, tuple[Change | Refused, ...]]:
    """Return a copy with fewer channels and with layers as two, and what became of the latter.

    Args:
        network: that the mix was made for; not altered.
        mix: what to do.
        stats: second moments of what the layers read that become two, as the original computes them.
    """
    small = apply_plan(network, Plan(method={}, remove=mix.remove))
    records: tuple[Change | Refused, ...] = ()
    for layer, share in mix.ranks.items():
        known = stats.moments.get(layer)
        columns = small.tensor(next(iter(weighted(small, [layer]))).weight)[0].numel()
        fits = known is not None and known.width == columns  # fewer channels have other moments
        config = SvdConfig(share=share, weighted=fits, max_loss=1.0)
        small, of_layer = factor(small, stats if fits else Stats(), config, [layer])
        records += of_layer
    return small, records


def zeroed(network: GraphNetwork, mix: Mix) -> GraphNetwork:
    """Return a copy in which the mix's zeros have come at once."""
    small = copy.deepcopy(network)
    for config, layers in _by_config(mix).items():
        list(set_to_zero(small, layers, Stats(), config))
    return small


def masks(mix: Mix) -> list[Mask]:
    """Return the hooks by which the mix's zeros come while a network trains, and stay."""
    return [Mask(layers, config) for config, layers in _by_config(mix).items()]


def _by_config(mix: Mix) -> dict[ZerosConfig, tuple[str, ...]]:
    found: dict[ZerosConfig, list[str]] = defaultdict(list)
    for shares, inputs in ((mix.zeros, 1), (mix.blocks, INPUTS)):
        for layer, sparsity in shares.items():
            found[ZerosConfig(sparsity=sparsity, block=BLOCK, inputs=inputs)].append(layer)
    return {config: tuple(layers) for config, layers in found.items()}
