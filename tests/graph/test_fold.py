"""A batch norm goes into the layer before it, and nothing changes but where it is computed."""

import networks
import pytest
import torch
from torch import Tensor, nn

from wieldy.graph.fold import NORM, fold_norms
from wieldy.graph.network import GraphNetwork
from wieldy.graph.soundness import check_program
from wieldy.graph.trace import trace


def folded(network: GraphNetwork) -> GraphNetwork:
    return GraphNetwork.from_arrays(*fold_norms(network.program, network.arrays()), {})


def norms(network: GraphNetwork) -> int:
    return sum(node.op == NORM for node in network.program.nodes)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_network_computes_the_same_without_its_norms(name: str) -> None:
    _, x, network = networks.traced(name)
    small = folded(network)
    assert networks.relative_error(small(x), network(x)) < 1e-5
    check_program(small.program)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg16_bn"])
def test_no_norm_is_left_where_each_follows_a_layer(name: str) -> None:
    _, _, network = networks.traced(name)
    assert norms(network) > 0
    assert norms(folded(network)) == 0


class Kept(nn.Module):
    """Norms that must stay: before a layer, after one that is read twice, after one that serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.read, self.twice, self.last = (nn.BatchNorm1d(6) for _ in range(4))
        self.first, self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.before(x))
        y = self.read(y) + y
        y = self.twice(self.shared(y)) + self.shared(y.relu())
        return self.last(self.head(y))


def test_norms_stay_where_folding_would_change_something_else() -> None:
    torch.manual_seed(0)
    model, x = Kept(), torch.randn(8, 6)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    network = trace(model.eval(), x)
    small = folded(network)
    assert (norms(network), norms(small)) == (4, 3)  # the last one goes, though it is the output
    assert networks.relative_error(small(x), model(x)) < 1e-5


def test_a_layer_without_a_bias_gets_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    nn.init.normal_(model[1].running_mean)
    small = folded(trace(model.eval(), torch.zeros(1, 3, 8, 8)))
    assert sorted(small.state_dict()) == ["0.bias", "0.weight"]
    assert isinstance(small.get_submodule("0"), nn.Conv2d)


def test_the_program_and_arrays_that_were_given_stay_as_they_were() -> None:
    _, _, network = networks.traced("resnet18")
    arrays = network.arrays()
    copies = {name: array.copy() for name, array in arrays.items()}
    fold_norms(network.program, arrays)
    assert all((arrays[name] == copies[name]).all() for name in copies)
