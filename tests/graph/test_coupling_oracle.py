"""Our groups against torch-pruning 1.6.1's DependencyGraph: the same sets of (layer, in or out, index).

Compared are indices as torch-pruning counts them. It counts a grouped convolution's inputs over all
groups, where a weight has columns of one group only: column `j` of ours stands for `j` of every group.
It does not close a set over grouped convolutions either, but leaves that to its pruner: asked for channel 0
of two groups it names channel 0 alone, which cannot be cut out. So it is asked for all channels that one of
our units takes from the layer that names it, and must then find exactly the rest of that unit.
"""

import copy

import networks
import pytest
import torch
import torch_pruning
from torch import nn

from wieldy.graph.coupling import Coupling, Group, couple
from wieldy.graph.trace import trace

Member = tuple[str, str, int]  # layer, "out" or "in", index
OUTPUTS = "its channels are the network's outputs"

pytestmark = pytest.mark.oracle


class Oracle:
    """torch-pruning's answer for one network."""

    def __init__(self, model: nn.Module, x: torch.Tensor) -> None:
        self.model = model
        self.graph = torch_pruning.DependencyGraph().build_dependency(model, x[:1])
        self.names = {module: name for name, module in model.named_modules()}

    def group(self, layer: str, channels: list[int]) -> torch_pruning.dependency.Group:
        module = self.model.get_submodule(layer)
        prune = self.graph.get_pruner_of_module(module).prune_out_channels
        return self.graph.get_pruning_group(module, prune, channels)

    def members(self, layer: str, channels: list[int]) -> set[Member]:
        found = set()
        for dependency, indices in self.group(layer, channels):
            name = self.names.get(dependency.target.module)
            side = "out" if self.graph.is_out_channel_pruning_fn(dependency.handler) else "in"
            found |= {(name, side, index) for index in indices if name is not None}
        return found

    def prunable(self) -> set[Member]:
        """Every output channel of the convolutions and linear layers it knows."""
        kinds = (nn.Conv2d, nn.Linear)
        layers = [(self.names[m], m) for m in self.graph.module2node if isinstance(m, kinds)]
        return {(name, "out", i) for name, m in layers for i in range(m.weight.shape[0])}


def layer_of(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def members(model: nn.Module, group: Group, unit: int) -> set[Member]:
    """What a unit of ours takes. Biases and norm tensors are their layer's outputs."""
    found = set()
    for (tensor, axis), units in group.members.items():
        layer = model.get_submodule(layer_of(tensor))
        repeats = getattr(layer, "groups", 1) if axis == 1 else 1
        width = layer.weight.shape[1] if axis == 1 else 0
        side = "in" if axis == 1 else "out"
        found |= {(layer_of(tensor), side, i + k * width) for i in units[unit] for k in range(repeats)}
    return found


def root(group: Group, unit: int) -> tuple[str, list[int]]:
    """The layer that names a group, and the channels of it that a unit takes."""
    (tensor, axis), units = next(iter(group.members.items()))
    assert axis == 0
    return layer_of(tensor), list(units[unit])


def disagreements(model: nn.Module, x: torch.Tensor, coupling: Coupling) -> list[tuple[str, int]]:
    oracle = Oracle(model, x)
    return [
        (group.name, unit)
        for group in coupling.groups
        for unit in range(group.size)
        if members(model, group, unit) != oracle.members(*root(group, unit))
    ]


def coupled(name: str) -> tuple[nn.Module, torch.Tensor, Coupling]:
    model, x, network = networks.traced(name)
    return model, x, couple(network.program)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_units_equal_torch_prunings_groups(name: str) -> None:
    assert disagreements(*coupled(name)) == []


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_units_are_disjoint_and_hold_all_that_torch_pruning_prunes_but_the_outputs(name: str) -> None:
    model, x, coupling = coupled(name)
    ours = [m for group in coupling.groups for unit in range(group.size) for m in members(model, group, unit)]
    assert len(ours) == len(set(ours))
    left = Oracle(model, x).prunable() - set(ours)
    last = list(model.named_modules())[-1][0]
    assert left == {(last, "out", i) for i in range(10)}
    assert coupling.pinned == {last: OUTPUTS}


def test_torch_pruning_does_not_close_a_set_over_groups_and_ours_does() -> None:
    model, x, coupling = coupled("grouped")
    group = coupling.group("layer1.0.conv2")
    layer, tied = root(group, 0)
    assert len(tied) == model.get_submodule(layer).groups == 2
    alone = Oracle(model, x).members(layer, tied[:1])
    assert (layer, "out", tied[0]) in alone
    assert (layer, "out", tied[1]) not in alone


class ConcatWithInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.last = nn.Conv2d(7, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([x, self.conv(x)], 1))


class FlattenedConcat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(3, 2, 1)
        self.last = nn.Linear(6 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.first(x), self.second(x)], 1).flatten(1))


class DepthwiseMultiplier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.depthwise = nn.Conv2d(4, 8, 1, groups=4)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.depthwise(self.first(x)))


def masked(model: nn.Module, group: Group, unit: int) -> nn.Module:
    """A copy whose unit is zero wherever it is stored."""
    model = copy.deepcopy(model)
    for (tensor, axis), units in group.members.items():
        model.state_dict()[tensor].index_fill_(axis, torch.tensor(units[unit]), 0.0)
    return model


@pytest.mark.parametrize("kind", [ConcatWithInput, FlattenedConcat])
def test_where_torch_pruning_cuts_other_columns_it_changes_what_is_computed(kind: type[nn.Module]) -> None:
    """torch-pruning is wrong here: it counts columns as if the network's input, or the other part of a
    flattened concatenation, were not there. What it leaves does not run, or is not the network without
    that channel; `test_removal.py` shows that ours is."""
    model, x = kind().eval(), torch.randn(2, 3, 2, 2)
    coupling = couple(trace(model, x).program)
    wrong = disagreements(model, x, coupling)
    assert wrong
    group, unit = coupling.group(wrong[0][0]), wrong[0][1]
    wanted = masked(model, group, unit)(x)
    Oracle(model, x).group(*root(group, unit)).prune()
    try:
        found = model(x)
    except RuntimeError:
        return
    assert networks.relative_error(found, wanted) > 1e-3


def test_torch_pruning_stops_at_a_depthwise_multiplier() -> None:
    """torch-pruning is wrong here: it takes a depthwise convolution with two outputs for each input for a
    grouped one, removes its input alone, and what is left does not run."""
    model, x = DepthwiseMultiplier().eval(), torch.randn(2, 3, 2, 2)
    assert len(disagreements(model, x, couple(trace(model, x).program))) == 4
    Oracle(model, x).group("first", [0]).prune()
    with pytest.raises(RuntimeError):
        model(x)
