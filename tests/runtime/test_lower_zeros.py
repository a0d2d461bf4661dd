"""A program that contradicts itself is refused before kernels, which check nothing, see it."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from planes import Planes, needs_kernels, zeros_with

from wieldy.core.errors import SchemaError
from wieldy.graph.program_json import program_from_json, program_to_json
from wieldy.runtime.lower import lower

pytestmark = needs_kernels


def net() -> Planes:
    made = Planes()
    first = made.conv(made.input(4, 6, 6), 8, padding=(1, 1), block=8)
    made.conv(made.max_pool(made.relu(made.norm(first)), (2, 2), (2, 2), (0, 0)), 4)
    return made


NET = net()
RAW = program_to_json(NET.program())
ZEROS = zeros_with(NET.blocks, "portable")


def refused(raw: dict[str, Any], **tensors: np.ndarray) -> None:
    with pytest.raises(SchemaError, match="program: "):
        lowered(raw, tensors)


def lowered(raw: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    lower(program_from_json(json.dumps(raw)), NET.tensors | tensors, 2, ZEROS)


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        (0, "groups", 3),
        (0, "stride", [0, 0]),
        (0, "stride", [1, 2]),
        (0, "dilation", [0, 0]),
        (0, "dilation", [2, 1]),
        (0, "padding", [-5, -5]),
        (0, "padding", [2, 1]),
        (3, "kernel_size", []),
        (3, "kernel_size", [0, 0]),
        (3, "stride", [0, 0]),
        (3, "padding", [3, 3]),
    ],
)
def test_an_argument_that_does_not_fit_is_refused(node: int, name: str, value: Any) -> None:
    raw = json.loads(RAW)
    raw["nodes"][node]["inputs"][name] = value
    refused(raw)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("0.weight", (8, 40, 3, 3)), ("0.weight", (16, 4, 3, 3)), ("0.weight", (8, 4, 3, 1)), ("0.bias", (3,))],
)
def test_a_tensor_of_another_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    refused(json.loads(RAW), **{name: np.ones(shape, np.float32)})


@given(data=st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_shape_that_no_node_yields_is_refused(data: st.DataObject) -> None:
    raw = json.loads(RAW)
    node = data.draw(st.sampled_from(raw["nodes"]))
    batch = data.draw(st.sampled_from((None, None, 1)))
    drawn = [batch, *data.draw(st.lists(st.sampled_from((1, 3, 4, 6, 8, 900)), min_size=3, max_size=3))]
    assume(drawn != node["shape"])
    node["shape"] = drawn
    refused(raw)
