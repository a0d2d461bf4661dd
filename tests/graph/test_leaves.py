"""A network built again from its program and arrays is the one that was traced."""

from types import SimpleNamespace

import networks
import op_cases
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wieldy.compress.load import from_package
from wieldy.graph.leaves import LEAF_OPS
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import OPS
from wieldy.graph.program_json import program_from_json, program_to_json
from wieldy.graph.trace import trace


def rebuilt(network: GraphNetwork) -> GraphNetwork:
    program = program_from_json(program_to_json(network.program))
    return from_package(SimpleNamespace(program=program, tensors=network.arrays(), formats={}))


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_rebuilt_network_computes_and_trains_the_same(name: str) -> None:
    _, x, network = networks.traced(name)
    again = rebuilt(network)
    assert torch.equal(again(x), network(x))
    assert {key for key, _ in again.named_parameters()} == {key for key, _ in network.named_parameters()}
    outputs = []
    for one in (again.train(), rebuilt(again).train(), rebuilt(network).train()):
        torch.manual_seed(0)
        outputs.append(one(x))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_every_case_is_rebuilt() -> None:
    for name in op_cases.CASES:
        model, x = op_cases.build(name)
        again = rebuilt(trace(model, x))
        assert torch.equal(again(x), model(x)), name
        assert torch.equal(rebuilt(again)(x), model(x)), name


class Part(nn.Module):
    """Functions beside modules: a dropout as a function must not take the place of its part."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.rand(4, 4))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(F.relu(self.fc(x)), 0.2, training=self.training)
        return self.drop(F.linear(F.dropout(x, 0.3, training=self.training), self.weight))


def test_functions_with_weights_and_dropouts_of_a_part_are_rebuilt_beside_its_modules() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(Part(), nn.Linear(4, 2)).eval(), torch.randn(64, 4)
    network = trace(model, x)
    again = rebuilt(network)
    assert torch.equal(again(x), model(x))
    assert set(again.state_dict()) == set(model.state_dict())
    found = []
    for one in (model.train(), network.train(), again.train()):
        torch.manual_seed(1)
        found.append(one(x))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_dropout_of_sequences_is_rebuilt_as_such() -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(2), nn.Dropout1d(0.5)), torch.randn(2, 3, 4, 4)
    network = rebuilt(trace(model, x)).train()
    assert isinstance(network.get_submodule("2"), nn.Dropout1d)
    dropped = network(x).eq(0).float().mean(2)
    assert torch.equal(dropped, dropped.round())  # whole channels


def test_leaves_name_operators_of_the_allow_list() -> None:
    assert {op for ops in LEAF_OPS.values() for op in ops} <= set(OPS)
