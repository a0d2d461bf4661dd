"""Reading an exported graph: from torch.fx nodes to a program, and the leaf modules that own its nodes."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node as FxNode

from wieldy.core.errors import TraceError, UnsupportedOpError
from wieldy.graph.arguments import REWRITTEN, functional, given_arguments, read_arguments
from wieldy.graph.leaves import is_leaf, without_inplace
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import EXPAND, OPS, POOLING, SOFTMAX
from wieldy.graph.program import Argument, Literal, Node, Program, Ref, Shape, Spec, Stored, with_batch
from wieldy.graph.views import (
    ORDERS,
    PARTS,
    PIECES,
    SHUFFLE,
    is_piece,
    order_of,
    part_of,
    piece_of,
    shuffle_steps,
)

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
CASTS = frozenset({"aten.slice.Tensor", "aten.to.dtype", "aten.to.dtype_layout", "aten.type_as.default"})
MAY_ALIAS = RESHAPES | {"aten.dropout.default", "aten.feature_dropout.default"}
BATCH_FIRST = (
    frozenset(
        f"aten.{name}.default"
        for name in ("conv1d", "conv2d", "batch_norm", "group_norm", "feature_dropout", "prelu")
    )
    | POOLING
)  # what they do depends on which axis is the first
SIZES = ("aten.sym_", "aten._assert_")
Sizes = (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool)


@dataclass(frozen=True)
class Call:
    """One node as it was read, with the module whose `forward` made it."""

    node: Node
    caller: str


class Reader:
    """Turns the nodes of an exported graph into a program and finds the leaves that own them.

    Every fx value belongs to a storage, a number that it shares with whatever may be a view of it. An
    in-place operator changes all of a storage: its plain aliases read the result from then on, and a
    view that is read afterwards is refused, because no node of a program changes another's result.
    """

    def __init__(self, exported: ExportedProgram, model: nn.Module) -> None:
        signature = exported.graph_signature
        self.model = model
        self.exported = exported
        named = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        first = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
        self.stored = {  # fx node -> tensor name: of several, the first
            fx: first.get(id(self._attribute(name)), name) for fx, name in named.items()
        }
        self.first_names = {id(module): path for path, module in model.named_modules()}
        self.values: dict[str, str] = {}  # fx node -> the value that holds its result now
        self._shapes: dict[str, Shape] = {}
        self.storages: dict[str, int] = {}  # fx node -> the memory that it may share with others
        self.user_inputs = tuple(name for name in signature.user_inputs if isinstance(name, str))
        self.calls: list[Call] = []

    def network(self) -> GraphNetwork:
        """Read every node and put the network together."""
        inputs: dict[str, Spec] = {}
        for fx in self.exported.graph.nodes:
            if fx.op == "placeholder" and fx.name in self.user_inputs:
                inputs[fx.name] = Spec(self._shape(fx))
                self._define(fx, fx.name)
            elif fx.op == "call_function" and not _is_size(fx):
                self._read(fx)
        outputs = tuple(self._output(name) for name in self.exported.graph_signature.user_outputs)
        leaves = self._leaves()
        nodes = tuple(self._owned(call, leaves) for call in self.calls)
        tensors = {name: self._tensor(name) for node in nodes for name in node.stored()}
        specs = {name: _spec(tensor) for name, tensor in tensors.items()}
        program = Program(inputs, nodes, outputs, specs)
        program.check()
        held = {
            f"{path}.{key}": t
            for path, leaf in leaves.items()
            for key, t in leaf.state_dict(keep_vars=True).items()
        }
        loose = {name: tensor for name, tensor in tensors.items() if name not in held}
        state = self.model.state_dict(keep_vars=True)
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
        """Note which value holds the result of an fx node, and whose memory it may be."""
        self.values[fx.name] = value
        self._shapes[fx.name] = self._shape(fx)
        fresh = len(self.storages)
        self.storages[fx.name] = fresh if shared_with is None else self.storages.get(shared_with.name, fresh)

    def _read(self, fx: FxNode) -> None:
        op = str(fx.target)
        if is_piece(fx):
            self._show(fx)
            return
        if not op.startswith("aten."):
            raise UnsupportedOpError(
                f"{op}: is no operator on tensors, used by {self._where(fx)}. Move switches such as "
                "torch.no_grad(), and branches, out of `forward`."
            )
        if op in ALIASES | COPIES or self._keeps_everything(fx, op):
            self._pass_on(fx, copies=op in COPIES)
            return
        if op in PIECES:  # each node that takes a piece is one of the program's
            return
        if op in ORDERS | PARTS:
            self._show(fx)
            return
        if op == SHUFFLE:
            self._shuffle(fx)
            return
        base = functional(op)
        source = fx.args[0] if fx.args and isinstance(fx.args[0], FxNode) else None
        if base != op and source is not None and source.name in self.stored:
            raise TraceError(
                f"{self.stored[source.name]}: {self._where(fx)} changes this tensor in its forward pass. A "
                "network that keeps a state cannot be traced; compute it outside."
            )
        self._check(fx, base)
        caller = self._caller(fx)
        if base in RESHAPES:
            known, arguments = "aten.reshape.default", self._reshape(fx)
        elif base in EXPANDS:
            known, arguments = EXPAND, {"self": self._operand(fx), "size": with_batch(self._shape(fx), -1)}
        else:
            known = REWRITTEN.get(base, base)
            arguments = read_arguments(fx, base, self.stored, self.values)
        owner = self._owner(fx) or caller
        self.calls.append(Call(Node(fx.name, known, arguments, owner, self._shape(fx)), caller))
        if base != op and source is not None:
            self._overwrite(fx, source)
        self._define(fx, fx.name, source if base in MAY_ALIAS or base != op else None)

    def _pass_on(self, fx: FxNode, *, copies: bool) -> None:
        """An operator that hands on what it was given."""
        source = fx.args[0]
        assert isinstance(source, FxNode)
        if source.name in self.stored:
            self.stored[fx.name] = self.stored[source.name]
        else:
            self._define(fx, self.values[source.name], None if copies else source)

    def _show(self, fx: FxNode) -> None:
        """An operator that shows its input's axes in another order, or a part of it."""
        source = fx.args[0]
        assert isinstance(source, FxNode)
        origin = source.args[0] if is_piece(fx) else source
        assert isinstance(origin, FxNode)
        if origin.name in self.stored:
            raise TraceError(
                f"{self.stored[origin.name]}: {self._where(fx)} takes a part of this stored tensor, or turns "
                "it, on each call. Store it as it is used."
            )
        shape, value = self._shape(fx), self.values[origin.name]
        if is_piece(fx):
            op, arguments = piece_of(fx, value)
        elif str(fx.target) in PARTS:
            op, arguments = part_of(fx, value)
        else:
            op, arguments = "aten.permute.default", {"self": Ref(value), "dims": order_of(fx)}
        if None in self._shape(origin) and None not in shape:
            raise _mixed(fx)
        caller = self._caller(fx)
        self.calls.append(Call(Node(fx.name, op, arguments, caller, shape), caller))
        self._define(fx, fx.name, origin)

    def _shuffle(self, fx: FxNode) -> None:
        """Channels dealt out anew, as the three steps that it is made of."""
        source, groups = fx.args
        assert isinstance(source, FxNode)
        assert isinstance(groups, int)
        shape, value = self._shape(fx), self.values[source.name]
        caller = self._caller(fx)
        for place, (op, arguments, made) in enumerate(shuffle_steps(shape, groups)):
            name = fx.name if made == shape else f"{fx.name}.{place}"
            self.calls.append(Call(Node(name, op, {"self": Ref(value), **arguments}, caller, made), caller))
            value = name
        self._define(fx, fx.name)

    def _overwrite(self, fx: FxNode, source: FxNode) -> None:
        """An in-place operator: whoever reads its input from here on sees the result."""
        changed, storage = self.values[source.name], self.storages[source.name]
        sharing = [name for name, number in self.storages.items() if number == storage]
        later = self._read_after(fx)
        for name in sharing:
            if self.values[name] == changed:
                self.values[name] = fx.name
            elif name in later:
                raise TraceError(
                    f"{fx.name}: writes in place into memory that {name!r} shares, which is read again "
                    f"later{_source_line(fx)}. Write into memory of its own (inplace=False)."
                )

    def _read_after(self, fx: FxNode) -> set[str]:
        order = list(self.exported.graph.nodes)
        later = order[order.index(fx) + 1 :]
        return {argument.name for other in later for argument in other.all_input_nodes}

    def _reshape(self, fx: FxNode) -> dict[str, Argument]:
        source = fx.args[0]
        assert isinstance(source, FxNode)
        if source.name in self.stored:
            raise TraceError(
                f"{self.stored[source.name]}: {self._where(fx)} reshapes this stored tensor on each call. "
                "Store it in the shape in which it is used."
            )
        return {"self": Ref(self.values[source.name]), "shape": with_batch(self._shape(fx), -1)}

    def _operand(self, fx: FxNode) -> Ref | Stored:
        source = fx.args[0]
        assert isinstance(source, FxNode)
        stored = self.stored.get(source.name)
        return Ref(self.values[source.name]) if stored is None else Stored(stored)

    def _check(self, fx: FxNode, op: str) -> None:
        """Refuse what a program cannot say."""
        if op not in OPS and op not in RESHAPES | EXPANDS and op not in REWRITTEN:
            raise UnsupportedOpError(
                f"{op}: this operator of {self._where(fx)} is not supported yet{_source_line(fx)}. Supported "
                f"are {', '.join(sorted(name.split('.')[1] for name in OPS))}. Replace it, or leave that "
                "part out of the traced network."
            )
        shape = self._shape(fx)
        for rank, axes in ((1, "length"), (2, "height, width")):
            if f"{rank}d." in op and "drop" not in op and len(shape) != 2 + rank:
                raise TraceError(f"{fx.name}: must work on (batch, channels, {axes}); got {shape}.")
        given = [self._shape(other) for other in fx.all_input_nodes if other.name in self.values]
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
                f"nothing else may depend on it{_source_line(fx)}. Keep examples apart in reshapes."
            )
        return tuple(None if axis in free else int(size) for axis, size in enumerate(value.shape))

    def _keeps_everything(self, fx: FxNode, op: str) -> bool:
        """Whether a slice or cast hands on all that it was given, as it was."""
        source = fx.args[0] if op in CASTS else None
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
        names = (argument.name for argument in fx.args[1:] if isinstance(argument, FxNode))
        return next((_parent(self.stored[name]) for name in names if name in self.stored), "")

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
        if not isinstance(name, str) or name not in self.values:
            raise TraceError(f"output {name!r}: must be a tensor that the network computes from its inputs.")
        shape = self._shapes[name]
        if shape[:1] != (None,):
            raise TraceError(
                f"output {name!r}: must have the batch as its first axis; its shape is {list(shape)}, where "
                "None is the batch. Transpose it before it is returned."
            )
        return self.values[name]

    def _tensor(self, name: str) -> Tensor:
        found = self._attribute(name)
        tensor = found if isinstance(found, Tensor) else self.exported.constants[name]
        assert isinstance(tensor, Tensor)
        if tensor.dtype != torch.float32:
            raise TraceError(
                f"{name}: must be float32, as all else; got {tensor.dtype}. Store it as float32."
            )
        if not torch.isfinite(tensor).all():
            raise TraceError(f"{name}: must be finite; it holds NaN or infinity.")
        return tensor

    def _attribute(self, name: str) -> object:
        path, _, last = name.rpartition(".")
        return getattr(self.model.get_submodule(path), last, None)

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
    return TraceError(f"{fx.name}: mixes the examples of a batch{_source_line(fx)}; keep them apart.")


def _source_line(fx: FxNode) -> str:
    """Where in the user's file a node comes from, if export recorded it."""
    lines = [line.strip() for line in (fx.meta.get("stack_trace") or "").splitlines() if "File " in line]
    return f" ({lines[-1].removesuffix(',')})" if lines else ""


def _spec(tensor: Tensor) -> Spec:
    return Spec(tuple(tensor.shape), learned=isinstance(tensor, nn.Parameter))
