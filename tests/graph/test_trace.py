"""What a trace keeps of the user's network: outputs, names, mode, training behaviour."""

import copy
from functools import cache

import networks
import op_cases
import pytest
import torch
import torch.nn.functional as F
from networks import relative_error
from torch import Tensor, nn

from wieldy.core.errors import ShapeError
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import FAKE_QUANTIZE, OPS
from wieldy.graph.program_json import program_from_json, program_to_json
from wieldy.graph.trace import trace
from wieldy.runtime.engine import compile_model
from wieldy.runtime.lower import lower


def in_openvino(network: GraphNetwork, x: Tensor) -> Tensor:
    model = compile_model(lower(network.program, network.arrays(), len(x)), threads=1)
    return torch.from_numpy(model(x.numpy())[0].copy())


@cache
def traced_case(name: str) -> tuple[nn.Module, Tensor, GraphNetwork]:
    model, x = op_cases.build(name)
    return model, x, trace(model, x)


@pytest.mark.parametrize("name", op_cases.CASES)
def test_an_operator_computes_the_same_in_torch_and_in_openvino(name: str) -> None:
    model, x, network = traced_case(name)
    assert torch.equal(network(x), model(x))
    assert relative_error(in_openvino(network, x), model(x)) < 1e-4
    assert program_from_json(program_to_json(network.program)) == network.program


def test_the_cases_use_every_operator_of_the_allow_list() -> None:
    used = {node.op for name in op_cases.CASES for node in traced_case(name)[2].program.nodes}
    assert used == set(OPS) - {FAKE_QUANTIZE}  # which quantization alone puts there


def test_an_instance_norm_is_a_group_norm_of_single_channels() -> None:
    torch.manual_seed(0)
    model, x = op_cases.weighted(nn.InstanceNorm2d(4, affine=True)).eval(), torch.randn(op_cases.IMAGE)
    network = trace(model, x)
    assert [node.op for node in network.program.nodes] == ["aten.group_norm.default"]
    assert torch.allclose(network(x), model(x), atol=1e-5)
    assert relative_error(in_openvino(network, x), model(x)) < 1e-4


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_trace_computes_what_the_network_does_under_its_names(name: str) -> None:
    model, x, network = networks.traced(name)
    assert torch.equal(network(x), model(x))
    assert torch.equal(network(x[:1]), model(x[:1]))
    assert list(network.state_dict()) == list(model.state_dict())
    assert [key for key, _ in network.named_parameters()] == [key for key, _ in model.named_parameters()]


@pytest.mark.parametrize("kind", [True, False], ids=["training", "evaluating"])
def test_the_users_network_is_untouched(kind: bool) -> None:
    model, x = networks.build("densenet")
    model.train(kind)
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    inplace = [getattr(module, "inplace", None) for module in model.modules()]
    network = trace(model, x)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [getattr(module, "inplace", None) for module in model.modules()] == inplace
    assert not network.training
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert torch.equal(next(model.parameters()), before["features.conv0.weight"])


def test_the_example_may_be_one_input_of_any_batch_and_is_untouched() -> None:
    model, x = networks.build("user_cnn")
    before = x.clone()
    programs = [trace(model, x[:batch]).program for batch in (1, 2, 3)]
    assert programs[0] == programs[1] == programs[2]
    assert torch.equal(x, before)


def test_a_trace_of_a_trace_is_a_copy() -> None:
    _, x, network = networks.traced("user_cnn")
    again = trace(network, x)
    assert again is not network
    assert again.program == network.program
    assert torch.equal(again(x), network(x))


class Inplace(nn.Module):
    """Residuals, aliases and views written into."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        kept, alias = y.clone(), y.detach()
        y = self.relu(y)  # changes `alias`, but not `kept`
        y = y * 2 + kept + alias
        flat = y.view(y.shape[0], -1)
        flat += 1
        flat.mul_(0.5)
        F.hardtanh(flat, -2, 2, inplace=True)
        self.drop(flat)
        F.silu(flat, inplace=True)
        return F.elu_(F.leaky_relu(flat, 0.1, inplace=True))


def test_operators_in_place_change_every_alias_and_no_copy() -> None:
    torch.manual_seed(0)
    model, x = Inplace().eval(), torch.randn(2, 3, 5, 5)
    network = trace(model, x)
    assert torch.equal(network(x), model(x))
    assert relative_error(in_openvino(network, x), model(x)) < 1e-4


class Shared(nn.Module):
    """One ReLU, one linear layer and one norm used twice; a layer under two names; two layers, one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm1d(4)
        self.again = self.first
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        return self.tied(self.relu(self.norm(self.again(self.first(x)))))


def test_what_is_shared_stays_shared() -> None:
    torch.manual_seed(0)
    model, x = Shared().eval(), torch.randn(3, 4)
    network = trace(model, x)
    assert torch.equal(network(x), model(x))
    assert relative_error(in_openvino(network, x), model(x)) < 1e-4
    assert set(network.state_dict()) == set(model.state_dict())
    assert len(list(network.parameters())) == len(list(model.parameters())) == 5
    network.load_state_dict(Shared().state_dict())
    assert network.get_parameter("tied.weight") is network.get_parameter("again.weight")


class FunctionalTraining(nn.Module):
    """Dropout and norm as functions in a part of its own, beside modules."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 5)
        self.register_buffer("mean", torch.zeros(5))
        self.register_buffer("var", torch.ones(5))
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(self.fc(x), self.mean, self.var, training=self.training)
        x = F.relu(F.dropout(x, 0.4, training=self.training))
        return self.drop(x)


def trained(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy after one step in training mode, its random draws from seed 1."""
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(1)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_training_the_trace_gives_the_weights_and_statistics_of_training_the_network(name: str) -> None:
    model, x, network = networks.traced(name)
    expected, found = trained(model, x).state_dict(), trained(network, x).state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    before = model.state_dict()
    assert any(not torch.equal(expected[key], before[key]) for key in before)


def test_functions_follow_train_and_eval() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(FunctionalTraining(), nn.Linear(5, 2)).eval(), torch.randn(8, 6)
    network = trace(model, x)
    assert torch.equal(network(x), network(x))
    expected, found = trained(model, x), trained(network, x)
    assert all(torch.equal(found.state_dict()[key], value) for key, value in expected.state_dict().items())
    assert not torch.equal(found.get_buffer("0.mean"), model.get_buffer("0.mean"))
    assert torch.equal(found.eval()(x), expected.eval()(x))


def test_a_function_in_a_part_names_no_module_so_that_a_stored_program_can_be_rebuilt() -> None:
    network = trace(nn.Sequential(FunctionalTraining(), nn.Linear(5, 2)), torch.zeros(1, 6))
    found = [f"{node.op.split('.')[1]} {node.module}" for node in network.program.nodes]
    assert found == ["linear 0.fc", "batch_norm ", "dropout ", "relu ", "dropout 0.drop", "linear 1"]


def test_a_layer_that_is_also_called_as_a_function_keeps_what_each_call_says() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.fc(x), self.fc.weight)

    model, x = Model().eval(), torch.randn(2, 4)
    network = trace(model, x)
    assert torch.equal(network(x), model(x))
    assert list(network.state_dict()) == list(model.state_dict())


def test_hooks_and_subclasses_of_layers_keep_working() -> None:
    class Scaled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    model, x = nn.Sequential(nn.Linear(4, 4), Scaled(4, 4)).eval(), torch.randn(2, 4)
    model[0].register_forward_hook(lambda module, inputs, output: output + 1)
    assert torch.equal(trace(model, x)(x), model(x))


def test_state_that_the_network_does_not_save_is_not_saved() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.register_buffer("scale", torch.rand(4), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) * self.scale + torch.tensor(0.5)

    model, x = Model().eval(), torch.randn(2, 4)
    network = trace(model, x)
    assert torch.equal(network(x), model(x))
    assert list(network.state_dict()) == list(model.state_dict())


def test_several_inputs_and_outputs_keep_their_order() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return y - x, x

    model, x, y = Model(), torch.randn(2, 4), torch.randn(2, 4)
    found = trace(model, (x, y))(x, y)
    assert isinstance(found, tuple)
    assert torch.equal(found[0], y - x)
    assert torch.equal(found[1], x)


def test_another_input_shape_or_number_is_refused() -> None:
    _, x, network = networks.traced("user_cnn")
    with pytest.raises(ShapeError, match=r"float32 \(batch, 3, 16, 16\); got torch.float32 \(4, 3, 8, 8\)"):
        network(x[:, :, :8, :8])
    with pytest.raises(ShapeError, match="takes 1 inputs"):
        network(x, x)


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet18", 11_689_512), ("vgg16_bn", 138_365_992), ("mobilenet_v2", 3_504_872)]
)
def test_at_full_width_the_networks_are_the_published_ones(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = networks.NETWORKS[name][0]()
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
