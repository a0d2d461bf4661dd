"""Group lasso over what a smaller dense network leaves out: filters, channels, columns, whole layers.

Source: Wen, Wu, Wang, Chen, Li, "Learning Structured Sparsity in Deep Neural Networks", NIPS 2016 (arXiv
1608.03665): to the loss is added lambda_g times the sum of |w_g| over groups g of weights, unweighted
whatever their size. Groups are filters, channels, both, columns (positions of the kernel in one input
channel, the paper's shapes), or the layers that a shortcut passes by. The published step adds lambda_g w_g /
|w_g| to the gradient and, after every step, zeroes each number below 1e-4.

That step alone never reaches zero: it hovers near learning_rate * lambda_g / 2. So the default is the
proximal step, after the optimiser's own with learning rate r:

    w_g <- w_g * max(0, 1 - r lambda_g / |w_g|),

which is exact where groups do not overlap. Filters and channels do; there the step of the sum is found by
Dykstra's alternation of both.

Ours, of the default: a norm behind a layer undoes whatever scales a row of its weight, so penalised are
weight and bias with the norm folded in, W' = d W and b' = d (b - mean) + beta with d = gamma / sqrt(var +
eps), which are what evaluation computes with. A filter's group is its row of W' and of b', and shrinks by
gamma and beta (a factor on W would be divided out again); channels and columns are those of W', and shrink in
W. For constant d that is the exact step on W' and b'. A filter dies with its bias, gamma and beta, so that
its channel is zero. Filters that can only go together (a residual stream) are one group, and so is a channel
for all that read it. With momentum m a gradient counts 1 / (1 - m) times in the end and a proximal step once:
lambda_g then weighs as (1 - m) lambda_g does without.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.graph.branches import branches
from wieldy.graph.bundles import Bundle, Member, filters_of
from wieldy.graph.channels import channels_of
from wieldy.graph.folded import Folded, Values, norms_behind
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.methods.contract import Hook, MethodConfig, Step
from wieldy.methods.prune.directional import shrinkage
from wieldy.methods.prune.zeros import columns_that_may_go, counts, weighted

NAME = "ssl"
CUT = 1e-4  # below which the published solver zeroes a number
Found = tuple[list[Bundle], dict[str, str]]  # groups, and the layers that are left out with the reason


class SslConfig(MethodConfig):
    """What goes together, and how dear it is to keep."""

    structure: Literal["filters", "channels", "filters+channels", "columns", "depth"] = "filters"
    penalty: float = Field(default=0.1, ge=0)  # lambda_g: for a few epochs; the paper had 0.003 for many
    solver: Literal["prox", "published"] = "prox"
    tolerance: float = Field(default=1e-3, gt=0, lt=1)  # of Dykstra's last move, as a share of all of it


def prox(values: Mapping[str, Tensor], bundles: Sequence[Bundle], threshold: float) -> Values:
    """Return argmin over v of |v - values|^2 / 2 + threshold * the sum of group norms of v.

    Args:
        values: tensors by name.
        bundles: groups that do not overlap.
        threshold: at least 0.

    Example:
        >>> rows = Bundle(("fc",), (Member("w", "filters", 1, torch.arange(2)),), 2)
        >>> prox({"w": torch.tensor([[3.0, 4.0], [0.6, 0.8]])}, [rows], 1.0)["w"].tolist()
        [[2.4000000953674316, 3.200000047683716], [0.0, 0.0]]
    """
    found = dict(values)
    for bundle in bundles:
        factors = shrinkage(bundle.norms(values), threshold)
        for member in bundle.members:
            found[member.tensor] = member.scaled(found[member.tensor], factors)
    return found


def dykstra(
    values: Mapping[str, Tensor],
    first: Sequence[Bundle],
    second: Sequence[Bundle],
    threshold: float,
    tolerance: float = 1e-10,
    rounds: int = 1000,
) -> Values:
    """Return what `prox` does for two kinds of groups that overlap each other.

    Ends when neither step moves a number by more than `tolerance` of the longest way that one has come, or
    after `rounds`. By so much every group is shortened then: one that only tends to zero becomes it.

    Source: Bauschke, Combettes, "A Dykstra-like algorithm for two monotone operators", 2008.
    """
    found, way = dict(values), 0.0
    lost, missed = ({name: torch.zeros_like(value) for name, value in values.items()} for _ in range(2))
    for _ in range(rounds):
        middle = prox({name: found[name] + lost[name] for name in found}, first, threshold)
        lost = {name: found[name] + lost[name] - middle[name] for name in found}
        after = prox({name: middle[name] + missed[name] for name in found}, second, threshold)
        missed = {name: middle[name] + missed[name] - after[name] for name in found}
        moved, way = max(_largest(found, after), _largest(middle, after)), _largest(values, after)
        found = after
        if moved <= tolerance * way:
            break
    return prox(prox(found, first, tolerance * way), second, tolerance * way)


def _largest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return max((float((one[name] - other[name]).abs().max()) for name in one), default=0.0)


@dataclass(frozen=True)
class Groups:
    """What may go from a network.

    Attributes:
        layers: those that the groups lie in.
        kinds: one list of bundles for each kind of structure; only kinds overlap.
        followers: for each bundle, the tensors that die with its groups and are no part of a folded layer.
        refused: layers that are left out, with the reason.
    """

    layers: tuple[Folded, ...]
    kinds: tuple[tuple[Bundle, ...], ...]
    followers: tuple[tuple[Bundle, tuple[Member, ...]], ...]
    refused: Mapping[str, str]


def groups_of(network: GraphNetwork, config: SslConfig, layers: Sequence[str] | None) -> Groups:
    """Return the groups of weights that may go.

    Args:
        network: not altered.
        config: what a group is.
        layers: whose groups. None: all; of columns, those of layers that zeros make faster.

    Raises:
        ConfigError: there is no such layer, or nothing may go.
    """
    program = network.program
    every = program.weighted_layers() if layers is None else layers
    named = [node.layer for node in weighted(network, every, NAME)]
    kinds = tuple(KINDS[kind](network, named, layers is None) for kind in config.structure.split("+"))
    taken = {layer for found, _ in kinds for bundle in found for layer in bundle.layers}
    refused = {layer: reason for _, left in kinds for layer, reason in left.items() if layer not in taken}
    if not taken:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in refused.items())
        raise ConfigError(f"ssl: no {config.structure} may go. {reasons}. Name other layers.")
    norms = norms_behind(program)
    nodes = weighted(network, sorted(taken), NAME)
    folded = tuple(Folded(node, norms.get(node.name)) for node in nodes)
    by_weight = {layer.node.weight: layer for layer in folded}
    split = [tuple(_with_biases(bundle, by_weight) for bundle in found) for found, _ in kinds]
    followers = tuple(
        (own, tuple(member for member in bundle.members if member.tensor not in by_weight))
        for (found, _), owns in zip(kinds, split, strict=True)
        for bundle, own in zip(found, owns, strict=True)
    )
    return Groups(folded, tuple(split), followers, refused)


def _with_biases(bundle: Bundle, by_weight: Mapping[str, Folded]) -> Bundle:
    """Return the groups over folded tensors: a filter and a layer have their biases too."""
    members = []
    for member in bundle.members:
        if member.tensor in by_weight:
            members.append(member)
            if member.structure in ("filters", "layer"):
                members.append(replace(member, tensor=by_weight[member.tensor].bias))
    return replace(bundle, members=tuple(members))


def _filters(network: GraphNetwork, layers: Sequence[str], every: bool) -> Found:  # noqa: ARG001
    return filters_of(network.program, set(layers))


def _channels(network: GraphNetwork, layers: Sequence[str], every: bool) -> Found:  # noqa: ARG001
    return channels_of(network.program, layers)


def _columns(network: GraphNetwork, layers: Sequence[str], every: bool) -> Found:
    return columns_that_may_go(network, None if every else layers, NAME)


def _depth(network: GraphNetwork, layers: Sequence[str], every: bool) -> Found:  # noqa: ARG001
    found = branches(network.program)
    passed = {layer for branch in found for layer in branch.layers}
    shortcuts = {layer for branch in found for layer in branch.shortcut}
    norms = norms_behind(network.program)
    bundles, refused = [], {}
    for node in weighted(network, layers, NAME):
        norm = norms.get(node.name)
        if node.layer in shortcuts:
            refused[node.layer] = "it is a shortcut itself"
        elif node.layer not in passed:
            refused[node.layer] = "no shortcut passes it by"
        elif norm is not None and norm.inputs["weight"] is None:
            refused[node.layer] = f"the norm {norm.layer} has no scale that could go to zero with it"
        else:
            member = Member(node.weight, "layer", 1, torch.zeros(1, dtype=torch.long))
            bundles.append(Bundle((node.layer,), (member,), 1))
    return bundles, refused


KINDS: dict[str, Callable[[GraphNetwork, Sequence[str], bool], Found]] = {
    "filters": _filters,
    "channels": _channels,
    "columns": _columns,
    "depth": _depth,
}


class Ssl(Hook):
    """Lets whole structures of weights die while the network trains.

    Args:
        config: what a structure is, and how dear.
        layers: whose structures. None: all; of columns, those of layers that zeros make faster.

    Raises:
        ConfigError: from `attach`: the network is not traced, lacks a layer, or has nothing that may go.
        DataError: from `attach`: a weight is NaN or infinite.

    Cost: some six passes over the weights in a step; for filters+channels, ten for each of Dykstra's rounds.

    Example:
        >>> from wieldy.graph.trace import trace
        >>> network = trace(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(1, 4))
        >>> hook = Ssl(SslConfig(penalty=5.0))
        >>> optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        >>> hook.attach(network)
        >>> for index in range(3):
        ...     outputs = network(torch.ones(3, 4))
        ...     optimizer.zero_grad()
        ...     outputs.square().mean().backward()
        ...     step = Step(network, torch.ones(3, 4), outputs, torch.zeros(3, 2), index, 3, 0.1)
        ...     hook.after_backward(step)
        ...     optimizer.step()
        ...     hook.after_step(step)
        >>> hook.finish(network)
        >>> next(hook.records()).after["zero_groups"]
        8
    """

    settling_rate = 0.1  # as published

    def __init__(self, config: SslConfig | None = None, layers: Sequence[str] | None = None) -> None:
        self.config = config or SslConfig()
        self.layers = layers
        self._groups = Groups((), (), (), {})
        self._counts: dict[str, dict[str, int]] = {}
        self._found: list[Change] = []

    def attach(self, network: nn.Module) -> None:
        """Find the groups."""
        traced = need_traced(network, "Ssl")
        self._groups = groups_of(traced, self.config, self.layers)
        for layer in self._groups.layers:
            if not all(bool(value.isfinite().all()) for value in layer.values(traced).values()):
                raise DataError(f"ssl: {layer.node.layer} holds NaN or infinity. Check the weights.")
        self._counts = {of.node.layer: counts(traced.tensor(of.node.weight)) for of in self._groups.layers}
        self._found = []

    @torch.no_grad()
    def after_backward(self, step: Step) -> None:
        """Of the published solver: add the penalty's gradient, which is zero for a group of zeros."""
        if self.config.solver == "prox":
            return
        network = need_traced(step.network, "Ssl")
        weights = self._weights(network)
        for bundle in self._bundles():
            own = tuple(member for member in bundle.members if member.tensor in weights)
            norms = replace(bundle, members=own).norms(weights)
            slope = torch.where(norms > 0, self.config.penalty / norms, 0.0)
            for member in own:
                gradient = network.tensor(member.tensor).grad
                if gradient is not None:
                    gradient += member.scaled(weights[member.tensor], slope)

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Shrink every group, or, of the published solver, zero what is small."""
        network = need_traced(step.network, "Ssl")
        if self.config.solver == "published":
            for parameter in network.parameters():
                parameter.masked_fill_(parameter.abs() < CUT, 0.0)
            return
        old = {name: value for layer in self._groups.layers for name, value in layer.values(network).items()}
        new = self._shrunk(old, step.learning_rate * self.config.penalty)
        for layer in self._groups.layers:
            layer.put(
                network, old, new, rows=self.config.structure in ("filters", "filters+channels", "depth")
            )
        for bundle, members in self._groups.followers:
            if members:
                alive = (bundle.norms(new) > 0).to(torch.get_default_dtype())
                for member in members:
                    network.tensor(member.tensor).copy_(member.scaled(network.tensor(member.tensor), alive))

    def _shrunk(self, values: Values, threshold: float) -> Values:
        first, *others = self._groups.kinds
        if not others:
            return prox(values, first, threshold)
        wide = {name: value.double() for name, value in values.items()}
        found = dykstra(wide, first, others[0], threshold, self.config.tolerance)
        return {name: value.to(values[name].dtype) for name, value in found.items()}

    @torch.no_grad()
    def finish(self, network: nn.Module) -> None:
        """Take stock; of depth, zero the other layers of a branch of which one is zero."""
        traced = need_traced(network, "Ssl")
        if self.config.structure == "depth":
            self._zero_partners(traced)
        self._found = [self._change(traced, layer) for layer in self._groups.layers]

    def records(self) -> Iterator[Change | Refused]:
        """Yield what became of each layer, and how many groups it has and are zero."""
        yield from self._found
        for layer, reason in self._groups.refused.items():
            yield Refused(layer=layer, method=NAME, reason=reason)

    def _zero_partners(self, network: GraphNetwork) -> None:
        """A branch with a dead layer yields a constant, whatever its other layers hold."""
        weights = {of.node.layer: network.tensor(of.node.weight) for of in self._groups.layers}
        for branch in branches(network.program):
            own = [weights[layer] for layer in branch.layers if layer in weights]
            if any(not weight.any() for weight in own):
                for weight in own:
                    weight.zero_()

    def _bundles(self) -> list[Bundle]:
        return [bundle for kind in self._groups.kinds for bundle in kind]

    def _weights(self, network: GraphNetwork) -> Values:
        return {of.node.weight: network.tensor(of.node.weight).detach() for of in self._groups.layers}

    def _change(self, network: GraphNetwork, layer: Folded) -> Change:
        name, total, zero = layer.node.layer, 0, 0
        weights = self._weights(network)
        for bundle in self._bundles():
            if name in bundle.layers:
                own = tuple(member for member in bundle.members if member.tensor in weights)
                total += bundle.count
                zero += int((replace(bundle, members=own).norms(weights) == 0).sum())
        before = self._counts[name] | {"groups": total}
        after = counts(weights[layer.node.weight]) | {"groups": total, "zero_groups": zero}
        return Change(layer=name, method=NAME, before=before, after=after, seed=self.config.seed)
