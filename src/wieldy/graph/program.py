"""A network as plain data: what a package holds and what the runtime lowers. No torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wieldy.graph.ops import WEIGHTED

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
    """Nodes in the order of execution, with the inputs, outputs and tensors they name."""

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
