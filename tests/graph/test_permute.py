"""Units that change places leave a network that computes the same."""

import copy

import networks
import numpy as np
import pytest
import tiny
import torch
import wild
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wieldy.core.errors import ConfigError
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.permute import is_free, permute_units
from wieldy.graph.trace import trace


def case(name: str) -> tuple[tuple[Tensor, ...], GraphNetwork]:
    if name in wild.WILD:
        _, inputs, network = wild.traced(name)
        return inputs, network
    _, x, network = networks.traced(name)
    return (x,), network


def apart(found: object, wanted: object) -> float:
    pairs = zip(wild.outputs(found), wild.outputs(wanted), strict=True)
    return max(networks.relative_error(one, other) for one, other in pairs)


def shuffled(network: GraphNetwork, seed: int = 0) -> dict[str, np.ndarray]:
    """A random order of every group that may take any."""
    rng, coupling = np.random.default_rng(seed), couple(network.program)
    free = [group for group in coupling.groups if is_free(coupling, group)]
    return {group.name: rng.permutation(group.size) for group in free}


@pytest.mark.parametrize("name", [*networks.NETWORKS, *wild.WILD])
def test_a_network_computes_the_same_whatever_the_order_of_its_units(name: str) -> None:
    inputs, network = case(name)
    after = copy.deepcopy(network)
    permute_units(after, shuffled(network))
    assert apart(after(*inputs), network(*inputs)) < 1e-5
    assert set(after.state_dict()) == set(network.state_dict())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet", "grouped", "user_cnn"])
def test_every_group_of_these_may_take_any_order_and_its_tensors_move(name: str) -> None:
    _, network = case(name)
    orders, coupling = shuffled(network), couple(network.program)
    assert set(orders) == {group.name for group in coupling.groups}
    after = copy.deepcopy(network)
    permute_units(after, orders)
    moved = {
        tensor for group in coupling.groups for tensor, _ in group.members
        if not np.array_equal(after.arrays()[tensor], network.arrays()[tensor])
    }  # fmt: skip
    assert moved >= {tensor for group in coupling.groups for tensor, _ in group.members if ".conv" in tensor}


def test_reference_by_hand_through_a_norm_and_a_residual() -> None:
    network = tiny.traced()
    before = {name: array.copy() for name, array in network.arrays().items()}
    order = np.random.default_rng(3).permutation(16)
    permute_units(network, {"conv2": order})
    after = network.arrays()
    for tensor in ("conv2.weight", "conv2.bias", "norm2.weight", "norm2.running_var", "conv3.bias"):
        np.testing.assert_array_equal(after[tensor], before[tensor][order])
    np.testing.assert_array_equal(after["conv3.weight"], before["conv3.weight"][order][:, order])
    np.testing.assert_array_equal(after["fc.weight"], before["fc.weight"][:, order])
    np.testing.assert_array_equal(after["conv1.weight"], before["conv1.weight"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_there_and_back_again_is_the_same_bit_for_bit(seed: int) -> None:
    network = tiny.traced()
    before, orders = tiny.state(network), shuffled(network, seed)
    permute_units(network, orders)
    permute_units(network, {name: np.argsort(order) for name, order in orders.items()})
    assert tiny.state(network) == before


class Crossed(nn.Module):
    """A grouped layer reads pieces of the channels that another one reads in order."""

    def __init__(self, pieces: list[slice]) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 1)
        self.second = nn.Conv2d(4, 4, 1, groups=2)
        self.third = nn.Conv2d(4, 4, 1, groups=2)
        self.head = nn.Linear(4, 2)
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        y = torch.cat([x[:, piece] for piece in self.pieces], 1)
        return self.head((self.second(x) + self.third(y)).mean((2, 3)))


HALVES, APART = [slice(2, 4), slice(0, 2)], [slice(1, 2), slice(0, 1), slice(3, 4), slice(2, 3)]


@pytest.mark.parametrize(("pieces", "free"), [(HALVES, True), (APART, False)])
def test_units_that_pass_alike_through_slices_and_groups_may_swap(pieces: list[slice], free: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 2, 3, 3)
    network = trace(Crossed(pieces).eval(), x)
    coupling, wanted = couple(network.program), network(x)
    group = coupling.group("first")
    assert (group.size, is_free(coupling, group)) == (2, free)
    if free:
        permute_units(network, {"first": [1, 0]})
        assert apart(network(x), wanted) < 1e-6


class Halves(nn.Module):
    """One half of the channels is read by a layer that leaves out the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.scale = nn.Parameter(torch.rand(8))
        self.second = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x)) * self.scale
        return self.second(torch.cat([x[:, :4].sigmoid(), x[:, 4:]], 1))


def test_halves_that_pass_through_different_functions_keep_to_themselves() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    network = trace(Halves().eval(), x)
    coupling, wanted = couple(network.program), network(x)
    (group,) = coupling.groups
    assert not is_free(coupling, group)
    with pytest.raises(ConfigError, match=r"channels of 'first' play different parts"):
        permute_units(network, {"first": [4, 1, 2, 3, 0, 5, 6, 7]})
    permute_units(network, {"first": [3, 2, 1, 0, 5, 6, 7, 4]})
    assert apart(network(x), wanted) < 1e-6


def test_rejects_a_group_that_does_not_exist_and_an_order_that_is_none() -> None:
    network = tiny.traced()
    with pytest.raises(ConfigError, match="there is no group 'fc'; groups are conv1, conv2"):
        permute_units(network, {"fc": [0]})
    for wrong in ([0, 0, *range(2, 8)], range(7), range(1, 9)):
        with pytest.raises(ConfigError, match=r"group 'conv1' has units 0 to 7, and an order names each"):
            permute_units(network, {"conv1": list(wrong)})


def test_a_network_whose_units_changed_places_trains() -> None:
    network = tiny.traced()
    permute_units(network, shuffled(network))
    network.train()(torch.randn(4, 1, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
