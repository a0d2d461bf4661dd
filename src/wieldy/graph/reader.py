"""Reading an exported graph: from torch.fx nodes to a program, and the leaf modules that own its nodes."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node as FxNode

from wieldy.core.errors import TraceError, UnsupportedOpError
from wieldy.graph.arguments import REWRITTEN, functional, given_arguments, read_arguments, source_line
from wieldy.graph.leaves import is_leaf, without_inplace
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import EXPAND, OPS, POOLING, SOFTMAX, TRANSPOSED
from wieldy.graph.places import INDEX, Places
from wieldy.graph.program import (
    DTYPES,
    Argument,
    Literal,
    Node,
    Program,
    Ref,
    Shape,
    Spec,
    Stored,
    with_batch,
)
from wieldy.graph.rewrites import CASTS, REWRITES, SEVERAL, Steps, dtype_of, is_result
from wieldy.graph.soundness import check_program
from wieldy.graph.stored import StoredTensors
from wieldy.graph.values import Values
from wieldy.graph.views import ORDERS, PARTS, PIECES, is_piece, order_of, part_of, piece_of

RESHAPES = frozenset(
    f"aten.{name}"
    for name in (
        "view.default", "reshape.default", "flatten.using_ints", "squeeze.default", "squeeze.dim",
        "squeeze.dims", "unsqueeze.default", "unflatten.int", "_unsafe_view.default",
    )
)  # fmt: skip
EXPANDS = frozenset({"aten.expand.default", "aten.expand_as.default", "aten.broadcast_to.default"})
ALIASES = frozenset(f"aten.{name}.default" for name in ("contiguous", "alias", "detach", "detach_"))
COPIES = frozenset(f"aten.{name}.default" for name in ("clone", "lift_fresh_copy"))
MAY_KEEP = CASTS | {"aten.slice.Tensor"}  # may hand on all that they were given, as it was
MAY_ALIAS = RESHAPES | {"aten.dropout.default", "aten.feature_dropout.default"}
BATCH_FIRST = (
    frozenset(
        f"aten.{name}.default"
        for name in (
            "conv1d",
            "conv2d",
            "batch_norm",
            "group_norm",
            "instance_norm",
            "feature_dropout",
            "prelu",
        )
    )
    | POOLING
    | {*TRANSPOSED, *(op for op in OPS if "upsample" in op)}
)  # what they do depends on which axis is the first
SIZES = ("aten.sym_", "aten._assert_")
Sizes = (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool)


@dataclass(frozen=True)
class Call:
    """One node as it was read, with the module whose `forward` made it."""

    node: Node
    caller: str


class Reader:
    """Turns the nodes of an exported graph into a program and finds the leaves that own them."""

    def __init__(self, exported: ExportedProgram, model: nn.Module) -> None:
        signature = exported.graph_signature
        self.model = model
        self.exported = exported
        self.stored = StoredTensors(exported, model)
        self.places = Places()
        self.results: dict[str, list[Ref]] = {}  # of operators that have several
        self.first_names = {id(module): path for path, module in model.named_modules()}
        self.values = Values(exported.graph)
        self.user_inputs = tuple(name for name in signature.user_inputs if isinstance(name, str))
        self.calls: list[Call] = []

    def network(self) -> GraphNetwork:
        """Read every node and put the network together."""
        inputs: dict[str, Spec] = {}
        for fx in self.exported.graph.nodes:
            if fx.op == "placeholder" and fx.name in self.user_inputs:
                inputs[fx.name] = Spec(self._shape(fx), dtype_of(fx.meta["val"]))
                self._define(fx, fx.name)
            elif fx.op == "call_function" and not _is_size(fx):
                self._read(fx)
        outputs = tuple(self._output(name) for name in self.exported.graph_signature.user_outputs)
        self._drop_unread(outputs)
        leaves = self._leaves()
        nodes = tuple(self._owned(call, leaves) for call in self.calls)
        tensors = {name: self.stored.tensor(name) for node in nodes for name in node.stored()}
        self.stored.check(tensors)
        specs = {name: _spec(tensor) for name, tensor in tensors.items()}
        program = Program(inputs, nodes, outputs, specs)
        check_program(program)
        held = {
            f"{path}.{key}": t
            for path, leaf in leaves.items()
            for key, t in leaf.state_dict(keep_vars=True).items()
        }
        loose = {name: tensor for name, tensor in tensors.items() if name not in held}
        state = self.model.state_dict(keep_vars=True)
        loose |= {  # what only constants were folded from, so that every key stays
            name: state[name]
            for name in self.stored.names.values()
            if name in state and not isinstance(state[name], nn.Parameter) and name not in held
        }
        names = {id(tensor): name for name, tensor in [*loose.items(), *held.items()]}
        known = {name: names[id(tensor)] for name, tensor in state.items() if id(tensor) in names}
        return GraphNetwork(
            program,
            leaves,
            loose,
            aliases={name: first for name, first in known.items() if name != first},
            transient=frozenset(loose) - frozenset(state),
        ).eval()

    def _define(self, fx: FxNode, value: str, shared_with: FxNode | None = None) -> None:
        self.values.define(fx, value, self._shape(fx), shared_with)

    def _read(self, fx: FxNode) -> None:
        op = str(fx.target)
        if is_piece(fx):
            self._show(fx)
            return
        if is_result(fx):
            self._take_result(fx)
            return
        if not op.startswith("aten."):
            raise UnsupportedOpError(
                f"{op}: is no operator on tensors, used by {self._where(fx)}. Move switches such as "
                "torch.no_grad(), and branches, out of `forward`."
            )
        if self.places.note(fx):  # nothing but a lookup reads them
            return
        if op in ALIASES | COPIES or self._keeps_everything(fx, op):
            self._pass_on(fx, copies=op in COPIES)
            return
        base = functional(op)
        source = fx.args[0] if fx.args and isinstance(fx.args[0], FxNode) else None
        if base != op and source is not None and source in self.stored and self.stored.is_own(source):
            raise TraceError(
                f"{self.stored.name(source)}: {self._where(fx)} changes this tensor in its forward pass. A "
                "network that keeps a state cannot be traced; compute it outside."
            )
        if self.stored.fold(fx):
            if base != op and source is not None:
                self.stored.changed(fx, source)
            return
        if op in PIECES:  # each node that takes a piece is one of the program's
            return
        if op in ORDERS | PARTS:
            self._show(fx)
            return
        if base in RESHAPES and source is not None and source in self.stored:
            self.stored.part(fx, source)
            return
        self._operate(fx, base, source)

    def _operate(self, fx: FxNode, base: str, source: FxNode | None) -> None:
        """An operator on values, as nodes of the program; what it wrote in place is read from here on."""
        self._check(fx, base)
        caller, in_place = self._caller(fx), base != str(fx.target)
        if base in REWRITES:
            self._rewrite(fx, base, caller)
            if in_place and source is not None:
                self.values.overwrite(fx, source)
            return
        arguments: dict[str, Argument]
        if base in RESHAPES | {INDEX}:
            shown = self.places.source(fx, self.stored) if base == INDEX else source
            assert shown is not None
            known = "aten.reshape.default"
            arguments = {"self": Ref(self.values.name(shown)), "shape": with_batch(self._shape(fx), -1)}
        elif base in EXPANDS:
            known, arguments = EXPAND, {"self": self._operand(fx), "size": with_batch(self._shape(fx), -1)}
        else:
            known = REWRITTEN.get(base, base)
            arguments = read_arguments(fx, base, self.stored.names, self.values.names)
        owner = self._owner(fx) or caller
        dtype = self._dtype(fx)
        self.calls.append(Call(Node(fx.name, known, arguments, owner, self._shape(fx), dtype), caller))
        if in_place and source is not None:
            self.values.overwrite(fx, source)
        self._define(fx, fx.name, source if base in MAY_ALIAS or in_place else None)

    def _take_result(self, fx: FxNode) -> None:
        """A node that takes one of several results."""
        source, place = fx.args
        assert isinstance(source, FxNode)
        assert isinstance(place, int)
        found = self.results[source.name]
        if place < len(found):
            self._define(fx, found[place].name)
        elif fx.users:
            raise TraceError(
                f"{fx.name}: reads the cell state of a recurrent layer{source_line(fx)}, which is not "
                "supported. Use its outputs or its hidden state."
            )

    def _pass_on(self, fx: FxNode, *, copies: bool) -> None:
        """An operator that hands on what it was given."""
        source = fx.args[0]
        assert isinstance(source, FxNode)
        if source in self.stored:
            self.stored.alias(fx, source)
        else:
            self._define(fx, self.values.name(source), None if copies else source)

    def _show(self, fx: FxNode) -> None:
        """An operator that shows its input's axes in another order, or a part of it."""
        source = fx.args[0]
        assert isinstance(source, FxNode)
        origin = source.args[0] if is_piece(fx) else source
        assert isinstance(origin, FxNode)
        if origin in self.stored:
            self.stored.part(fx, origin)
            return
        shape, value = self._shape(fx), self.values.name(origin)
        if is_piece(fx):
            op, arguments = piece_of(fx, value)
        elif str(fx.target) in PARTS:
            op, arguments = part_of(fx, value)
        else:
            op, arguments = "aten.permute.default", {"self": Ref(value), "dims": order_of(fx)}
        if None in self._shape(origin) and None not in shape:
            raise _mixed(fx)
        caller = self._caller(fx)
        self.calls.append(Call(Node(fx.name, op, arguments, caller, shape, self._dtype(fx)), caller))
        self._define(fx, fx.name, origin)

    def _rewrite(self, fx: FxNode, base: str, caller: str) -> None:
        """An operator that a program says in other words."""
        steps = Steps(fx, caller, self._place)
        shape = () if base in SEVERAL else self._shape(fx)
        found = REWRITES[base](steps, shape)
        nodes = steps.nodes
        if base in SEVERAL:
            self.results[fx.name] = found
        else:  # the last step takes the operator's own name
            nodes = [*nodes[:-1], replace(nodes[-1], name=fx.name)]
        self.calls += [Call(node, caller) for node in nodes]
        if base not in SEVERAL:
            self._define(fx, fx.name)

    def _place(self, fx: FxNode) -> Ref | Stored:
        """Return what an fx node's result is in the program."""
        if fx in self.stored:
            return Stored(self.stored.name(fx))
        if fx not in self.values:
            raise TraceError(
                f"{fx.name}: follows the batch size, and is read as a tensor. Use a fixed number."
            )
        return Ref(self.values.name(fx))

    def _drop_unread(self, outputs: tuple[str, ...]) -> None:
        """Forget nodes without tensors that no output needs, such as states that nobody asks for."""
        needed, kept = set(outputs), []
        for call in reversed(self.calls):
            if call.node.name in needed or any(True for _ in call.node.stored()):
                needed.update(call.node.refs())
                kept.append(call)
        self.calls = kept[::-1]

    def _operand(self, fx: FxNode) -> Ref | Stored:
        source = fx.args[0]
        assert isinstance(source, FxNode)
        return self._place(source)

    def _check(self, fx: FxNode, op: str) -> None:
        """Refuse what a program cannot say."""
        known = OPS.keys() | {INDEX} | RESHAPES | EXPANDS | REWRITTEN.keys() | REWRITES.keys()
        if op not in known:
            raise UnsupportedOpError(
                f"{op}: this operator of {self._where(fx)} is not supported yet{source_line(fx)}. Replace "
                "it, or leave that part out of the traced network. Supported are "
                f"{', '.join(sorted({name.split('.')[1].strip('_') for name in known}))}."
            )
        if op in SEVERAL:
            return
        shape = self._shape(fx)
        for rank, axes in ((1, "length"), (2, "height, width")):
            if f"{rank}d." in op and "drop" not in op and len(shape) != 2 + rank:
                raise TraceError(f"{fx.name}: must work on (batch, channels, {axes}); got {shape}.")
        given = [self._shape(other) for other in fx.all_input_nodes if other in self.values]
        mixes = op in SOFTMAX and shape[_dimension(fx)] is None
        mixes |= op in BATCH_FIRST and None in shape[1:]
        if mixes or (any(None in other for other in given) and None not in shape):
            raise _mixed(fx)

    def _shape(self, fx: FxNode) -> Shape:
        value = fx.meta["val"]
        if not isinstance(value, Tensor):
            raise UnsupportedOpError(
                f"{fx.target}: returns {type(value).__name__} and not one tensor, in {self._where(fx)}."
            )
        free = [axis for axis, size in enumerate(value.shape) if not isinstance(size, int)]
        if len(free) > 1 or not all(str(value.shape[axis]).isidentifier() for axis in free):
            raise TraceError(
                f"{fx.name}: has the shape {list(value.shape)}; the batch must stay an axis of its own and "
                f"nothing else may depend on it{source_line(fx)}. Keep examples apart in reshapes."
            )
        return tuple(None if axis in free else int(size) for axis, size in enumerate(value.shape))

    def _dtype(self, fx: FxNode) -> str:
        found = dtype_of(fx.meta["val"])
        if found not in DTYPES:
            raise TraceError(
                f"{fx.name}: computes in {found}{source_line(fx)}; a program holds {', '.join(DTYPES)}. "
                "Use float32."
            )
        return found

    def _keeps_everything(self, fx: FxNode, op: str) -> bool:
        """Whether a slice or cast hands on all that it was given, as it was."""
        source = fx.args[0] if op in MAY_KEEP else None
        if not isinstance(source, FxNode):
            return False
        old, new = source.meta["val"], fx.meta["val"]
        return str(old.shape) == str(new.shape) and old.dtype == new.dtype

    def _caller(self, fx: FxNode) -> str:
        """Return the module whose `forward` made a node, by the first of its names."""
        path: str = self.first_names[id(self.model.get_submodule(_caller(fx)))]
        return path

    def _owner(self, fx: FxNode) -> str:
        """Return the module whose tensors a node reads, if it is handed some."""
        read = [other for other in fx.args[1:] if isinstance(other, FxNode) and other in self.stored]
        return next((_parent(self.stored.name(other)) for other in read if self.stored.is_own(other)), "")

    def _leaves(self) -> dict[str, nn.Module]:
        """Return the leaf modules by path, in the user's order: they make all nodes that name them."""
        calls: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            calls[call.node.module].append(call)
        leaves = {}
        for path, module in self.model.named_modules():
            found = calls.get(path, [])
            own = path and found and all(call.caller == path for call in found)
            if own and is_leaf(module, {call.node.op for call in found}):
                leaves[path] = without_inplace(module)
        return leaves

    def _owned(self, call: Call, leaves: Mapping[str, nn.Module]) -> Node:
        """Return the node with its module's path, if that module is this one operator and nothing else."""
        node = call.node
        if not node.module or node.module in leaves:
            return node
        alike = all(
            _fixed(other.node) == _fixed(node) for other in self.calls if other.node.module == node.module
        )
        parts = any(True for _ in self.model.get_submodule(node.module).children())
        return node if alike and not parts and any(True for _ in node.stored()) else replace(node, module="")

    def _output(self, name: object) -> str:
        if not isinstance(name, str) or name not in self.values.names:
            raise TraceError(f"output {name!r}: must be a tensor that the network computes from its inputs.")
        shape = self.values.shapes[name]
        if shape[:1] != (None,):
            raise TraceError(
                f"output {name!r}: must have the batch as its first axis; its shape is {list(shape)}, where "
                "None is the batch. Transpose it before it is returned."
            )
        return self.values.names[name]

    def _where(self, fx: FxNode) -> str:
        path = _caller(fx)
        if not path:
            return "the network's own forward"
        return f"module {path!r} ({type(self.model.get_submodule(path)).__name__})"


def _fixed(node: Node) -> tuple[str, list[tuple[str, Stored | Literal | tuple[object, ...]]]]:
    """What a node does, apart from what it does it to."""
    return node.op, [(name, value) for name, value in node.inputs.items() if not isinstance(value, Ref)]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _caller(fx: FxNode) -> str:
    """Return the path of the innermost module whose `forward` made a node."""
    stack: Iterator[tuple[str, object]] = iter(reversed((fx.meta.get("nn_module_stack") or {}).values()))
    path, _ = next(stack, ("", None))
    return str(path)


def _is_size(fx: FxNode) -> bool:
    """Whether a node computes or asserts sizes; nothing reads it, since reshapes spell their shape out."""
    return isinstance(fx.meta.get("val"), Sizes) or str(fx.target).startswith(SIZES)


def _dimension(fx: FxNode) -> int:
    dim = given_arguments(fx)["dim"]
    assert isinstance(dim, int)
    return dim


def _mixed(fx: FxNode) -> TraceError:
    return TraceError(f"{fx.name}: mixes the examples of a batch{source_line(fx)}; keep them apart.")


def _spec(tensor: Tensor) -> Spec:
    return Spec(tuple(tensor.shape), dtype_of(tensor), learned=isinstance(tensor, nn.Parameter))
