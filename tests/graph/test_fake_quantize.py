"""Where values are rounded: once, as early as may be, and alike where they are joined."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wieldy.graph.fake_quantize import Levels, rounded_values, with_levels
from wieldy.graph.ops import FAKE_QUANTIZE, WEIGHTED
from wieldy.graph.program import Program
from wieldy.graph.soundness import check_program
from wieldy.graph.trace import trace


class Net(nn.Module):
    """A pooling, a residual, a concatenation and a view between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(n, 4, 3, padding=1) for n in (3, 4, 4, 8))
        self.fc = nn.Linear(4 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        first = F.max_pool2d(self.a(x).relu(), 2)
        second = (self.b(first) + first).relu()
        joined = torch.cat([self.c(second).relu(), second], 1)
        return self.fc(self.d(joined).relu().flatten(1))


@pytest.fixture(scope="module")
def program() -> Program:
    return trace(Net().eval(), torch.zeros(1, 3, 8, 8)).program


def layers(program: Program) -> list[str]:
    return [node.name for node in program.nodes if node.op in WEIGHTED]


def test_rounding_moves_before_what_only_hands_numbers_on(program: Program) -> None:
    found = rounded_values(program, layers(program))
    ops = {program.node(name).op for name in found if name not in program.inputs}
    assert ops == {"aten.relu.default"}  # never a pooling, a concatenation or a view
    assert next(iter(found)) in program.inputs


def test_what_is_joined_shares_its_levels_and_nothing_else_does(program: Program) -> None:
    found = rounded_values(program, layers(program))
    (joined,) = (node.name for node in program.nodes if node.op == "aten.cat.default")
    sides = set(program.node(joined).refs())
    for value, members in found.items():
        if value in sides:
            assert set(members) == sides | {joined}
        else:
            assert members == (value,)


def test_each_value_is_rounded_once_and_read_rounded_by_all(program: Program) -> None:
    values = rounded_values(program, layers(program))
    small = with_levels(program, dict.fromkeys(values, Levels(0.1, 3)))
    check_program(small)
    rounding = {node.name: next(node.refs()) for node in small.nodes if node.op == FAKE_QUANTIZE}
    assert sorted(rounding.values()) == sorted(values)
    for node in small.nodes:
        if node.op != FAKE_QUANTIZE:
            assert not set(node.refs()) & set(values)
    assert small.outputs == program.outputs


def test_a_layer_that_stays_leaves_its_input_alone(program: Program) -> None:
    first, *_ = layers(program)
    assert set(rounded_values(program, [first])) == set(program.inputs)
