"""Compact: what is dead goes, what remains computes the same, and every layer says what became of it."""

import copy
from pathlib import Path

import networks
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.compress.compact import GONE, NOTHING, compact
from wieldy.core.errors import ConfigError
from wieldy.core.records import Change, Refused
from wieldy.graph.cost import total_parameters
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program_json import program_to_json
from wieldy.graph.soundness import check_program
from wieldy.graph.trace import trace
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.zoo.networks.lenet import Lenet5, Lenet300, seeded
from wieldy.zoo.networks.residual import Residual28

TOLERANCE = 1e-5


def restless(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give norms statistics that are not their defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.5)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def traced(model: nn.Module, *shape: int) -> GraphNetwork:
    return trace(restless(model), torch.zeros(1, *shape))


def inputs(network: GraphNetwork, seed: int = 0, count: int = 5) -> Tensor:
    (spec,) = network.program.inputs.values()
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *(size or 0 for size in spec.shape[1:]), generator=generator)


@torch.no_grad()
def zero(network: GraphNetwork, tensor: str, rows: object = slice(None), columns: object = None) -> None:
    if columns is None:
        network.tensor(tensor)[rows] = 0
    else:
        network.tensor(tensor)[:, columns] = 0


def same(network: GraphNetwork, small: GraphNetwork) -> float:
    x = inputs(network)
    with torch.no_grad():
        return networks.relative_error(small(x), network(x))


def checked(network: GraphNetwork) -> tuple[GraphNetwork, dict[str, Change | Refused]]:
    """Compact a network, and check what holds for every one."""
    before, program = tiny.state(network), program_to_json(network.program)
    small, records = compact(network)
    assert tiny.state(network) == before
    assert program_to_json(network.program) == program
    assert same(network, small) <= TOLERANCE
    check_program(small.program)
    again, second = compact(small)
    assert again.program == small.program  # a fixed point
    assert all(isinstance(record, Refused) for record in second)
    by_layer = {record.layer: record for record in records}
    assert list(by_layer) == network.program.weighted_layers()
    assert len(records) == len(by_layer)
    return small, by_layer


def widths(network: GraphNetwork, layer: str) -> tuple[int, ...]:
    return tuple(network.tensor(f"{layer}.weight").shape[:2])


def test_reference_by_hand_a_dead_units_bias_goes_where_it_is_read() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
        model[0].bias.copy_(torch.tensor([0.5, 3.0]))
        model[2].weight.copy_(torch.tensor([[1.0, 10.0]]))
        model[2].bias.copy_(torch.tensor([0.25]))
    small, _ = checked(traced(model, 2))
    assert small.tensor("0.weight").tolist() == [[1.0, 2.0]]
    assert small.tensor("2.weight").tolist() == [[1.0]]
    assert small.tensor("2.bias").tolist() == [30.25]


def test_a_network_without_dead_channels_stays_as_it_is() -> None:
    network = tiny.traced()
    small, records = checked(network)
    assert small.program == network.program
    assert tiny.state(small) == tiny.state(network)
    assert {
        layer: record.reason for layer, record in records.items() if record.reason == NOTHING
    } == dict.fromkeys(["conv1", "conv2", "conv3"], NOTHING)
    assert "outputs" in records["fc"].reason


def test_an_unread_channel_goes_with_all_that_makes_it() -> None:
    network = tiny.traced()
    zero(network, "conv2.weight", columns=[1, 4])
    small, records = checked(network)
    assert widths(small, "conv1") == (6, 1)
    assert widths(small, "conv2") == (16, 6)
    assert records["conv1"].after == {"out_channels": 6, "in_channels": 1}


def test_the_fixed_point_goes_upstream_through_several_layers() -> None:
    network = traced(nn.Sequential(*(nn.Linear(4, 4) for _ in range(4))), 4)
    zero(network, "3.weight", columns=[2])
    with torch.no_grad():  # only the row that goes reads channel 1 of the layer before, and so on
        for layer in ("1", "2"):
            weight = network.tensor(f"{layer}.weight")
            kept = weight[2, 2].item()
            weight[:, 2] = 0
            weight[2, 2] = kept
    small, _ = checked(network)
    assert [widths(small, str(layer)) for layer in range(4)] == [(3, 4), (3, 3), (3, 3), (4, 3)]


def test_a_residual_stream_loses_a_channel_only_if_all_its_producers_are_dead() -> None:
    network = tiny.traced()  # conv2 + norm2 and conv3 make the stream together
    dead = [0, 5]
    for name in ("conv3.weight", "conv3.bias"):
        zero(network, name, dead)
    small, records = checked(network)
    assert widths(small, "conv2") == (16, 8)
    assert isinstance(records["conv3"], Refused)
    for name in ("conv2.weight", "conv2.bias", "norm2.weight", "norm2.bias"):
        zero(network, name, dead)
    small, _ = checked(network)
    assert widths(small, "conv2") == (14, 8)
    assert widths(small, "conv3") == (14, 14)
    assert widths(small, "fc") == (10, 14)


class Chain(nn.Module):
    """A convolution with a norm, read by another convolution, and that by a linear layer."""

    def __init__(
        self,
        kernel: int = 3,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        *,
        bias: bool = True,
        norm: bool = True,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, kernel, stride, padding, bias=bias)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.act = act or nn.ReLU()
        self.second = nn.Conv2d(8, 12, kernel, stride, padding, groups=groups, bias=bias)
        self.after = nn.BatchNorm2d(12) if norm else nn.Identity()
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x)))
        return self.fc(F.relu(self.after(self.second(x))).mean((2, 3)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("act", [nn.ReLU(), nn.Sigmoid(), nn.Hardswish()])
def test_constants_go_into_the_next_layer_without_padding(
    bias: bool, norm: bool, stride: int, act: nn.Module
) -> None:
    network = traced(Chain(stride=stride, bias=bias, norm=norm, act=act), 2, 13, 13)
    zero(network, "first.weight", [0, 3, 4])
    small, records = checked(network)
    assert widths(small, "first") == (5, 2)
    assert isinstance(records["first"], Change)
    assert records["first"].note == ""
    if not bias and norm:  # the norm expects less; no new tensor is needed
        assert "second.bias" not in small.program.tensors
    elif not bias and not isinstance(act, nn.Sigmoid):
        assert "second.bias" not in small.program.tensors  # the constants are zero
    else:
        assert "second.bias" in small.program.tensors


def test_beside_zero_padding_one_constant_channel_stands_for_the_others() -> None:
    network = traced(Chain(padding=1, act=nn.Sigmoid()), 2, 9, 9)
    zero(network, "first.weight", [0, 3, 4])
    small, records = checked(network)
    assert widths(small, "first") == (6, 2)  # five that live, and one that stands for three
    assert records["first"].note == "constant, not zero, and beside the padding of second: 1 channels"


def test_a_single_constant_beside_zero_padding_is_refused_with_the_layer() -> None:
    network = traced(Chain(padding=1, act=nn.Sigmoid()), 2, 9, 9)
    zero(network, "first.weight", [3])
    small, records = checked(network)
    assert widths(small, "first") == (8, 2)
    assert isinstance(records["first"], Refused)
    assert records["first"].reason == "constant, not zero, and beside the padding of second: 1 channels"


def test_constants_of_zero_go_beside_any_padding() -> None:
    network = traced(Chain(padding=1), 2, 9, 9)
    for name in ("first.weight", "first.bias", "norm.weight", "norm.bias"):
        zero(network, name, [1, 2])
    small, records = checked(network)
    assert widths(small, "first") == (6, 2)
    assert records["first"].note == ""


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999), kernel=st.sampled_from([1, 2, 3, 5]), stride=st.sampled_from([1, 2]),
    padding=st.integers(0, 2), groups=st.sampled_from([1, 2, 4]), norm=st.booleans(), bias=st.booleans(),
    rows=st.sets(st.integers(0, 7), max_size=7), columns=st.sets(st.integers(0, 1), max_size=2),
    act=st.sampled_from([nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(0.2)]),
)  # fmt: skip
def test_compact_computes_the_same_for_any_convolution(
    seed: int, kernel: int, stride: int, padding: int, groups: int, norm: bool, bias: bool,
    rows: set[int], columns: set[int], act: nn.Module,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    network = traced(Chain(kernel, stride, padding, groups, bias=bias, norm=norm, act=act), 2, 17, 17)
    zero(network, "first.weight", sorted(rows))
    zero(network, "second.weight", columns=sorted(columns))
    checked(network)


@pytest.mark.parametrize("kind", ["filters", "filters with norms", "channels", "columns", "layer"])
@pytest.mark.parametrize("name", [*networks.NETWORKS])
def test_compact_equals_masked_for_every_structure_and_network(name: str, kind: str) -> None:
    network = copy.deepcopy(networks.traced(name)[2])
    generator = torch.Generator().manual_seed(3)
    layers = network.program.weighted_layers()
    with torch.no_grad():
        for index, node in enumerate(
            n for n in network.program.nodes if n.layer in layers and "weight" in n.inputs
        ):
            weight = network.tensor(node.weight)
            flat = weight.reshape(len(weight), -1)
            if kind == "layer":
                if index % 3 == 1 and name in ("resnet18", "grouped", "mobilenet_v2"):
                    weight.zero_()
            elif kind.startswith("filters"):
                flat[torch.rand(len(weight), generator=generator) < 0.4] = 0
            elif kind == "channels":
                weight[:, torch.rand(weight.shape[1], generator=generator) < 0.4] = 0
            else:
                flat[:, torch.rand(flat.shape[1], generator=generator) < 0.4] = 0
        if kind == "filters with norms":
            for node in network.program.nodes:
                if node.op == "aten.batch_norm.default":
                    dead = torch.rand(len(network.tensor(node.weight)), generator=generator) < 0.4
                    for tensor in ("weight", "bias"):
                        network.tensor(node.inputs[tensor].name)[dead] = 0
    checked(network)


def residual() -> GraphNetwork:
    torch.manual_seed(0)
    return traced(Residual28((4, 6, 8)), 1, 28, 28)


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_a_zeroed_block_collapses_to_its_shortcut(layer: str) -> None:
    network = residual()
    for name in ("conv2.weight", "bn2.weight", "bn2.bias"):
        zero(network, f"stage1.1.{name}")
    if layer == "conv1":
        for name in ("conv1.weight", "bn1.weight", "bn1.bias"):
            zero(network, f"stage1.1.{name}")
    small, records = checked(network)
    left = small.program.weighted_layers()
    assert set(network.program.weighted_layers()) - set(left) == {"stage1.1.conv1", "stage1.1.conv2"}
    assert records["stage1.1.conv1"].note == records["stage1.1.conv2"].note == GONE
    assert records["stage1.1.conv2"].after == {"out_channels": 0, "in_channels": 0}
    assert len(small.program.nodes) < len(network.program.nodes)
    assert not [name for name in small.program.tensors if name.startswith("constants")]


def test_a_zeroed_first_convolution_takes_its_partner_with_it() -> None:
    network = residual()  # what the norms make of zeros is constant, and not zero
    zero(network, "stage1.1.conv1.weight")
    zero(network, "stage1.1.bn1.weight")
    zero(network, "stage1.1.bn1.bias")
    small, _ = checked(network)
    left = small.program.weighted_layers()
    assert "stage1.1.conv1" not in left
    assert "stage1.1.conv2" not in left
    constants = [spec.shape for name, spec in small.program.tensors.items() if name.startswith("constants")]
    assert constants == [(1, 4, 1, 1)]


def test_beside_a_projection_the_constant_goes_into_its_norm() -> None:
    network = residual()
    zero(network, "stage2.0.conv2.weight")
    small, _ = checked(network)
    assert "stage2.0.conv1" not in small.program.weighted_layers()
    assert not [name for name in small.program.tensors if name.startswith("constants")]


def test_a_dead_shortcut_leaves_the_branch() -> None:
    network = residual()
    zero(network, "stage2.0.shortcut.0.weight")
    small, records = checked(network)
    assert records["stage2.0.shortcut.0"].note == GONE
    assert "stage2.0.conv1" in small.program.weighted_layers()


def test_what_kills_the_network_leaves_one_channel_and_says_so() -> None:
    network = traced(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), 4)
    zero(network, "2.weight")
    small, records = checked(network)
    assert widths(small, "0") == (1, 4)
    assert records["0"].note == "all of its channels are dead, and one has to stay"


def depthwise() -> GraphNetwork:
    model = nn.Sequential(
        nn.Conv2d(2, 8, 1), nn.Sigmoid(), nn.Conv2d(8, 8, 3, padding=2, groups=8), nn.Sigmoid(),
        nn.Conv2d(8, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    return traced(model, 2, 7, 7)


def test_a_depthwise_layer_hands_on_that_nobody_reads_a_channel() -> None:
    network = depthwise()
    zero(network, "4.weight", columns=[0, 5])
    small, _ = checked(network)
    assert [widths(small, layer) for layer in ("0", "2", "4")] == [(6, 2), (6, 1), (4, 6)]


def test_constants_of_a_dead_depthwise_filter_are_carried_and_its_input_goes() -> None:
    network = depthwise()
    zero(network, "2.weight", [1, 2, 6])
    small, _ = checked(network)
    assert [widths(small, layer) for layer in ("0", "2", "4")] == [(6, 2), (6, 1), (4, 6)]


def test_one_reader_may_need_a_carrier_where_another_does_not() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(2, 6, 1)
            self.wide = nn.Conv2d(6, 4, 3, padding=1)
            self.thin = nn.Conv2d(6, 4, 1)
            self.apart = nn.Conv2d(6, 4, 3, padding=1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.sigmoid(self.first(x))
            return (
                self.wide(x).mean((2, 3))
                + self.thin(x).mean((2, 3))
                + self.apart(torch.relu(x - 1)).mean((2, 3))
            )

    network = traced(Two(), 2, 6, 6)
    zero(network, "first.weight", slice(None))
    with torch.no_grad():
        network.tensor("first.weight")[0] = 1
        network.tensor("first.weight")[3] = 1
    small, _ = checked(network)
    assert len(small.tensor("first.weight")) < 6


class Cut(nn.Module):
    """Channels that are cut in two overlapping parts, each beside padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 1)
        self.low = nn.Conv2d(4, 3, 3, padding=1)
        self.high = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.first(x))
        return self.low(x[:, :4]).mean((2, 3)) + self.high(x[:, 2:]).mean((2, 3))


@pytest.mark.parametrize("dead", [[0, 1], [0, 5], [1, 2, 3], [0, 3, 4, 5], [2, 3], [0, 1, 2, 3, 4, 5]])
def test_a_carrier_is_read_by_all_whose_constants_it_carries(dead: list[int]) -> None:
    network = traced(Cut(), 2, 6, 6)
    zero(network, "first.weight", dead)
    checked(network)


class Twice(nn.Module):
    """A convolution that serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 1)
        self.shared = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.shared(torch.sigmoid(self.shared(torch.sigmoid(self.first(x))))).mean((2, 3)))


def test_tensors_that_serve_twice_take_no_constants() -> None:
    network = traced(Twice(), 2, 5, 5)
    zero(network, "first.weight", [1])
    small, _ = checked(network)
    assert widths(small, "first") == (4, 2)
    zero(network, "shared.weight", columns=[1])
    checked(network)


class Odd(nn.Module):
    """Channels that are cut, joined, gated, pooled with padding and flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 6, 3, padding=1)
        self.b = nn.Conv2d(2, 4, 3, padding=1)
        self.gate = nn.Linear(10, 10)
        self.c = nn.Conv2d(10, 6, 1)
        self.fc = nn.Linear(6 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([torch.sigmoid(self.a(x)), torch.tanh(self.b(x))], 1)
        gated = both * torch.sigmoid(self.gate(both.mean((2, 3))))[:, :, None, None]
        y = F.avg_pool2d(torch.relu(self.c(gated)), 3, 2, 1)
        return self.fc(y.flatten(1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.2, 0.5, 0.8]))
def test_joins_gates_and_pools_keep_the_function(seed: int, share: float) -> None:
    torch.manual_seed(seed)
    network = traced(Odd(), 2, 8, 8)
    with torch.no_grad():
        for layer in ("a", "b", "c", "gate"):
            zero(network, f"{layer}.weight", torch.rand(len(network.tensor(f"{layer}.weight"))) < share)
        for layer in ("c", "gate"):
            zero(network, f"{layer}.weight", columns=torch.rand(10) < share)
    checked(network)


def test_a_gate_without_inputs_becomes_a_tensor() -> None:
    network = traced(Odd(), 2, 8, 8)
    zero(network, "gate.weight")
    _, records = checked(network)
    assert records["gate"].note == GONE


@pytest.mark.parametrize("kind", [Lenet300, Lenet5])
def test_lenets_lose_what_is_dead_and_run_from_a_file(kind: type[nn.Module], tmp_path: Path) -> None:
    network = trace(seeded(kind, 1).eval(), torch.zeros(1, 1, 28, 28))
    for layer in network.program.weighted_layers()[:-1]:
        zero(network, f"{layer}.weight", slice(0, None, 3))
    zero(network, "fc2.weight", columns=slice(1, None, 7))
    small, records = checked(network)
    assert total_parameters(small.program) < 0.6 * total_parameters(network.program)
    assert all(isinstance(records[layer], Change) for layer in network.program.weighted_layers())
    x = inputs(network).numpy()
    found = open_package(save(small, tmp_path / "small.wieldy"))(x)
    with torch.no_grad():
        wanted = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_the_embedded_networks_shape_with_branches_gone_runs_from_a_file(tmp_path: Path) -> None:
    network = residual()
    for block in ("stage1.1", "stage2.0"):
        zero(network, f"{block}.conv2.weight")
    zero(network, "stage3.0.conv1.weight", [1, 2, 3])
    small, _ = checked(network)
    x = inputs(network).numpy()
    found = open_package(save(small, tmp_path / "small.wieldy"))(x)
    with torch.no_grad():
        wanted = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_training_goes_on_after_compact() -> None:
    from wieldy.train.fit import FitConfig, fit

    network = tiny.trained()
    for name in ("conv1.weight", "norm1.weight", "norm1.bias"):
        zero(network, name, [0, 1])
    small, _ = compact(network)
    trained = fit(small, tiny.digits(), config=FitConfig(epochs=1, batch_size=32))
    assert widths(trained, "conv1") == (6, 1)


def test_any_other_module_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"compact: needs a traced network; got Net.*wieldy\.trace"):
        compact(tiny.net())  # type: ignore[arg-type]
