"""A program is JSON both ways, and is refused unless it is sound."""

import json
from collections.abc import Callable
from typing import Any

import networks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wieldy.core.errors import SchemaError
from wieldy.core.strict_json import LARGEST
from wieldy.graph.ops import OPS
from wieldy.graph.program import DTYPES, Node, Program, Ref, Spec, Stored
from wieldy.graph.program_json import program_from_json, program_to_json
from wieldy.graph.soundness import check_program

WHOLE = st.integers(-LARGEST, LARGEST)
ARGUMENTS = {
    "value": st.builds(Ref, st.just("x")),
    "values": st.lists(st.just(Ref("x")), min_size=1, max_size=3).map(tuple),
    "tensor": st.just(Stored("w")),
    "tensor?": st.sampled_from([None, Stored("w")]),
    "operand": st.one_of(st.just(Ref("x")), st.just(Stored("w")), WHOLE, st.floats(-1e9, 1e9)),
    "operand?": st.sampled_from([None, Ref("x"), Stored("w")]),
    "float?": st.one_of(st.none(), st.floats(-1e9, 1e9)),
    "ints": st.lists(st.integers(-4, 4), max_size=4).map(tuple),
    "naturals": st.lists(st.integers(0, 4), max_size=4).map(tuple),
    "positives": st.lists(st.integers(1, 4), max_size=4).map(tuple),
    "int": st.integers(-4, 64),
    "positive": st.integers(1, 64),
    "float": st.one_of(st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False)),
    "bool": st.booleans(),
    "none|tanh": st.sampled_from(["none", "tanh"]),
    "constant|reflect|replicate": st.sampled_from(["constant", "reflect", "replicate"]),
    "dtype": st.sampled_from(DTYPES),
    "none": st.none(),
}
INPUTS = {"x": Spec((None, 3))}
TENSORS = {"w": Spec((3, 3))}


LEAST = {"ints": -4, "naturals": 0, "positives": 1}


def argument(op: str, kind: str) -> st.SearchStrategy[Any]:
    """Any argument of a kind; an operator that slides over axes has a number for each of them."""
    axes = next((count for count in (1, 2) if f"{count}d." in op), 0)
    if kind in LEAST and axes:
        return st.tuples(*[st.integers(LEAST[kind], 4)] * axes)
    return ARGUMENTS[kind]


def node(op: str) -> st.SearchStrategy[Node]:
    arguments = st.fixed_dictionaries({name: argument(op, kind) for name, kind in OPS[op]})
    shape = st.lists(st.integers(0, 9), max_size=4).map(lambda sizes: (None, *sizes))
    dtype = st.sampled_from(DTYPES)
    module = st.text("aZ9_. ø", max_size=5)
    return st.builds(Node, st.just("y"), st.just(op), arguments, module, shape, dtype)


@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
@settings(max_examples=10, deadline=None, derandomize=True)
def test_a_node_of_any_operator_is_read_back_equal(op: str, data: st.DataObject) -> None:
    program = Program(INPUTS, (data.draw(node(op)),), ("y",), TENSORS)
    check_program(program)
    assert program_from_json(program_to_json(program)) == program
    assert program_from_json(program_to_json(program).encode()) == program


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_traced_program_is_read_back_equal(name: str) -> None:
    program = networks.traced(name)[2].program
    assert program_from_json(program_to_json(program)) == program


def test_arguments_are_read_in_their_operators_order() -> None:
    raw = sound()
    raw["nodes"][0]["inputs"] = dict(reversed(raw["nodes"][0]["inputs"].items()))
    assert list(program_from_json(json.dumps(raw)).nodes[0].inputs) == ["input", "weight", "bias"]


def sound() -> dict[str, Any]:
    """A sound program of two nodes, as JSON holds it."""
    linear = {"input": {"value": "x"}, "weight": {"tensor": "w"}, "bias": None}
    relu = {"self": {"value": "y"}}
    return {
        "inputs": {"x": {"shape": [None, 3], "dtype": "float32"}},
        "nodes": [
            {"name": "y", "op": "aten.linear.default", "module": "", "shape": [None, 3], "inputs": linear},
            {"name": "z", "op": "aten.relu.default", "module": "", "shape": [None, 3], "inputs": relu},
        ],
        "outputs": ["z"],
        "tensors": {"w": {"shape": [3, 3], "dtype": "float32", "learned": True}},
    }  # fmt: skip


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one place of the JSON."""

    def change(raw: dict[str, Any]) -> None:
        place: Any = raw
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


FIRST, SECOND = ("nodes", 0), ("nodes", 1)
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "unknown operator": (put(*SECOND, "op", value="aten.system.default"), "not on the allow-list"),
    "python operator": (put(*SECOND, "op", value="os.system"), "not on the allow-list"),
    "operator that is no text": (put(*SECOND, "op", value=["aten.relu.default"]), "must be text"),
    "missing argument": (put(*SECOND, "inputs", value={}), "must have"),
    "extra argument": (put(*SECOND, "inputs", "inplace", value=True), "must have"),
    "literal for a value": (put(*SECOND, "inputs", "self", value=3), "of kind value"),
    "tensor for a value": (put(*SECOND, "inputs", "self", value={"tensor": "w"}), "of kind value"),
    "value for a tensor": (put(*FIRST, "inputs", "weight", value={"value": "x"}), "of kind tensor"),
    "missing weight": (put(*FIRST, "inputs", "weight", value=None), "of kind tensor"),
    "argument of two kinds": (put(*FIRST, "inputs", "weight", value={"tensor": "w", "a": 1}), "ValueError"),
    "argument of another kind": (put(*FIRST, "inputs", "weight", value={"code": "w"}), "ValueError"),
    "name defined twice": (put(*SECOND, "name", value="y"), "defined twice"),
    "name of an input": (put(*SECOND, "name", value="x"), "defined twice"),
    "value that is undefined": (put(*SECOND, "inputs", "self", value={"value": "q"}), "nothing before it"),
    "value of its own": (put(*SECOND, "inputs", "self", value={"value": "z"}), "nothing before it"),
    "value from later": (put(*FIRST, "inputs", "input", value={"value": "z"}), "nothing before it"),
    "tensor that is not stored": (put(*FIRST, "inputs", "weight", value={"tensor": "v"}), "not stored"),
    "output that is undefined": (put("outputs", value=["q"]), "outputs must name"),
    "no output": (put("outputs", value=[]), "outputs must name"),
    "output that is a list": (put("outputs", value=[["z"]]), "must be text"),
    "name that is no text": (put(*SECOND, "name", value=7), "must be text"),
    "negative size": (put(*SECOND, "shape", value=[None, -3]), "ValueError"),
    "size that is no number": (put(*SECOND, "shape", value=[None, "3"]), "ValueError"),
    "size that is true": (put(*SECOND, "shape", value=[None, True]), "ValueError"),
    "shape that is no list": (put("tensors", "w", "shape", value=9), "ValueError"),
    "dtype that is no text": (put("tensors", "w", "dtype", value=None), "must be text"),
    "nodes that are no list": (put("nodes", value=3), "TypeError"),
    "node that is no object": (put("nodes", value=["relu"]), "TypeError"),
    "inputs that are no object": (put("inputs", value=["x"]), "AttributeError"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_an_unsound_program_is_refused(name: str) -> None:
    raw = sound()
    program_from_json(json.dumps(raw))
    change, reason = CHANGES[name]
    change(raw)
    with pytest.raises(SchemaError, match=reason):
        program_from_json(json.dumps(raw))


KINDS: dict[str, tuple[str, list[Any]]] = {  # an operator, an argument of it, and values that do not fit
    "ints": (
        "aten.permute.default",
        ["dims", 2, [2.0], [True], ["2"], [{"value": "x"}], None, [2**64]],
    ),
    "naturals": ("aten.max_pool2d.default", ["padding", 2, [2.0], [True], ["2"], None, [-1], [2**63]]),
    "positives": ("aten.max_pool2d.default", ["stride", 2, [2.0], [True], None, [0], [1, -1]]),
    "bool": ("aten.max_pool2d.default", ["ceil_mode", 1, None, "true", []]),
    "int": ("aten.cumsum.default", ["dim", 2.0, True, None, "2", [2]]),
    "positive": ("aten.conv2d.default", ["groups", 2.0, True, None, "2", [2], 0, -1]),
    "float": ("aten.leaky_relu.default", ["negative_slope", True, None, "0.1", float("nan"), float("inf")]),
    "dtype": ("aten.to.dtype", ["dtype", 1, None, "float64", "object"]),
    "none|tanh": ("aten.gelu.default", ["approximate", 1, None, ["none"], "none|tanh", "", "erf"]),
    "none": ("aten.softmax.int", ["dtype", 6, "float64", False]),
    "values": ("aten.cat.default", ["tensors", [], {"value": "x"}, [{"tensor": "w"}], [1], None]),
    "operand": ("aten.mul.Tensor", ["other", None, True, "2", [2], float("inf")]),
    "tensor?": ("aten.linear.default", ["bias", 0, {"value": "x"}, "w"]),
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=3, deadline=None, derandomize=True)
def test_a_literal_of_another_kind_is_refused(kind: str, data: st.DataObject) -> None:
    op, (argument, *wrong) = KINDS[kind]
    assert dict(OPS[op])[argument] == kind
    good = json.loads(program_to_json(Program(INPUTS, (data.draw(node(op)),), ("y",), TENSORS)))
    for value in wrong:
        raw = json.loads(json.dumps(good))
        raw["nodes"][0]["inputs"][argument] = value
        with pytest.raises(SchemaError):
            program_from_json(json.dumps(raw))


TEXTS = {
    "empty": "", "no json": "program", "list": "[]", "number": "7", "null": "null",
    "cut off": '{"inputs": {', "no parts": "{}",
    "deep list": "[" * 100_000, "deep object": '{"a":' * 100_000, "no utf-8": b"\xff\xfe\x00",
    "long number": '{"inputs": ' + "9" * 10_000 + "}",
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_program_is_refused(name: str) -> None:
    with pytest.raises(SchemaError, match="is not what a program looks like"):
        program_from_json(TEXTS[name])


def test_deep_arguments_are_refused() -> None:
    text = json.dumps(sound()).replace('"bias": null', '"bias": ' + "[" * 5000 + "]" * 5000)
    with pytest.raises(SchemaError):
        program_from_json(text)


KEYS = st.text(max_size=3)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


@given(ANY_JSON, st.sampled_from(["inputs", "nodes", "outputs", "tensors"]))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_json_in_any_part_is_a_program_or_refused(value: Any, part: str) -> None:
    raw = sound() | {part: value}
    try:
        program = program_from_json(json.dumps(raw))
    except SchemaError:
        return
    assert program_from_json(program_to_json(program)) == program


def test_a_program_that_json_cannot_hold_is_not_written() -> None:
    broken = Node("y", "aten.mul.Tensor", {"self": Ref("x"), "other": float("inf")}, "", (None, 3))
    with pytest.raises(SchemaError, match="of kind operand"):
        check_program(Program(INPUTS, (broken,), ("y",), {}))
    with pytest.raises(ValueError, match="JSON"):
        program_to_json(Program(INPUTS, (broken,), ("y",), {}))
