"""Filters or columns shrink to zero along the flat directions of the loss, while training goes on.

What it is: **group-gRDA structured directional pruning**. "Structured Directional Pruning via Perturbation
Orthogonal Projection" (arXiv 2107.05328) asks for the perturbation that kills groups of weights, projected on
the flat valley that SGD ends in. Its solver could not be read, so the one here is ours: the dual averaging of
Chao et al., "Directional Pruning of Deep Neural Networks", NeurIPS 2020 (gRDA), with its soft threshold taken
over groups. With the gradient's own sum a, a_0 = w_0, the rate lr_k of step k, and a group g of p_g numbers,

    a   <- a - lr_k * gradient,
    t_k  = t_(k-1) + c * lr_k^(1/2 + mu) * (k^mu - (k-1)^mu),
    w_g  = a_g * max(0, 1 - t_k * sqrt(p_g) / |a_g|).

With sqrt(p_g) the threshold is one on the root mean square, so groups of different sizes compare. Since t
grows ever more slowly, gradient descent has the time to take back what raises the loss: the displacement from
where SGD alone would be tends to -t P0 u, with u_g = sqrt(p_g) w_g / |w_g| and P0 the projection on the null
space of the Hessian.

Ours besides: the sum follows what the optimiser did (w after its step less w before), which for plain SGD is
-lr * gradient. A threshold stops growing where the wanted share of groups is zero; there is one for every
layer or one for all. Without a `c`, each step has the c by which the threshold, at the rate of now, would get
to the wanted share at `reach` of the training: the rate cancels, and while norms stand still c is constant.
Filters that only go together (a residual stream) are one group; their biases and the scale and shift of their
norms are in it, so that zero means a dead channel.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.graph.bundles import Bundle, filters_of
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.methods.contract import Hook, MethodConfig, Step
from wieldy.methods.prune.zeros import columns_that_may_go, counts, weighted

NAME = "directional"


class DirectionalConfig(MethodConfig):
    """How many groups go, what a group is, and how fast the threshold grows."""

    sparsity: float = Field(default=0.5, ge=0, lt=1)  # share of groups that become zero
    structure: Literal["filters", "columns"] = "filters"
    scope: Literal["layer", "network"] = (
        "layer"  # network: one threshold, and the share is that of all groups
    )
    mu: float = Field(default=0.51, gt=0, lt=1)  # the published range is just above 1/2 to about 0.7
    c: float | None = Field(default=None, gt=0)  # None: chosen at each step, so that `reach` holds
    reach: float = Field(
        default=0.5, gt=0, le=1
    )  # share of training after which `sparsity` is reached, without c


def growth(c: float, rate: float, mu: float, step: int) -> float:
    """Return by how much the threshold grows in `step`, the first of which is 1.

    Example:
        >>> growth(0.5, 1.0, 0.5, 1), round(sum(growth(0.5, 1.0, 0.5, step) for step in range(1, 17)), 9)
        (0.5, 2.0)
    """
    return float(c * rate ** (0.5 + mu) * (step**mu - (step - 1) ** mu))


def share_of_rest(mu: float, step: int, last: int) -> float:
    """Return which share of the way that is left, `step` goes, for the threshold to arrive in step `last`.

    It is `growth` of this step over that of all steps to `last`, for one c and one rate.

    Example:
        >>> share_of_rest(0.5, 1, 16), share_of_rest(0.5, 16, 16), share_of_rest(0.5, 20, 16)
        (0.25, 1.0, 1.0)
    """
    if step >= last:
        return 1.0
    return float((step**mu - (step - 1) ** mu) / (last**mu - (step - 1) ** mu))


def levels(norm: Tensor, sizes: Tensor) -> Tensor:
    """Return the threshold from which on each group is zero: the root mean square of its numbers.

    Args:
        norm: (groups,) Euclidean norms of the accumulated weights.
        sizes: (groups,) how many numbers each has.

    Example:
        >>> levels(torch.tensor([4.0, 3.0]), torch.tensor([4.0, 9.0])).tolist()
        [2.0, 1.0]
    """
    return norm / sizes.sqrt()


def shrinkage(level: Tensor, threshold: float) -> Tensor:
    """Return (groups,) what each group is multiplied by: 1 - threshold / level, and 0 from there on.

    Example:
        >>> shrinkage(torch.tensor([2.0, 1.0, 0.0]), 1.0).tolist()
        [0.5, 0.0, 0.0]
    """
    least = torch.finfo(level.dtype).tiny  # below it a CPU may take a number for zero, and 0 / 0 is none
    return torch.where(level > threshold, 1 - threshold / level.clamp(min=least), 0.0)


def next_threshold(
    threshold: float,
    level: Tensor,
    goal: int,
    config: DirectionalConfig,
    *,
    rate: float,
    step: int,
    last: int,
) -> float:
    """Return the threshold of `step`: it grows while fewer than `goal` groups are zero, and not past that.

    Args:
        threshold: that of the step before.
        level: (groups,) of those that may go.
        goal: how many shall.
        config: c and mu.
        rate: the learning rate of this step.
        step: counted from 1.
        last: the step in which the goal is reached where no c is given.

    Example:
        >>> level = torch.tensor([1.0, 4.0, 9.0])
        >>> next_threshold(0.0, level, 2, DirectionalConfig(mu=0.5), rate=0.1, step=1, last=16)
        1.0
        >>> next_threshold(3.9, level, 2, DirectionalConfig(c=5.0, mu=0.5), rate=1.0, step=1, last=16)
        4.0
        >>> next_threshold(5.0, level, 2, DirectionalConfig(c=5.0), rate=1.0, step=1, last=16)
        5.0
    """
    if int((level <= threshold).sum()) >= goal:
        return threshold
    wanted = float(level.kthvalue(goal).values)
    if config.c is None:
        return threshold + (wanted - threshold) * share_of_rest(config.mu, step, last)
    return min(wanted, threshold + growth(config.c, rate, config.mu, step))


@dataclass
class Pool:
    """Bundles under one threshold."""

    bundles: tuple[Bundle, ...]
    sizes: tuple[Tensor, ...]  # for each bundle, how many numbers its groups have
    goal: int  # how many groups shall be zero
    threshold: float = 0.0

    def levels(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """Return, for each bundle, the thresholds from which on its groups are zero."""
        each = zip(self.bundles, self.sizes, strict=True)
        return [levels(bundle.norms(values), sizes) for bundle, sizes in each]


class Directional(Hook):
    """Shrinks groups of weights while the network trains, until a share of them is exactly zero.

    Needs plain SGD: no momentum, no weight decay. A group that is zero is not gone: if its sum grows again,
    so does it. A filter with a rectifier behind it gets no more gradients, though, and stays zero.

    Args:
        config: how many groups, and how fast.
        layers: whose groups may go. None: all; of columns, those of layers that zeros make faster.

    Raises:
        ConfigError: from `attach`: the network is not traced, lacks a layer, or has nothing that may go.
        DataError: from `attach`: a weight is NaN or infinite.

    Cost: two more copies of what is grouped, and some six passes over it in a step.

    Example:
        >>> from wieldy.graph.trace import trace
        >>> network = trace(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(1, 4))
        >>> hook = Directional(DirectionalConfig(sparsity=0.5, reach=1.0))
        >>> optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        >>> hook.attach(network)
        >>> for index in range(10):
        ...     outputs = network(torch.ones(3, 4))
        ...     optimizer.zero_grad()
        ...     outputs.square().mean().backward()
        ...     step = Step(network, torch.ones(3, 4), outputs, torch.zeros(3, 2), index, 10, 0.1)
        ...     hook.after_backward(step)
        ...     optimizer.step()
        ...     hook.after_step(step)
        >>> hook.finish(network)
        >>> int((network.tensor("0.weight").abs().sum(1) == 0).sum())
        4
    """

    needs: ClassVar[Mapping[str, Any]] = {"momentum": 0.0, "weight_decay": 0.0}
    settling_rate = 0.01  # a tenth, as after other shrinking, of a rate that momentum makes ten times as much

    def __init__(self, config: DirectionalConfig | None = None, layers: Sequence[str] | None = None) -> None:
        self.config = config or DirectionalConfig()
        self.layers = layers
        self._pools: list[Pool] = []
        self._sums: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._refused: dict[str, str] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._found: list[Change] = []

    def attach(self, network: nn.Module) -> None:
        """Find the groups, and begin their sums at the weights as they are."""
        traced = need_traced(network, "Directional")
        found, self._refused = bundles(traced, self.config.structure, self.layers)
        names = [member.tensor for bundle in found for member in bundle.members]
        self._sums = {name: _finite(traced, name) for name in names}
        self._pools = pools(found, self._sums, self.config)
        layers = [layer for bundle in found for layer in bundle.layers]
        self._counts = {layer: counts(_weight(traced, layer)) for layer in layers}
        self._before, self._found = {}, []

    @torch.no_grad()
    def after_backward(self, step: Step) -> None:
        """Note the weights that the optimiser starts from."""
        network = need_traced(step.network, "Directional")
        self._before = {name: network.tensor(name).detach().clone() for name in self._sums}

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Add what the optimiser did to the sums, let thresholds grow, and write the shrunk sums."""
        network = need_traced(step.network, "Directional")
        for name, total in self._sums.items():
            total += network.tensor(name).detach() - self._before[name]
        last = max(1, round(self.config.reach * step.total))
        weights = dict(self._sums)
        for pool in self._pools:
            found = pool.levels(self._sums)
            spare = [level.sort().values[:-1] for level in found]  # the largest of each bundle stays
            pool.threshold = next_threshold(
                pool.threshold, torch.cat(spare), pool.goal, self.config,
                rate=step.learning_rate, step=step.index + 1, last=last,
            )  # fmt: skip
            for bundle, level, others in zip(pool.bundles, found, spare, strict=True):
                factors = shrinkage(level, min(pool.threshold, float(others[-1]) if len(others) else 0.0))
                for member in bundle.members:
                    weights[member.tensor] = member.scaled(weights[member.tensor], factors)
        for name, weight in weights.items():
            network.tensor(name).copy_(weight)

    def finish(self, network: nn.Module) -> None:
        """Take stock. Nothing is cut: where training did not reach the share, the records say so."""
        traced = need_traced(network, "Directional")
        self._found = [self._change(traced, layer, *facts) for layer, facts in self._groups(traced).items()]
        self._sums, self._before = {}, {}

    def _change(self, network: GraphNetwork, layer: str, count: int, zero: int, wanted: int) -> Change:
        before = self._counts[layer] | {"groups": count}
        after = counts(_weight(network, layer)) | {"groups": count, "zero_groups": zero, "wanted": wanted}
        short = f"training ended with {zero} of the {wanted} groups at zero that were wanted"
        note = short if zero < wanted else ""
        return Change(
            layer=layer, method=NAME, before=before, after=after, seed=self.config.seed, note=note
        )  # fmt: skip

    def records(self) -> Iterator[Change | Refused]:
        """Yield what became of each layer.

        `groups` are those under the layer's threshold: `zero_groups` are zero, and `wanted` were to be.
        """
        yield from self._found
        for layer, reason in self._refused.items():
            yield Refused(layer=layer, method=NAME, reason=reason)

    def _groups(self, network: GraphNetwork) -> dict[str, tuple[int, int, int]]:
        """Return, for each layer, how many groups its thresholds have, are zero and were to be."""
        found = dict.fromkeys(self._counts, (0, 0, 0))
        for pool in self._pools:
            names = {member.tensor for bundle in pool.bundles for member in bundle.members}
            level = torch.cat(pool.levels({name: network.tensor(name).detach() for name in names}))
            facts = (len(level), int((level == 0).sum()), pool.goal)
            for layer in {layer for bundle in pool.bundles for layer in bundle.layers}:
                sums = [a + b for a, b in zip(found[layer], facts, strict=True)]
                found[layer] = (sums[0], sums[1], sums[2])
        return found


def bundles(
    network: GraphNetwork, structure: Literal["filters", "columns"], layers: Sequence[str] | None
) -> tuple[list[Bundle], dict[str, str]]:
    """Return the groups that may go, and the layers that are left out with the reason.

    Args:
        network: not altered.
        structure: what a group is.
        layers: whose groups. None: all; of columns, those of layers that zeros make faster.

    Raises:
        ConfigError: there is no such layer, or nothing may go.
    """
    if structure == "filters":
        every = network.program.weighted_layers() if layers is None else layers
        named = {node.layer for node in weighted(network, every, NAME)}
        found, refused = filters_of(network.program, named)
    else:
        found, refused = columns_that_may_go(network, layers, NAME)
    if not found:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in refused.items())
        raise ConfigError(f"directional: no {structure} may go. {reasons}. Name other layers.")
    return found, refused


def pools(found: Sequence[Bundle], weights: Mapping[str, Tensor], config: DirectionalConfig) -> list[Pool]:
    """Put all bundles under one threshold or each under its own, and say how many groups shall go there.

    Of every bundle one group stays: a layer of zeros would cut the network.
    """
    sets = [tuple(found)] if config.scope == "network" else [(bundle,) for bundle in found]
    made = []
    for members in sets:
        total = sum(bundle.count for bundle in members)
        goal = min(round(config.sparsity * total), total - len(members))
        made.append(Pool(members, tuple(bundle.sizes(weights) for bundle in members), goal))
    return made


def _weight(network: GraphNetwork, layer: str) -> Tensor:
    return network.tensor(weighted(network, (layer,), NAME)[0].weight)


def _finite(network: GraphNetwork, name: str) -> Tensor:
    """Return a copy of a tensor for its sum to begin with."""
    values = network.tensor(name).detach()
    if not values.isfinite().all():
        raise DataError(f"directional: {name} holds NaN or infinity. Check the weights.")
    return values.clone(memory_format=torch.contiguous_format)
