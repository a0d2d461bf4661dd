"""A lowered program computes in OpenVINO what torch computes, under the names of its nodes."""

import json
from contextlib import suppress

import networks
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import relative_error
from torch import Tensor, nn

from wieldy.core.errors import InternalError, SchemaError
from wieldy.graph import rules
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.operators import operator
from wieldy.graph.ops import OPS
from wieldy.graph.program import Node, Program, Ref, Spec
from wieldy.graph.program_json import program_from_json, program_to_json
from wieldy.graph.soundness import check_program
from wieldy.graph.trace import trace
from wieldy.runtime.engine import compile_model
from wieldy.runtime.lower import lower
from wieldy.runtime.lowering.table import LOWERINGS


def in_openvino(program: Program, arrays: dict[str, np.ndarray], x: Tensor) -> Tensor:
    return torch.from_numpy(compile_model(lower(program, arrays, len(x)), threads=1)(x.numpy())[0].copy())


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_network_computes_in_openvino_what_it_does_in_torch(name: str, batch: int) -> None:
    model, x, network = networks.traced(name)
    found = in_openvino(network.program, network.arrays(), x[:batch])
    assert relative_error(found, model(x[:batch])) < 1e-4


def test_every_operator_has_a_lowering_a_label_rule_and_a_function() -> None:
    assert set(LOWERINGS) == set(OPS)
    assert all(callable(rules.rule_of(op)) and callable(operator(op)) for op in OPS)
    named = [rules.RULES, rules.ELEMENTWISE, rules.BINARY, rules.POOLING, rules.SOFTMAX, rules.REDUCTIONS]
    named += [rules.TRANSPOSED, rules.RECURRENT]
    assert sorted(op for ops in named for op in ops) == sorted(OPS)  # each by one rule alone


def test_an_operator_that_was_forgotten_is_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "aten.new.default", (("self", "value"),))
    node = Node("y", "aten.new.default", {"self": Ref("x")}, "", (None, 3))
    program = Program({"x": Spec((None, 3))}, (node,), ("y",), {})
    check_program(program)
    with pytest.raises(InternalError, match="no lowering"):
        lower(program, {}, 1)
    with pytest.raises(InternalError, match="no rule"):
        couple(program)


def test_operations_and_inputs_carry_the_names_of_their_nodes() -> None:
    _, _, network = networks.traced("resnet18")
    names = {op.get_friendly_name() for op in lower(network.program, network.arrays(), 1).get_ops()}
    assert {node.name for node in network.program.nodes} <= names
    assert set(network.program.inputs) <= names


def test_dropout_adds_nothing_and_leaves_the_earlier_name() -> None:
    network = trace(nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.Dropout()), torch.zeros(1, 3))
    names = [op.get_friendly_name() for op in lower(network.program, network.arrays(), 1).get_ops()]
    assert "linear" in names
    assert not any(name.startswith("dropout") for name in names)


def test_an_output_may_be_an_input_and_come_twice() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            y = x.relu()
            return x, y, y

    network, x = trace(Model(), torch.zeros(1, 3)), torch.randn(2, 3)
    found = compile_model(lower(network.program, network.arrays(), 2), threads=1)(x.numpy())
    assert all(np.array_equal(found[i], want.numpy()) for i, want in enumerate((x, x.relu(), x.relu())))


def test_lowering_leaves_the_arrays_alone_and_owns_its_own() -> None:
    _, x, network = networks.traced("user_cnn")
    arrays = network.arrays()
    before = {name: array.copy() for name, array in arrays.items()}
    model = lower(network.program, arrays, len(x))
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)
    for array in arrays.values():
        array[...] = 0
    found = compile_model(model, threads=1)(x.numpy())[0]
    assert relative_error(found.copy(), network(x)) < 1e-4


POOLS = {
    "avg": lambda k, s, p, d, ceil: nn.AvgPool2d(k, s, p, ceil),
    "avg without padding": lambda k, s, p, d, ceil: nn.AvgPool2d(k, s, p, ceil, count_include_pad=False),
    "max": lambda k, s, p, d, ceil: nn.MaxPool2d(k, s, p, d, ceil_mode=ceil),
}


@pytest.mark.parametrize("kind", POOLS)
@given(data=st.data())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_pooling_agrees_at_every_border(kind: str, data: st.DataObject) -> None:
    k, s = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    p, d = data.draw(st.integers(0, k // 2)), data.draw(st.integers(1, 2 if kind == "max" else 1))
    ceil, size = data.draw(st.booleans()), data.draw(st.tuples(st.integers(7, 12), st.integers(7, 12)))
    model, x = POOLS[kind](k, s, p, d, ceil), torch.randn(2, 3, *size) - 2
    op = f"aten.{kind[:3]}_pool2d.default"
    given = {"self": Ref("x"), "kernel_size": (k, k), "stride": (s, s), "padding": (p, p)}
    average = {"count_include_pad": kind == "avg", "divisor_override": None}
    inputs = given | {"ceil_mode": ceil} | (average if kind[:3] == "avg" else {"dilation": (d, d)})
    node = Node("y", op, inputs, "", (None, *model(x).shape[1:]))
    program = Program({"x": Spec((None, 3, *size))}, (node,), ("y",), {})
    check_program(program)
    assert torch.equal(GraphNetwork(program, {}, {})(x), model(x))
    assert relative_error(in_openvino(program, {}, x), model(x)) < 1e-5


def test_a_chain_of_single_numbers_compiles() -> None:
    layers = [nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 1), nn.Linear(1, 3)]
    torch.manual_seed(0)
    model, x = nn.Sequential(*layers), torch.randn(3, 4)
    network = trace(model, x)
    assert relative_error(in_openvino(network.program, network.arrays(), x), model(x)) < 1e-4


@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_program_whose_shapes_do_not_fit_is_refused_and_crashes_nothing(data: st.DataObject) -> None:
    _, _, network = networks.traced("user_cnn")
    raw = json.loads(program_to_json(network.program))
    node = data.draw(st.sampled_from(raw["nodes"]))
    drawn = [None, *data.draw(st.lists(st.integers(0, 9), max_size=3))]
    assume(drawn != node["shape"])
    node["shape"] = drawn
    program = program_from_json(json.dumps(raw))
    with pytest.raises(SchemaError, match="program: "):
        lower(program, network.arrays(), 2)
    with suppress(SchemaError):
        couple(program)
