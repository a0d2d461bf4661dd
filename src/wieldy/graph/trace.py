"""From a user's module to a GraphNetwork, through torch.export."""

import copy
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Node as FxNode

from wieldy.core.errors import ShapeError, TraceError, UnsupportedOpError
from wieldy.graph.leaves import is_leaf, without_inplace
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import OPS
from wieldy.graph.program import Argument, Node, Program, Ref, Shape, Spec, Stored

RESHAPES = frozenset(
    f"aten.{name}"
    for name in (
        "view.default", "reshape.default", "flatten.using_ints", "squeeze.default", "squeeze.dim",
        "squeeze.dims", "unsqueeze.default", "unflatten.int", "_unsafe_view.default",
    )
)  # fmt: skip
NOTHING = frozenset(
    f"aten.{name}.default" for name in ("contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy")
)
WHOLE_SLICE = 2**62
SAME_PADDING = "aten.conv2d.padding"


def trace(model: nn.Module, example: Tensor | tuple[Tensor, ...]) -> GraphNetwork:
    """Follow `model` on `example` and return the network that every method works on.

    Args:
        model: any module; not altered. Its weights must be finite float32.
        example: one input, or a tuple of them, each (batch, ...) float32; the values do not matter.

    Returns:
        A GraphNetwork in evaluation mode with a batch of any size.

    Raises:
        ShapeError: the model does not run on the example.
        UnsupportedOpError: it uses an operator outside the allow-list; names the operator and the module.
        TraceError: export cannot follow it, it fixes its batch size, or its weights are not finite.

    Cost: one forward pass and one export; a copy of the weights.

    Example:
        >>> network = trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.zeros(1, 4))
        >>> [node.op for node in network.program.nodes]
        ['aten.linear.default', 'aten.relu.default']
    """
    inputs = example if isinstance(example, tuple) else (example,)
    copied = copy.deepcopy(model).eval()
    _check_weights(copied)
    exported = _export(copied, _doubled(copied, inputs))
    return _Reader(exported, copied).network()


def _check_weights(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            raise TraceError(f"{name}: weights must be float32; got {tensor.dtype}. Call model.float() first.")
        if not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise TraceError(
                f"{name}: weights must be finite; {count} of {tensor.numel()} are NaN or infinite. "
                "The training diverged or the file is damaged: load a sound checkpoint."
            )


def _doubled(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the example with a batch of two: export takes a batch of one for a constant."""
    for value in inputs:
        if not isinstance(value, Tensor) or value.ndim == 0 or value.dtype != torch.float32:
            found = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value)
            raise ShapeError(f"example: must be float32 tensors (batch, ...); got {found}.")
    doubled = tuple(value[:1].expand(2, *value.shape[1:]).contiguous() for value in inputs)
    try:
        with torch.no_grad():
            model(*doubled)
    except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
        raise ShapeError(
            f"example: the network does not run on inputs of shape {shapes}: {_first_line(error)} "
            "Hand in one batch of the inputs that it was trained on."
        ) from None
    return doubled


def _export(model: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    batch = Dim("batch", min=1)
    try:
        return torch.export.export(model, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    except Exception as error:  # noqa: BLE001 - export raises errors of many kinds
        text = str(error)
        if "Constraints violated" in text or "specialized" in text:
            raise TraceError(
                f"{type(model).__name__}: the batch must stay free, but the network fixes it: {_first_line(error)} "
                "Replace literal batch sizes by x.shape[0] or -1."
            ) from None
        raise TraceError(
            f"{type(model).__name__}: torch.export cannot follow it: {_first_line(error)} Branches on tensor "
            "values, printing of values and calls into other libraries have to leave `forward`."
        ) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


class _Reader:
    """Turns the nodes of an exported graph into a program and finds the leaves that own them."""

    def __init__(self, exported: ExportedProgram, model: nn.Module) -> None:
        signature = exported.graph_signature
        self.model = model
        self.exported = exported
        self.names: dict[str, str] = {}  # fx placeholder -> tensor name
        self.names |= dict(signature.inputs_to_parameters)
        self.names |= dict(signature.inputs_to_buffers)
        self.names |= dict(signature.inputs_to_lifted_tensor_constants)
        self.values: dict[str, str] = {}  # fx node -> the value that holds its result now
        self.user_inputs = tuple(name for name in signature.user_inputs if isinstance(name, str))
        self.nodes: list[Node] = []
        self.owners: dict[str, str] = {}  # fx node's stack key -> module path

    def network(self) -> GraphNetwork:
        """Read every node and put the network together."""
        inputs: dict[str, Spec] = {}
        calls: dict[str, list[tuple[str, str]]] = defaultdict(list)  # module path -> (call, op)
        for fx in self.exported.graph.nodes:
            if fx.op == "placeholder" and fx.name in self.user_inputs:
                inputs[fx.name] = Spec(self._shape(fx))
                self.values[fx.name] = fx.name
            elif fx.op == "call_function":
                self._read(fx, calls)
        outputs = tuple(self._output(name) for name in self.exported.graph_signature.user_outputs)
        leaves = self._leaves(calls)
        nodes = tuple(self.nodes)
        tensors = {name: self._tensor(name) for node in nodes for name in node.stored()}
        program = Program(inputs, nodes, outputs, {name: Spec(tuple(t.shape)) for name, t in tensors.items()})
        program.check()
        owned = {f"{path}.{name}" for path in leaves for name, _ in _named_tensors(leaves[path])}
        loose = {name: tensor for name, tensor in tensors.items() if name not in owned}
        return GraphNetwork(program, leaves, loose).eval()

    def _read(self, fx: FxNode, calls: dict[str, list[tuple[str, str]]]) -> None:
        op = str(fx.target)
        if op.startswith("aten.sym_size"):
            return  # every reshape spells its shape out, so sizes are not needed
        path, call = self._owner(fx)
        if op in NOTHING or self._keeps_everything(fx, op):
            self.values[fx.name] = self.values[fx.args[0].name]  # type: ignore[union-attr]
            return
        base = op.replace("_.", ".", 1) if op.split(".")[1].endswith("_") else op
        arguments = self._arguments(fx, base, path)
        known = SAME_PADDING.replace("padding", "default") if base == SAME_PADDING else base
        known = "aten.reshape.default" if base in RESHAPES else known
        self.nodes.append(Node(fx.name, known, arguments, path, self._shape(fx)))
        self.values[fx.name] = fx.name
        calls[path].append((call, known))
        if base != op:
            self._overwrite(fx)

    def _overwrite(self, fx: FxNode) -> None:
        """An in-place operator: whoever reads its input from here on sees the result."""
        source = fx.args[0]
        assert isinstance(source, FxNode)
        changed = self.values[source.name]
        producer = next((node for node in self.nodes if node.name == changed), None)
        if producer is not None and producer.op == "aten.reshape.default":
            base = producer.inputs["self"]
            if isinstance(base, Ref) and self._read_after(base.name, fx):
                raise TraceError(
                    f"{fx.name}: writes in place into a view of {base.name!r}, which is read again later. "
                    "Use the operator without the trailing underscore (or inplace=False)."
                )
        for name, value in self.values.items():
            if value == changed:
                self.values[name] = fx.name

    def _read_after(self, value: str, fx: FxNode) -> bool:
        later = False
        for other in self.exported.graph.nodes:
            if later and any(self.values.get(arg.name) == value for arg in other.all_input_nodes):
                return True
            later = later or other is fx
        return False

    def _arguments(self, fx: FxNode, op: str, path: str) -> dict[str, Argument]:
        if op in RESHAPES:
            source = fx.args[0]
            assert isinstance(source, FxNode)
            shape = tuple(-1 if size is None else size for size in self._shape(fx))
            return {"self": Ref(self.values[source.name]), "shape": shape}
        if op not in OPS and op != SAME_PADDING:
            where = f"module {path!r} ({self._class_name(path)})" if path else "the network's own forward"
            raise UnsupportedOpError(
                f"{op}: this operator of {where} is not supported yet{_source_line(fx)}. Supported are "
                f"{', '.join(sorted(name.split('.')[1] for name in OPS))}. Replace it, or leave that part "
                "out of the traced network."
            )
        schema = fx.target._schema.arguments  # type: ignore[union-attr]
        given = dict(zip((argument.name for argument in schema), fx.args, strict=False)) | dict(fx.kwargs)
        full = {a.name: given.get(a.name, a.default_value if a.has_default_value() else None) for a in schema}
        if op == SAME_PADDING:
            full["padding"] = self._same_padding(fx, full)
        return {name: self._argument(full[name], kind, fx) for name, kind in OPS[_default(op)]}

    def _argument(self, value: Any, kind: str, fx: FxNode) -> Argument:
        if isinstance(value, FxNode):
            if value.name in self.names:
                return Stored(self.names[value.name])
            if value.name in self.values:
                return Ref(self.values[value.name])
            raise TraceError(f"{fx.name}: depends on {value.name!r}, a size or a value that cannot be stored.")
        if isinstance(value, (list, tuple)):
            if kind == "values":
                return tuple(self._argument(item, "value", fx) for item in value)  # type: ignore[return-value]
            return _spread(tuple(self._whole(item, fx) for item in value), kind, fx)
        if kind == "none" and value is not None:
            raise TraceError(f"{fx.name}: {value!r} is not supported where the default is expected; leave it out.")
        if kind == "float" and isinstance(value, (int, float)) and not math.isfinite(value):
            raise TraceError(f"{fx.name}: its arguments must be finite; got {value}.")
        if kind in ("int", "ints"):
            number = self._whole(value, fx)
            return (number,) if kind == "ints" else number
        return value  # type: ignore[no-any-return]

    def _whole(self, value: Any, fx: FxNode) -> int:
        if isinstance(value, int):
            shape_rank = len(self._shape(fx.args[0])) if fx.args and isinstance(fx.args[0], FxNode) else 0
            return value + shape_rank if value < 0 and _takes_dims(fx) else value
        raise TraceError(f"{fx.name}: an argument depends on the batch size ({value}); it must be a fixed number.")

    def _same_padding(self, fx: FxNode, full: Mapping[str, Any]) -> list[int]:
        weight = full["weight"].meta["val"].shape
        if full["padding"] == "valid":
            return [0, 0]
        spans = [d * (int(k) - 1) for d, k in zip(_pair(full["dilation"]), weight[2:], strict=True)]
        if any(span % 2 for span in spans):
            raise TraceError(
                f"{fx.name}: padding='same' with an even kernel pads one side more; use an odd kernel or pad first."
            )
        return [span // 2 for span in spans]

    def _shape(self, fx: FxNode) -> Shape:
        value = fx.meta["val"]
        if not isinstance(value, Tensor):
            raise UnsupportedOpError(f"{fx.target}: returns {type(value).__name__}, not one tensor; replace it.")
        sizes = [size if isinstance(size, int) else None for size in value.shape]
        symbols = [str(size) for size in value.shape if not isinstance(size, int)]
        if sizes.count(None) > 1 or (sizes and symbols and (sizes[0] is not None or not symbols[0].isidentifier())):
            raise TraceError(
                f"{fx.name}: has the shape {list(value.shape)}; the batch must stay the first axis and nothing else "
                f"may depend on it{_source_line(fx)}. Keep examples apart in reshapes."
            )
        return tuple(sizes)

    def _owner(self, fx: FxNode) -> tuple[str, str]:
        """Return the path of the innermost module of a node, and a name for this very call of it."""
        for argument in fx.args[1:]:
            if isinstance(argument, FxNode) and argument.name in self.names:
                path = self.names[argument.name].rpartition(".")[0]
                return path, path
        stack = list((fx.meta.get("nn_module_stack") or {}).items())
        if not stack:
            return "", ""
        key, (path, _) = stack[-1]
        return str(path), str(key)

    def _leaves(self, calls: Mapping[str, list[tuple[str, str]]]) -> dict[str, nn.Module]:
        leaves = {}
        for path, found in calls.items():
            if not path:
                continue
            module = self.model.get_submodule(path)
            if is_leaf(module, {op for _, op in found}) and not _is_padded(module):
                leaves[path] = without_inplace(module)
        return leaves

    def _keeps_everything(self, fx: FxNode, op: str) -> bool:
        if op == "aten.slice.Tensor":
            start, end = (list(fx.args[2:]) + [None, None])[:2]
            return start in (None, 0) and (end is None or (isinstance(end, int) and end >= WHOLE_SLICE))
        return False

    def _output(self, name: Any) -> str:
        if name not in self.values:
            raise TraceError(f"output {name!r}: must be a tensor that the network computes from its inputs.")
        return self.values[name]

    def _tensor(self, name: str) -> Tensor:
        path, _, last = name.rpartition(".")
        found = getattr(self.model.get_submodule(path), last, None)
        if found is None:
            found = self.exported.constants[name]
        return found  # type: ignore[no-any-return]

    def _class_name(self, path: str) -> str:
        return type(self.model.get_submodule(path)).__name__


def _named_tensors(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _default(op: str) -> str:
    return "aten.conv2d.default" if op == SAME_PADDING else op


def _is_padded(module: nn.Module) -> bool:
    """Whether a convolution pads by a mode of its own, which traces to two operators."""
    return getattr(module, "padding_mode", "zeros") != "zeros"


def _takes_dims(fx: FxNode) -> bool:
    return str(fx.target).split(".")[1] in ("mean", "softmax", "log_softmax", "cat")


def _pair(value: Any) -> tuple[int, int]:
    first, *rest = value
    return int(first), int(rest[0] if rest else first)


def _spread(values: tuple[int, ...], kind: str, fx: FxNode) -> tuple[int, ...]:
    """Write one number for both axes as two, and an empty stride as the kernel's size."""
    name = str(fx.target).split(".")[1]
    if kind != "ints" or name == "mean":
        return values
    if not values and name.endswith("pool2d"):
        return _pair(fx.args[1])
    return values * 2 if len(values) == 1 else values


def _source_line(fx: FxNode) -> str:
    """Where in the user's file a node comes from, if export recorded it."""
    lines = [line.strip() for line in (fx.meta.get("stack_trace") or "").splitlines() if "File " in line]
    return f" ({lines[-1].removesuffix(',')})" if lines else ""
