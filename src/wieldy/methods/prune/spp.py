"""Groups of weights go by chance while the network trains, and one that proves important comes back.

Source: Wang, Zhang, Wang, Hu, "Structured Probabilistic Pruning for Convolutional Neural Network
Acceleration", BMVC 2018 (arXiv 1709.06994). Each group (a column of a layer's matrix, or a filter) has a
probability p of being pruned. In every training step a group is left out with that chance, whole; every few
steps all p move by their group's rank r of importance, 0 the least, with q groups still to go:

    alpha = ln(2 / u) / q,  N = -ln(u) / alpha,
    change(r) = A exp(-alpha r)                      for r <= N,
                2 u A - A exp(-alpha (2 N - r))      beyond,

so change(0) = A, change(N) = u A, and change(q) = 0: those below q drift towards 1, the others towards 0. A
group whose p is 1 is gone for good; when a layer has lost its share, p of all others is 0. Importance is the
mean, over all updates, of the rank by L1 norm. That, and q as what is *left* to remove with ranks among those
that are left, follow the authors' code: with all groups counted every time, the last ones hardly move.

Ours: no p falls by more than A at once (beyond r = 2 N the formula grows without end). A group that is left
out keeps its weights bit by bit: its gradient is zero, and what momentum or decay make of it is put back. A
filter goes with all that makes its channel (graph/bundles.py), and the running statistics of batch norms do
not see the steps in which it was left out. `finish` removes by p what training had no time for, and the
records count it. Where no interval is set, updates are spread so that training has time for them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from wieldy.core import rng
from wieldy.core.errors import DataError
from wieldy.core.records import Change, Refused
from wieldy.graph.bundles import Bundle, Member, filters_of
from wieldy.graph.fold import NORM
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.program import Stored
from wieldy.graph.structures import norms, spread
from wieldy.methods.contract import Hook, MethodConfig, Step
from wieldy.methods.prune.zeros import columns_that_may_go, counts, weighted

NAME = "spp"
ALONE = "it has one group, which must stay"
ACTIVE = 0.6  # share of training by whose end the groups are to be gone, if ranks hold still
ALMOST = 1 - 1e-9  # p that is 1 but for rounding


class SppConfig(MethodConfig):
    """What goes together, how much of it, and how fast probabilities move."""

    structure: Literal["columns", "filters"] = "columns"
    ratio: float = Field(default=0.5, gt=0, lt=1)  # share of each layer's groups that goes, rounded up
    rise: float = Field(default=0.05, ge=0.001, le=1)  # A: the most by which a probability moves at once
    bend: float = Field(default=0.25, gt=0, lt=1)  # u: share of A at which the curve turns
    interval: int | None = Field(default=None, ge=1)  # steps between updates; None: by the length of training


@dataclass(frozen=True)
class Chances:
    """Where the groups of one layer stand: (groups,) each.

    Attributes:
        pruned: probability of being left out; 1: gone for good.
        ranks: sums of ranks over all updates.
        to_go: how many groups are still to be removed.
    """

    pruned: Tensor
    ranks: Tensor
    to_go: int


def quota_of(groups: int, ratio: float) -> int:
    """Return how many of a layer's groups go: the ratio, rounded up; one always stays.

    Example:
        >>> quota_of(25, 0.5), quota_of(10, 0.7), quota_of(3, 0.9)
        (13, 7, 2)
    """
    return min(math.ceil(ratio * groups - 1e-9), groups - 1)


def changes(ranks: Tensor, quota: int, rise: float, bend: float) -> Tensor:
    """Return by how much probabilities move: `rise` at rank 0, zero at rank `quota`, never below -`rise`.

    Example:
        >>> changes(torch.tensor([0.0, 4.0, 9.0]), 4, 0.05, 0.25).round(decimals=12).tolist()
        [0.05, 0.0, -0.05]
    """
    ranks = ranks.double()
    slope = math.log(2 / bend) / quota
    turn = -math.log(bend) / slope
    before = rise * torch.exp(-slope * ranks)
    after = 2 * bend * rise - rise * torch.exp((slope * (ranks - 2 * turn)).clamp(max=math.log(1 + 2 * bend)))
    return torch.where(ranks <= turn, before, after)


def positions(values: Tensor) -> Tensor:
    """Return the rank of each value, 0 the smallest; ties go by position.

    Example:
        >>> positions(torch.tensor([0.3, 0.1, 0.2])).tolist()
        [2, 0, 1]
    """
    return values.argsort(stable=True).argsort()


def advanced(chances: Chances, sizes: Tensor, rise: float, bend: float) -> Chances:
    """Return the chances after one update by the groups' L1 norms; groups that are gone are not ranked."""
    if chances.to_go == 0:
        return chances
    left = chances.pruned < 1
    sums, pruned = chances.ranks.clone(), chances.pruned.clone()
    sums[left] += positions(sizes[left]).double()
    order = positions(sums[left])  # all that are left were ranked equally often: sums compare as means
    moved = (pruned[left] + changes(order, chances.to_go, rise, bend)).clamp(min=0)
    pruned[left] = torch.where(moved >= ALMOST, 1.0, moved)
    return settled(Chances(pruned, sums, chances.to_go), left, pruned == 1)


def settled(chances: Chances, left: Tensor, goes: Tensor) -> Chances:
    """Remove the groups of `left` that shall go, lowest mean rank first, and none beyond what is to go."""
    candidates = torch.where(left & goes, chances.ranks, math.inf)
    gone = torch.zeros_like(left)
    gone[candidates.argsort(stable=True)[: min(chances.to_go, int((left & goes).sum()))]] = True
    to_go = chances.to_go - int(gone.sum())
    pruned = torch.where(left & ~gone, chances.pruned if to_go else 0.0, 1.0)
    return replace(chances, pruned=pruned, to_go=to_go)


def forced(chances: Chances) -> Chances:
    """Return the chances after the removal of all that is still to go: highest p, then lowest mean rank."""
    left = chances.pruned < 1
    order = sorted(
        left.nonzero().flatten().tolist(),
        key=lambda group: (-float(chances.pruned[group]), float(chances.ranks[group])),
    )
    goes = torch.zeros_like(left)
    goes[order[: chances.to_go]] = True
    return settled(chances, left, goes)


def unmoved(groups: int, quota: int) -> Chances:
    """Return the chances at the start: no group is ever left out.

    Example:
        >>> unmoved(2, 1).pruned.tolist()
        [0.0, 0.0]
    """
    zeros = torch.zeros(groups, dtype=torch.float64)
    return Chances(zeros, zeros, quota)


@cache
def updates_needed(groups: int, config: SppConfig) -> int:
    """Return after how many updates a layer's share is gone where ranks never change.

    Example:
        >>> updates_needed(100, SppConfig(ratio=0.5))
        110
    """
    chances, values, count = unmoved(groups, quota_of(groups, config.ratio)), torch.arange(groups), 0
    while chances.to_go:
        chances, count = advanced(chances, values, config.rise, config.bend), count + 1
    return count


def interval_of(needed: int, total: int) -> float:
    """Return how many steps lie between updates so that `needed` of them take `ACTIVE` of `total` steps.

    Never less than one. The rest of training is for ranks that change, and for what remains to learn on.

    Example:
        >>> [interval_of(110, total) for total in (100, 11_000)]
        [1.0, 60.0]
    """
    return max(1.0, ACTIVE * total / needed)


def bundles_of(
    network: GraphNetwork, structure: Literal["columns", "filters"], layers: Sequence[str] | None
) -> tuple[dict[str, Bundle], dict[str, str]]:
    """Return the sets of groups by name, and why layers that were asked for are left alone."""
    if structure == "filters":
        layers = network.program.weighted_layers() if layers is None else layers
        found, refused = filters_of(network.program, layers)
    else:
        found, refused = columns_that_may_go(network, layers, NAME)
    refused |= {layer: ALONE for bundle in found if bundle.count == 1 for layer in bundle.layers}
    bundles: dict[str, Bundle] = {}
    for bundle in found:
        if bundle.count > 1:
            first = bundle.layers[0]
            bundles[first if first not in bundles else f"{first}#{len(bundles)}"] = bundle
    return bundles, refused


def importance(network: GraphNetwork, bundle: Bundle) -> Tensor:
    """Return (groups,) L1 norms of the groups' weights; biases and norms do not count.

    Raises:
        DataError: a weight is NaN or infinite.
    """
    total = torch.zeros(bundle.count + 1, dtype=torch.float64)
    for member in bundle.members:
        values = network.tensor(member.tensor).detach()
        if not values.isfinite().all():
            raise DataError(f"spp: {member.tensor} holds NaN or infinity. Check the weights.")
        if values.ndim > 1:
            found = norms(values.double(), member.structure, member.conv_groups, order=1)
            total.index_add_(0, member.group, found)
    return total[:-1]


def belonging(member: Member, groups: Tensor, values: Tensor) -> Tensor:
    """Map (groups,) to which numbers of one of their tensors belong to them."""
    mine = torch.cat([groups, groups.new_zeros(1)])[member.group]
    return mine if values.ndim == 1 else spread(mine, values, member.structure, member.conv_groups)


def statistics_of(network: GraphNetwork, bundle: Bundle) -> list[Member]:
    """Return the running statistics of the batch norms that a bundle's channels pass."""
    members = {member.tensor: member for member in bundle.members}
    found = []
    for node in network.program.nodes:
        scale = node.inputs.get("weight")
        if node.op == NORM and isinstance(scale, Stored) and scale.name in members:
            of = (node.inputs["running_mean"], node.inputs["running_var"])
            found += [replace(members[scale.name], tensor=s.name) for s in of if isinstance(s, Stored)]
    return found


class Spp(Hook):
    """Leaves groups of weights out at random while the network trains, until a share of them is gone.

    Args:
        config: what goes together, and how much of it.
        layers: which layers lose groups. Default: columns of all that zeros can make faster, so neither of
            the first nor of depthwise ones; filters of all but those whose outputs are the network's.

    Raises:
        ConfigError: from `attach`: the network is not traced, or lacks a layer.
        DataError: from `attach` or an update: a weight is NaN or infinite.

    Cost: a copy of the weights in every step in which a group may be left out.

    Source: Wang et al., BMVC 2018.

    Attributes:
        chances: after `attach`, where the groups stand, by layer, or by the name of tied filters.
    """

    def __init__(self, config: SppConfig | None = None, layers: Sequence[str] | None = None) -> None:
        self.config = config or SppConfig()
        self.layers = layers
        self.chances: dict[str, Chances] = {}
        self._bundles: dict[str, Bundle] = {}
        self._statistics: dict[str, list[Member]] = {}
        self._refused: list[Refused] = []
        self._draws: dict[str, torch.Generator] = {}
        self._saved: dict[str, Tensor] = {}
        self._left_out: list[tuple[str, Tensor]] = []
        self._before: dict[str, dict[str, int]] = {}
        self._after: dict[str, dict[str, int]] = {}

    def attach(self, network: nn.Module) -> None:
        """Find the groups; those that are zero already count as gone."""
        traced = need_traced(network, type(self).__name__)
        weighted(traced, self.layers or (), NAME)  # refuses a layer that is not there
        self._bundles, refused = bundles_of(traced, self.config.structure, self.layers)
        self._statistics = {name: statistics_of(traced, of) for name, of in self._bundles.items()}
        self._refused = [
            Refused(layer=layer, method=NAME, reason=reason) for layer, reason in refused.items()
        ]
        self._saved, self._left_out = {}, []
        self.chances, self._draws, self._after = {}, {}, {}
        for name, bundle in self._bundles.items():
            sizes = importance(traced, bundle)
            start = unmoved(bundle.count, quota_of(bundle.count, self.config.ratio))
            self.chances[name] = settled(start, sizes >= 0, sizes == 0)
            seed = rng.derive(self.config.seed, NAME, name)
            self._draws[name] = torch.Generator().manual_seed(seed)
        self._before = self._facts(traced)

    @torch.no_grad()
    def before_forward(self, network: nn.Module) -> None:
        """Draw which groups are left out of this step, and set them to zero."""
        traced = need_traced(network, type(self).__name__)
        self._put_back(traced)
        for name, bundle in self._bundles.items():
            pruned = self.chances[name].pruned
            out = torch.rand(len(pruned), generator=self._draws[name], dtype=torch.float64) < pruned
            if out.any():
                self._zero(traced, name)  # whoever wrote there in the meantime
                for member in (*bundle.members, *self._statistics[name]):
                    chosen = belonging(member, out, traced.tensor(member.tensor))
                    self._left_out.append((member.tensor, chosen))
        self._saved = {tensor: traced.tensor(tensor).detach().clone() for tensor, _ in self._left_out}
        for tensor, chosen in self._left_out:
            if traced.program.tensors[tensor].learned:
                traced.tensor(tensor).masked_fill_(chosen, 0.0)

    @torch.no_grad()
    def after_backward(self, step: Step) -> None:
        """Let nothing that is left out learn."""
        network = need_traced(step.network, type(self).__name__)
        for tensor, chosen in self._left_out:
            gradient = network.tensor(tensor).grad
            if gradient is not None:
                gradient.masked_fill_(chosen, 0.0)

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Put back what was left out, bit by bit, and move the probabilities if it is time."""
        network = need_traced(step.network, type(self).__name__)
        self._put_back(network)
        still = [name for name, chances in self.chances.items() if chances.to_go]
        if still and self._is_time(step):
            for name in still:
                sizes = importance(network, self._bundles[name])
                self.chances[name] = self.moved(self.chances[name], sizes)
                self._zero(network, name)

    def moved(self, chances: Chances, sizes: Tensor) -> Chances:
        """Return the chances after one update; the mechanism of the method."""
        return advanced(chances, sizes, self.config.rise, self.config.bend)

    @torch.no_grad()
    def finish(self, network: nn.Module) -> None:
        """Remove what training had no time for, and leave all else as it is."""
        traced = need_traced(network, type(self).__name__)
        self._put_back(traced)
        late = {name: chances.to_go for name, chances in self.chances.items()}
        for name in self._bundles:
            self.chances[name] = forced(self.chances[name])
            self._zero(traced, name)
        self._after = self._facts(traced)
        for name, bundle in self._bundles.items():
            for layer in bundle.layers:
                self._after[layer][f"forced_{self.config.structure}"] += late[name]

    def records(self) -> Iterator[Change | Refused]:
        """Yield what each layer lost, and how much of that the end of training forced."""
        yield from self._refused
        for layer, after in self._after.items():
            before, seed = self._before[layer], self.config.seed
            yield Change(layer=layer, method=NAME, before=before, after=after, seed=seed)

    def _is_time(self, step: Step) -> bool:
        interval: float | None = self.config.interval
        if interval is None:
            sizes = {bundle.count for bundle in self._bundles.values()}
            interval = interval_of(max(updates_needed(size, self.config) for size in sizes), step.total)
        return (step.index + 1) // interval > step.index // interval

    def _facts(self, network: GraphNetwork) -> dict[str, dict[str, int]]:
        """What each layer holds: its weights, and the groups that are not gone."""
        structure = self.config.structure
        nodes = weighted(network, network.program.weighted_layers(), NAME)
        weights = {node.layer: network.tensor(node.weight) for node in nodes}
        facts: dict[str, dict[str, int]] = {}
        for name, bundle in self._bundles.items():
            kept = int((self.chances[name].pruned < 1).sum())
            for layer in bundle.layers:
                start = counts(weights[layer]) | {structure: 0, f"forced_{structure}": 0}
                facts.setdefault(layer, start)[structure] += kept
        return facts

    def _zero(self, network: GraphNetwork, name: str) -> None:
        """Set what is gone for good to zero."""
        for member in self._bundles[name].members:
            values = network.tensor(member.tensor)
            values.masked_fill_(belonging(member, self.chances[name].pruned == 1, values), 0.0)

    def _put_back(self, network: GraphNetwork) -> None:
        for tensor, chosen in self._left_out:
            values = network.tensor(tensor)
            values.copy_(torch.where(chosen, self._saved[tensor], values))
        self._saved, self._left_out = {}, []
