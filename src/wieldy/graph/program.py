"""A network as plain data: what a package holds and what the runtime lowers. No torch."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from wieldy.core.errors import SchemaError
from wieldy.graph.ops import OPS, WEIGHTED

Shape = tuple[int | None, ...]  # None: the batch
FLOAT: Final = "float32"
DTYPES: Final = (FLOAT, "int64", "bool")  # of values


def with_batch(shape: Shape, batch: int) -> tuple[int, ...]:
    """Return a shape for so many examples; -1 stands for any number, as in arguments.

    Example:
        >>> with_batch((None, 3), -1)
        (-1, 3)
    """
    return tuple(batch if size is None else size for size in shape)


@dataclass(frozen=True)
class Ref:
    """A value that another node computes, or an input."""

    name: str


@dataclass(frozen=True)
class Stored:
    """A tensor of the program, by its name in the state dict."""

    name: str


Literal = int | float | bool | str | None
Argument = Ref | Stored | Literal | tuple[Ref, ...] | tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operation: an overload from the allow-list, its arguments by name, the shape and dtype it yields.

    `module` is the path of the leaf module that owns it, or empty for a functional call.
    """

    name: str
    op: str
    inputs: Mapping[str, Argument]
    module: str
    shape: Shape
    dtype: str = FLOAT

    def refs(self) -> Iterator[str]:
        """Yield the names of the values that this node reads."""
        for argument in self.inputs.values():
            for item in argument if isinstance(argument, tuple) else (argument,):
                if isinstance(item, Ref):
                    yield item.name

    def stored(self) -> Iterator[str]:
        """Yield the names of the tensors that this node reads."""
        for argument in self.inputs.values():
            if isinstance(argument, Stored):
                yield argument.name

    @property
    def layer(self) -> str:
        """The name under which a person knows this node: its module's, or its own."""
        return self.module or self.name

    @property
    def weight(self) -> str:
        """The name of the tensor that it multiplies by."""
        weight = self.inputs["weight"]
        assert isinstance(weight, Stored)
        return weight.name

    @property
    def groups(self) -> int:
        """Into how many groups a convolution splits its channels; 1 for every other operator."""
        groups = self.inputs.get("groups", 1)
        assert isinstance(groups, int)
        return groups


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of an input or a stored tensor, and whether training may alter it."""

    shape: Shape
    dtype: str = FLOAT
    learned: bool = False


@dataclass(frozen=True)
class Program:
    """Nodes in the order of execution, with the inputs, outputs and tensors they name.

    Raises:
        SchemaError: from `from_json` and `check`: an operator outside the allow-list, a wrong argument,
            a name that is used before it is defined, or defined twice.
    """

    inputs: Mapping[str, Spec]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Spec]

    def node(self, name: str) -> Node:
        """Return the node called `name`."""
        return next(node for node in self.nodes if node.name == name)

    def shape(self, value: str) -> Shape:
        """Return the shape of an input or of a node's result."""
        return self.inputs[value].shape if value in self.inputs else self.node(value).shape

    def weighted_layers(self) -> list[str]:
        """Return the layers with a weight that is multiplied, in order, each once."""
        return list(dict.fromkeys(node.layer for node in self.nodes if node.op in WEIGHTED))

    def with_nodes(self, nodes: tuple[Node, ...], tensors: Mapping[str, Spec]) -> "Program":
        """Return this program with other nodes and tensors."""
        return replace(self, nodes=nodes, tensors=tensors)

    def with_outputs(self, outputs: tuple[str, ...]) -> "Program":
        """Return this program with other values as its outputs."""
        return replace(self, outputs=outputs)

    def to_json(self) -> str:
        """Return the program as JSON; `from_json` reads it back equal."""
        return json.dumps(
            {
                "inputs": {name: _spec_out(spec) for name, spec in self.inputs.items()},
                "nodes": [
                    {
                        "name": node.name,
                        "op": node.op,
                        "module": node.module,
                        "shape": node.shape,
                        "inputs": {name: _argument_out(value) for name, value in node.inputs.items()},
                    }
                    | ({} if node.dtype == FLOAT else {"dtype": node.dtype})
                    for node in self.nodes
                ],
                "outputs": self.outputs,
                "tensors": {name: _spec_out(t) | {"learned": t.learned} for name, t in self.tensors.items()},
            },
            indent=1,
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "Program":
        """Read a program and check it."""
        try:
            raw = json.loads(text)
            program = cls(
                inputs={name: _spec_in(spec) for name, spec in raw["inputs"].items()},
                nodes=tuple(_node_in(node) for node in raw["nodes"]),
                outputs=tuple(_text_in(name) for name in raw["outputs"]),
                tensors={name: _spec_in(spec, spec["learned"]) for name, spec in raw["tensors"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SchemaError(
                f"program: is not what a program looks like ({type(error).__name__}: {error})."
            ) from None
        program.check()
        return program

    def check(self) -> None:
        """Raise SchemaError unless every operator, argument and name is sound."""
        known = set(self.inputs)
        for node in self.nodes:
            if node.op not in OPS:
                raise SchemaError(
                    f"program: node {node.name!r} uses {node.op!r}, which is not on the allow-list."
                )
            _check_arguments(node)
            if node.dtype not in DTYPES:
                raise SchemaError(
                    f"program: node {node.name!r} must yield {', '.join(DTYPES)}; it says {node.dtype!r}."
                )
            for name in node.refs():
                if name not in known:
                    raise SchemaError(
                        f"program: node {node.name!r} reads {name!r}, which nothing before it defines."
                    )
            for name in node.stored():
                if name not in self.tensors:
                    raise SchemaError(
                        f"program: node {node.name!r} reads the tensor {name!r}, which is not stored."
                    )
            if node.name in known:
                raise SchemaError(f"program: the name {node.name!r} is defined twice.")
            known.add(node.name)
        missing = [name for name in self.outputs if name not in known]
        if missing or not self.outputs:
            raise SchemaError(
                f"program: outputs must name at least one value that exists; got {list(self.outputs)}."
            )


def _check_arguments(node: Node) -> None:
    kinds = dict(OPS[node.op])
    if set(kinds) != set(node.inputs):
        raise SchemaError(
            f"program: {node.op} of {node.name!r} must have {sorted(kinds)}; got {sorted(node.inputs)}."
        )
    for name, kind in kinds.items():
        if not fits(node.inputs[name], kind):
            raise SchemaError(
                f"program: {name!r} of {node.name!r} must be of kind {kind}; got {node.inputs[name]!r}."
            )


def fits(value: Argument, kind: str) -> bool:
    """Whether an argument is of a kind named in ops.py."""
    number = type(value) is int or (type(value) is float and math.isfinite(value))
    match kind:
        case "value":
            return isinstance(value, Ref)
        case "values":
            return isinstance(value, tuple) and bool(value) and all(isinstance(item, Ref) for item in value)
        case "tensor":
            return isinstance(value, Stored)
        case "tensor?":
            return value is None or isinstance(value, Stored)
        case "operand":
            return isinstance(value, (Ref, Stored)) or number
        case "operand?":
            return value is None or isinstance(value, (Ref, Stored))
        case "ints":
            return isinstance(value, tuple) and all(type(item) is int for item in value)
        case "int":
            return type(value) is int
        case "float":
            return number
        case "float?":
            return value is None or number
        case "bool":
            return isinstance(value, bool)
        case "text":
            return isinstance(value, str)
        case "dtype":
            return value in DTYPES
        case _:
            return value is None


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
