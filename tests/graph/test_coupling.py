"""What may go together, what must stay and why. That the sets are right is in test_coupling_oracle.py."""

import networks
import pytest
import torch
from torch import Tensor, nn

from wieldy.graph.coupling import Coupling, couple
from wieldy.graph.trace import trace

IMAGE = torch.zeros(1, 3, 4, 4)


class Two(nn.Module):
    """Two convolutions of the input and what is made of them."""

    def __init__(self, join: str) -> None:
        super().__init__()
        self.join = join
        self.a = nn.Conv2d(3, 3, 1)
        self.b = nn.Conv2d(3, 3, 1)
        self.last = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        match self.join:
            case "input":
                return self.last(a + x) + self.last(b)
            case "softmax":
                return self.last(a.softmax(1) + b)
            case "mean":
                return self.last(b * a.mean(1, keepdim=True))
            case "split":
                return self.last(a) * a.flatten(1).unflatten(1, (6, 8)).mean((1, 2)).reshape(-1, 1, 1, 1)
            case _:
                return self.last(a + b)


def coupled(model: nn.Module, example: Tensor = IMAGE) -> Coupling:
    return couple(trace(model, example).program)


PINNED = {
    "input": {"a": "add joins them", "b": "add joins them"},  # the weights of `last` read both
    "softmax": {"a": "softmax normalises over them", "b": "softmax normalises over them"},
    "mean": {"a": "mean averages over them"},
    "split": {"a": "mean averages over them"},
    "sum": {},
}


@pytest.mark.parametrize("join", PINNED)
def test_channels_that_must_stay_name_the_reason(join: str) -> None:
    pinned = dict(coupled(Two(join)).pinned)
    assert pinned.pop("last") == "its channels are the network's outputs"
    assert set(pinned) == set(PINNED[join])
    assert all(reason in pinned[layer] for layer, reason in PINNED[join].items())


def test_a_group_is_printed_with_its_size_and_every_axis() -> None:
    assert [str(group) for group in coupled(Two("sum")).groups] == [
        "a: 3 channels in a.weight[0], a.bias[0], b.weight[0], b.bias[0], last.weight[1]"
    ]


def test_a_residual_stream_is_one_group_and_the_inside_of_each_block_another() -> None:
    coupling = couple(networks.traced("resnet18")[2].program)
    inside = {f"layer{i}.{k}.conv1" for i in (1, 2, 3, 4) for k in (0, 1)}
    streams = {"conv1", "layer2.0.downsample.0", "layer3.0.downsample.0", "layer4.0.downsample.0"}
    assert {group.name for group in coupling.groups} == inside | streams
    assert coupling.group("conv1").size == 8


def test_a_weight_that_reads_the_input_and_something_else_keeps_its_columns() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(4, 4)
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.shared(self.shared(x)))

    coupling = coupled(Model(), torch.zeros(1, 4))
    assert coupling.groups == ()
    assert "inputs" in coupling.pinned["shared"]


def test_groups_of_one_layer_have_names_of_their_own() -> None:
    class Model(nn.Module):
        """Two channels of `whole` meet `left`, the third meets `right`."""

        def __init__(self) -> None:
            super().__init__()
            self.whole, self.left, self.right = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1), nn.Conv2d(3, 1, 1)
            self.last = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.whole(x) + torch.cat([self.left(x), self.right(x)], 1))

    coupling = coupled(Model())
    assert [(group.name, group.size) for group in coupling.groups] == [("whole", 2), ("whole#2", 1)]
    assert all(coupling.group(group.name) is group for group in coupling.groups)


def test_coupling_depends_on_the_program_alone() -> None:
    program = networks.traced("grouped")[2].program
    first, second = couple(program), couple(program)
    assert first.groups == second.groups
    assert first.pinned == second.pinned
