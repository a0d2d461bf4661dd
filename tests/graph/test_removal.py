"""Removing units leaves exactly the network in which they are zero."""

import copy

import networks
import numpy as np
import pytest
import torch
import wild
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wieldy.core.errors import ConfigError
from wieldy.graph.cost import total_macs, total_parameters
from wieldy.graph.coupling import Coupling, couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.removal import remove_units
from wieldy.graph.soundness import check_program
from wieldy.graph.trace import trace
from wieldy.runtime.engine import compile_model
from wieldy.runtime.lower import lower

Units = dict[str, list[int]]


class Hard(nn.Module):
    """What networks in the wild do: attention over channels, a depthwise multiplier, an input that is
    joined again, a concatenation that is flattened, layers that share their weights, learned scales."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.squeeze = nn.Conv2d(6, 4, 1)
        self.excite = nn.Conv2d(4, 6, 1)
        self.depthwise = nn.Conv2d(6, 12, 3, padding=1, groups=6, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.side = nn.Conv2d(15, 5, 1)
        self.flat = nn.Linear(17 * 16, 8)
        self.twice = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x) * self.scale
        y = y * torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        y = self.norm(self.depthwise(y))
        z = torch.sigmoid(self.side(torch.cat([x, y], 1)))
        y = self.flat(torch.cat([y, z], 1).flatten(1))
        return self.head(self.twice(torch.tanh(self.twice(y))))


def case(name: str) -> tuple[nn.Module, tuple[Tensor, ...], GraphNetwork]:
    if name in wild.WILD:
        return wild.traced(name)
    if name != "hard":
        model, x, network = networks.traced(name)
        return model, (x,), network
    torch.manual_seed(0)
    model, x = Hard().eval(), torch.randn(4, 3, 4, 4)
    return model, (x,), trace(model, x)


def apart(found: object, wanted: object) -> float:
    """The largest relative error of what two networks yield."""
    pairs = zip(wild.outputs(found), wild.outputs(wanted), strict=True)
    return max(networks.relative_error(one, other) for one, other in pairs)


ALL = [*networks.NETWORKS, *wild.WILD, "hard"]


def drawn(coupling: Coupling, share: float, seed: int = 0) -> Units:
    """A share of every group's units, drawn at random; at least one goes where two are left."""
    rng = np.random.default_rng(seed)
    return {
        group.name: rng.choice(group.size, max(1, int(share * group.size)), replace=False).tolist()
        for group in coupling.groups
        if group.size > 1
    }


def pruned(network: GraphNetwork, units: Units) -> GraphNetwork:
    small = copy.deepcopy(network)
    small.replace_program(*remove_units(network.program, couple(network.program), units))
    return small


def masked(network: GraphNetwork, units: Units) -> GraphNetwork:
    """A copy in which all that the units store is zero: their rows, biases and norms, and the columns that
    read them, so that an activation which maps zero to something else adds nothing either."""
    coupling, network = couple(network.program), copy.deepcopy(network)
    for name, chosen in units.items():
        for (tensor, axis), indices in coupling.group(name).members.items():
            gone = torch.tensor([index for unit in chosen for index in indices[unit]], dtype=torch.int64)
            network.tensor(tensor).detach().index_fill_(axis, gone, 0.0)
    return network


@pytest.mark.parametrize("name", ALL)
def test_removing_equals_masking(name: str) -> None:
    model, x, network = case(name)
    units = drawn(couple(network.program), 0.3)
    found, wanted = pruned(network, units)(*x), masked(network, units)(*x)
    assert apart(found, wanted) < 1e-5
    assert apart(wanted, model(*x)) > 1e-3  # so the units mattered


@pytest.mark.parametrize("name", ALL)
def test_removing_leaves_the_network_it_was_given_as_it_was(name: str) -> None:
    model, x, network = case(name)
    before, program = network.arrays(), network.program
    pruned(network, drawn(couple(program), 0.3))
    assert network.program is program
    assert all(np.array_equal(array, before[key]) for key, array in network.arrays().items())
    assert apart(network(*x), model(*x)) == 0


@pytest.mark.parametrize("name", ALL)
def test_removing_keeps_every_key_and_what_is_trained(name: str) -> None:
    model, _, network = case(name)
    small = pruned(network, drawn(couple(network.program), 0.3))
    assert set(small.state_dict()) == set(model.state_dict())
    trained = {key: parameter.requires_grad for key, parameter in small.named_parameters()}
    assert trained == {key: parameter.requires_grad for key, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", ALL)
def test_tensors_are_as_the_program_says_and_smaller(name: str) -> None:
    _, _, network = case(name)
    small = pruned(network, drawn(couple(network.program), 0.3))
    shapes = {key: spec.shape for key, spec in small.program.tensors.items()}
    assert {key: array.shape for key, array in small.arrays().items()} == shapes
    assert total_macs(small.program) < total_macs(network.program)
    assert total_parameters(small.program) < total_parameters(network.program)
    check_program(small.program)


@pytest.mark.parametrize("name", ALL)
def test_leaf_modules_know_their_new_widths(name: str) -> None:
    _, _, network = case(name)
    small = pruned(network, drawn(couple(network.program), 0.3))
    for module in small.modules():
        if isinstance(module, nn.Conv2d):
            out_channels, width, *_ = module.weight.shape
            assert (module.out_channels, module.in_channels) == (out_channels, width * module.groups)
            assert out_channels % module.groups == 0
        elif isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape)
        elif isinstance(module, nn.BatchNorm2d):
            tensors = (module.weight, module.bias, module.running_mean, module.running_var)
            assert {len(tensor) for tensor in tensors} == {module.num_features}


@pytest.mark.parametrize("name", ["grouped", "mobilenet_v2", "densenet", "hard"])
def test_removing_twice_equals_removing_at_once(name: str) -> None:
    _, x, network = case(name)
    first = drawn(couple(network.program), 0.3)
    once = pruned(network, first)
    second = drawn(couple(once.program), 0.3, seed=1)
    twice = pruned(once, second)
    assert apart(twice(*x), masked(once, second)(*x)) < 1e-5


def test_a_group_may_shrink_to_one_unit() -> None:
    for name in ("grouped", "hard", "densenet"):
        _, x, network = case(name)
        units = {group.name: list(range(1, group.size)) for group in couple(network.program).groups}
        small, mask = pruned(network, units), masked(network, units)
        assert apart(small(*x), mask(*x)) < 1e-5
        assert apart(pruned(small, {})(*x), mask(*x)) < 1e-5


def test_a_pruned_network_trains() -> None:
    _, x, network = networks.traced("mobilenet_v2")
    small = pruned(network, drawn(couple(network.program), 0.3)).train()
    small(x).square().mean().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


@pytest.mark.parametrize(
    "units", [{"nowhere": [0]}, {"conv1": [-1]}, {"conv1": [4]}, {"conv1": [0, 1, 2, 3]}], ids=str
)
def test_units_that_do_not_exist_or_leave_nothing_are_refused(units: Units) -> None:
    _, _, network = networks.traced("user_cnn")
    assert couple(network.program).group("conv1").size == 4
    with pytest.raises(ConfigError, match="plan: "):
        pruned(network, units)


@given(data=st.data())
@settings(max_examples=10, deadline=None, derandomize=True)
@pytest.mark.parametrize("name", ["grouped", "densenet", "hard", "user_cnn"])
def test_any_units_leave_a_network_that_runs_in_torch_and_openvino_alike(
    name: str, data: st.DataObject
) -> None:
    _, x, network = case(name)
    units = {
        group.name: sorted(data.draw(st.sets(st.integers(0, group.size - 1), max_size=group.size - 1)))
        for group in couple(network.program).groups
    }
    small = pruned(network, units)
    wanted = small(*x)
    assert apart(wanted, masked(network, units)(*x)) < 1e-5
    compiled = compile_model(lower(small.program, small.arrays(), len(x[0])), threads=1)
    assert networks.relative_error(compiled(x[0].numpy())[0], wanted) < 1e-4
