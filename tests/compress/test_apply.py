"""Applying a plan: a smaller copy, and every layer accounted for."""

import networks
import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from wieldy.compress.apply import account, apply_plan
from wieldy.core.errors import ConfigError
from wieldy.core.records import Plan
from wieldy.graph.cost import total_macs, total_parameters
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Program
from wieldy.graph.program_json import program_to_json
from wieldy.graph.trace import trace

METHOD = {"name": "random", "seed": 5}


def plan_for(network: GraphNetwork, share: float = 0.5) -> Plan:
    groups = couple(network.program).groups
    return Plan(
        method=METHOD,
        remove={g.name: tuple(range(int(share * g.size))) for g in groups if int(share * g.size)},
    )


def layers(program: Program) -> set[str]:
    weighted = ("aten.conv2d.default", "aten.linear.default")
    return {node.layer for node in program.nodes if node.op in weighted}


def test_the_copy_is_physically_smaller_and_the_original_untouched() -> None:
    network = tiny.traced()
    before, program = tiny.state(network), program_to_json(network.program)
    small = apply_plan(network, Plan(method=METHOD, remove={"conv1": (0, 1, 2), "conv2": (4,)}))
    assert tiny.state(network) == before
    assert program_to_json(network.program) == program
    assert {name: tuple(tensor.shape) for name, tensor in small.state_dict().items() if "weight" in name} == {
        "conv1.weight": (5, 1, 3, 3), "norm1.weight": (5,), "conv2.weight": (15, 5, 3, 3),
        "norm2.weight": (15,), "conv3.weight": (15, 15, 3, 3), "fc.weight": (10, 15),
    }  # fmt: skip
    assert small.get_submodule("conv2").in_channels == 5
    assert small(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_what_stays_is_bit_for_bit_what_it_was() -> None:
    network = tiny.traced()
    small = apply_plan(network, Plan(method=METHOD, remove={"conv1": (0, 3)}))
    kept = [1, 2, 4, 5, 6, 7]
    assert torch.equal(small.tensor("conv1.weight"), network.tensor("conv1.weight")[kept])
    assert torch.equal(small.tensor("conv2.weight"), network.tensor("conv2.weight")[:, kept])
    assert torch.equal(small.tensor("norm1.running_var"), network.tensor("norm1.running_var")[kept])
    assert torch.equal(small.tensor("fc.weight"), network.tensor("fc.weight"))


def test_an_empty_plan_changes_no_byte() -> None:
    network = tiny.traced()
    small = apply_plan(network, Plan(method=METHOD, remove={}))
    assert tiny.state(small) == tiny.state(network)
    assert small.program == network.program


@pytest.mark.parametrize(
    ("remove", "rule"),
    [
        ({"conv9": (0,)}, "no group 'conv9'"),
        ({"conv1": (8,)}, "channels 0 to 7"),
        ({"conv1": tuple(range(8))}, "stay"),
    ],
)
def test_a_plan_for_another_network_is_refused(remove: dict[str, tuple[int, ...]], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        apply_plan(tiny.traced(), Plan(method=METHOD, remove=remove))


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_layer_with_weights_has_exactly_one_record(name: str) -> None:
    _, _, network = networks.traced(name)
    for share in (0.0, 0.5):
        plan = plan_for(network, share)
        small = apply_plan(network, plan)
        changes, refused = account(network.program, small.program, plan)
        named = [record.layer for record in (*changes, *refused)]
        assert sorted(named) == sorted(layers(network.program))
        assert all(record.method == "random" for record in (*changes, *refused))
        assert all(record.reason for record in refused)
        assert bool(changes) is (share > 0)


def test_records_say_how_wide_each_layer_was_and_is() -> None:
    network = tiny.traced()
    plan = Plan(method=METHOD, remove={"conv1": (0, 1, 2)})
    changes, refused = account(network.program, apply_plan(network, plan).program, plan)
    assert {c.layer: (c.before, c.after, c.seed) for c in changes} == {
        "conv1": ({"out_channels": 8, "in_channels": 1}, {"out_channels": 5, "in_channels": 1}, 5),
        "conv2": ({"out_channels": 16, "in_channels": 8}, {"out_channels": 16, "in_channels": 5}, 5),
    }
    assert {r.layer: r.reason for r in refused} == {
        "conv3": "the plan keeps all of its channels",
        "fc": "its channels are the network's outputs",
    }


def test_widths_of_a_depthwise_layer_are_those_of_its_output_and_input() -> None:
    class Depthwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.depth = nn.Conv2d(1, 6, 1), nn.Conv2d(6, 6, 3, groups=6)
            self.last = nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.depth(self.first(x))).mean((2, 3))

    network = trace(Depthwise(), torch.zeros(1, 1, 5, 5))
    plan = Plan(method=METHOD, remove={"first": (1, 2)})
    changes, _ = account(network.program, apply_plan(network, plan).program, plan)
    (found,) = [change for change in changes if change.layer == "depth"]
    assert found.before == {"out_channels": 6, "in_channels": 6}
    assert found.after == {"out_channels": 4, "in_channels": 4}


class Shared(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.twice(torch.tanh(self.twice(torch.tanh(self.first(x)))))))


@pytest.mark.parametrize("remove", [{}, {"first": (0, 4)}])
def test_a_layer_that_is_called_twice_has_one_record(remove: dict[str, tuple[int, ...]]) -> None:
    network = trace(Shared(), torch.zeros(1, 4))
    plan = Plan(method=METHOD, remove=remove)
    changes, refused = account(network.program, apply_plan(network, plan).program, plan)
    assert sorted(record.layer for record in (*changes, *refused)) == ["first", "last", "twice"]


def test_figures_follow_the_channels() -> None:
    network = tiny.traced()
    small = apply_plan(network, plan_for(network))
    held = sum(parameter.numel() for parameter in small.parameters())
    assert total_parameters(small.program) == held < total_parameters(network.program)
    # conv1, conv2, conv3, fc at half the width
    assert total_macs(small.program) == 64 * 9 * 4 + 16 * 9 * 4 * 8 + 16 * 9 * 8 * 8 + 80


def test_plans_apply_one_after_the_other() -> None:
    network = tiny.traced()
    step = apply_plan(network, Plan(method=METHOD, remove={"conv1": (0, 1)}))
    two = apply_plan(step, Plan(method=METHOD, remove={"conv1": (0,)}))
    one = apply_plan(network, Plan(method=METHOD, remove={"conv1": (0, 1, 2)}))
    assert tiny.state(two) == tiny.state(one)
    x = torch.from_numpy(tiny.digits().test.inputs[:4])
    np.testing.assert_array_equal(two(x).detach().numpy(), one(x).detach().numpy())
