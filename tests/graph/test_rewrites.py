"""Operators that a program says in other words compute what torch computes, in torch and in OpenVINO."""

import copy
from collections.abc import Callable

import networks
import op_cases
import pytest
import torch
from torch import Tensor, nn

from wieldy.core.errors import TraceError
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import OPS
from wieldy.graph.removal import remove_units
from wieldy.graph.rewrites import REWRITES
from wieldy.graph.trace import trace
from wieldy.runtime.engine import compile_model
from wieldy.runtime.lower import lower

IMAGE = (3, 4, 8, 6)
CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "stack, a new first axis": lambda x: torch.stack([x, 2 * x, x.relu()], 1),
    "stack, a new last axis": lambda x: torch.stack([x, -x], -1),
    "stack of one": lambda x: torch.stack([x.relu()], 2),
    "diff, channels": lambda x: x.diff(dim=1),
    "diff, last axis": lambda x: x.diff(),
    "roll, one axis": lambda x: x.roll(2, 2),
    "roll, two axes, backwards": lambda x: x.roll((-3, 1), (-1, 1)),
    "roll by more than there is": lambda x: x.roll(13, 3),
    "roll by all there is": lambda x: x.roll(6, 3),
    "var": lambda x: x.var((2, 3)),
    "var, biased, axes kept": lambda x: x.var(1, unbiased=False, keepdim=True),
    "var, corrected by two": lambda x: torch.var(x, -1, correction=2),
    "std": lambda x: x.std(1),
    "std, axes kept": lambda x: x.std((1, 2, 3), keepdim=True),
}


def in_openvino(network: GraphNetwork, x: Tensor) -> Tensor:
    compiled = compile_model(lower(network.program, network.arrays(), len(x)), threads=1)
    return torch.from_numpy(compiled(x.numpy())[0])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, 3])
def test_it_computes_the_same_in_torch_and_in_openvino(name: str, batch: int) -> None:
    torch.manual_seed(0)
    model, x = op_cases.Call(CASES[name]), torch.randn(IMAGE)
    network = trace(model, x)
    assert {node.op for node in network.program.nodes} <= set(OPS)
    wanted = model(x[:batch])
    assert networks.relative_error(network(x[:batch]), wanted) < 1e-5
    assert networks.relative_error(in_openvino(network, x[:batch]), wanted) < 1e-5


class Between(nn.Module):
    """A function of channels between two layers."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(4, 8, 3, padding=1), nn.LazyConv2d(5, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.before(x)))


KEEP_CHANNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "roll over places": lambda x: x.roll((1, 2), (2, 3)),
    "diff over places": lambda x: x.diff(dim=3),
    "stack of two, averaged": lambda x: torch.stack([x.relu(), x], 1).mean(1),
    "divided by its deviation": lambda x: x / (x.std((2, 3), keepdim=True) + 1),
}


@pytest.mark.parametrize("name", KEEP_CHANNELS)
def test_channels_pass_through_and_removing_them_equals_masking_them(name: str) -> None:
    torch.manual_seed(0)
    model, x = Between(KEEP_CHANNELS[name]).eval(), torch.randn(IMAGE)
    model(x)
    network = trace(model, x)
    coupling = couple(network.program)
    (group,) = coupling.groups
    gone = (1, 4, 6)
    small, masked = copy.deepcopy(network), copy.deepcopy(network)
    small.replace_program(*remove_units(network.program, coupling, {group.name: gone}))
    for (tensor, axis), indices in group.members.items():
        chosen = torch.tensor([index for unit in gone for index in indices[unit]])
        masked.tensor(tensor).detach().index_fill_(axis, chosen, 0.0)
    assert networks.relative_error(small(x), masked(x)) < 1e-5
    assert networks.relative_error(masked(x), network(x)) > 1e-3
    assert networks.relative_error(in_openvino(small, x), small(x)) < 1e-4


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (lambda x: x.roll(1), "fixed axes"),
        (lambda x: x.roll(1, 0), "fixed axes"),
        (lambda x: x.std(0), "mixes the examples"),
        (lambda x: x.var(0, keepdim=True), "mixes the examples"),
        (lambda x: x.var((), correction=0), "mixes the examples"),
        (lambda x: torch.var(x.relu(), 1, correction=4), "needs more numbers than its correction, 4; got 4"),
        (lambda x: x.diff(2), "taken once"),
    ],
)
def test_what_mixes_examples_or_has_no_value_is_refused(
    function: Callable[[Tensor], Tensor], rule: str
) -> None:
    with pytest.raises(TraceError, match=rule):
        trace(op_cases.Call(function), torch.randn(IMAGE))


def test_no_operator_is_both_known_and_said_in_other_words_but_for_those_that_take_less() -> None:
    assert {op for op in REWRITES if op in OPS} == {
        "aten.lstm.input", "aten.gru.input", "aten.upsample_nearest1d.vec", "aten.upsample_nearest2d.vec",
        "aten.upsample_bilinear2d.vec", "aten.full.default", "aten.to.dtype",
    }  # fmt: skip
