"""A program as JSON, and back."""

import json
from typing import Any

from wieldy.core import strict_json
from wieldy.core.errors import ProgramError
from wieldy.graph.ops import OPS
from wieldy.graph.program import FLOAT, Argument, Node, Program, Ref, Shape, Spec, Stored
from wieldy.graph.soundness import check_program


def program_to_json(program: Program) -> str:
    """Return the program as JSON; `program_from_json` reads it back equal."""
    return json.dumps(
        {
            "inputs": {name: _spec_out(spec) for name, spec in program.inputs.items()},
            "nodes": [_node_out(node) for node in program.nodes],
            "outputs": program.outputs,
            "tensors": {name: _spec_out(t) | {"learned": t.learned} for name, t in program.tensors.items()},
        },
        indent=1,
        allow_nan=False,
    )


def program_from_json(text: str | bytes) -> Program:
    """Read a program and check it.

    Raises:
        ProgramError: it is not what a program looks like.
        SchemaError: see `check_program`.
    """
    try:
        raw = strict_json.loads(text)
        program = Program(
            inputs={name: _spec_in(spec) for name, spec in raw["inputs"].items()},
            nodes=tuple(_node_in(node) for node in raw["nodes"]),
            outputs=tuple(_text_in(name) for name in raw["outputs"]),
            tensors={name: _spec_in(spec, spec["learned"]) for name, spec in raw["tensors"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProgramError(
            f"program: is not what a program looks like ({type(error).__name__}: {error!s:.200})."
        ) from None
    check_program(program)
    return program


def _node_out(node: Node) -> dict[str, Any]:
    found = {
        "name": node.name,
        "op": node.op,
        "module": node.module,
        "shape": node.shape,
        "inputs": {name: _argument_out(value) for name, value in node.inputs.items()},
    }
    return found if node.dtype == FLOAT else found | {"dtype": node.dtype}


def _argument_out(value: Argument) -> Any:
    if isinstance(value, Ref):
        return {"value": value.name}
    if isinstance(value, Stored):
        return {"tensor": value.name}
    if isinstance(value, tuple):
        return [_argument_out(item) for item in value]
    return value


def _argument_in(value: Any) -> Argument:
    if isinstance(value, dict):
        ((kind, name),) = value.items()
        if not isinstance(name, str) or kind not in ("value", "tensor"):
            raise ValueError(f"argument {value!r:.80}")
        return Ref(name) if kind == "value" else Stored(name)
    if isinstance(value, list):
        return tuple(_argument_in(item) for item in value)  # type: ignore[return-value]  # checked by fits
    if value is None or isinstance(value, (int, float, str)):
        return value
    raise ValueError(f"argument {value!r:.80}")


def _node_in(raw: dict[str, Any]) -> Node:
    given = {name: _argument_in(value) for name, value in raw["inputs"].items()}
    name, op, module = (_text_in(raw[key]) for key in ("name", "op", "module"))
    order = [argument for argument, _ in OPS.get(op, ()) if argument in given]  # rules count on ATen's order
    inputs = {argument: given[argument] for argument in dict.fromkeys([*order, *given])}
    return Node(name, op, inputs, module, _shape_in(raw["shape"]), _text_in(raw.get("dtype", FLOAT)))


def _text_in(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r:.80} must be text")
    return raw


def _spec_out(spec: Spec) -> dict[str, Any]:
    return {"shape": spec.shape, "dtype": spec.dtype}


def _spec_in(raw: dict[str, Any], learned: Any = False) -> Spec:
    if not isinstance(learned, bool):
        raise ValueError("learned must be true or false")
    return Spec(_shape_in(raw["shape"]), _text_in(raw["dtype"]), learned)


def _shape_in(raw: Any) -> Shape:
    if not isinstance(raw, list) or not all(
        size is None or (type(size) is int and size >= 0) for size in raw
    ):
        raise ValueError(f"shape {raw!r:.80}")
    return tuple(raw)
