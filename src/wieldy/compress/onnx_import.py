"""ONNX read as a network: its operators in torch, its weights under their names, traced like a user's own.

Weights of convolutions, linear layers and norms become modules again. QuantizeLinear and DequantizeLinear
become the roundings that they are, and weights behind a DequantizeLinear the numbers that they stand for.
"""

import inspect
import keyword
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wieldy.compress.onnx_ops import DTYPES, OPS, Attributes, refuse
from wieldy.compress.onnx_recurrent import GATES, RECURRENT, in_gate_order
from wieldy.core.errors import ConfigError, OversizeError, TraceError, UnsupportedOpError
from wieldy.core.optional import need
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

RAW = {  # inputs that are settings, where they are stored: kept as numbers
    "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "Pow": (1,), "Clip": (1, 2), "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
}  # fmt: skip
SEEN = {"BatchNormalization": (3, 4)}  # inputs that are statistics, which training does not learn
MOST_FOLDED = 2**24
OLDEST_OPSET = 13  # softmax was of all axes from one on before
DOMAINS = ("", "ai.onnx")


def import_onnx(path: str | Path, shapes: Mapping[str, Sequence[int]] | None = None) -> GraphNetwork:
    """Return the network in an ONNX file, ready to be pruned, rounded, trained and saved.

    Args:
        path: the file; weights may lie in others beside it.
        shapes: of inputs whose size the file leaves open beyond the batch, by name, without the batch.

    Raises:
        ConfigError: the file is no sound ONNX, or leaves a size open.
        UnsupportedOpError: an operator is not supported.
        TraceError: the network cannot be followed.
        DependencyError: the extra `onnx` is not installed.

    Cost: a copy of the weights, and a trace.
    """
    model = _read(Path(path))
    try:
        module = _with_names(model)
        examples = [_example(value, shapes or {}) for value in module.inputs]
        return trace(module.eval(), tuple(examples) if len(examples) > 1 else examples[0])
    except UnsupportedOpError as error:
        raise UnsupportedOpError(f"{path}: {error}") from None
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None


def _read(path: Path) -> "ModelProto":
    onnx = need("onnx", "onnx", "reading ONNX")
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file. Check the path.")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(path)
    except (need("google.protobuf.message", "onnx", "reading ONNX").DecodeError,
            onnx.checker.ValidationError, ValueError, OSError) as error:  # fmt: skip
        raise ConfigError(f"{path}: is no sound ONNX file ({str(error).strip()[:200]}).") from None
    foreign = sorted({node.domain for node in model.graph.node} - set(DOMAINS))
    if foreign:
        raise UnsupportedOpError(f"{path}: uses operators of {foreign[0]!r}; only ONNX's own are supported.")
    opset = max((item.version for item in model.opset_import if item.domain in DOMAINS), default=0)
    if opset < OLDEST_OPSET:
        raise UnsupportedOpError(
            f"{path}: follows opset {opset}, in which operators meant other things; from {OLDEST_OPSET} on "
            "they are read. Convert it with onnx.version_converter."
        )
    return model  # type: ignore[no-any-return]


def _example(value: "ValueInfoProto", shapes: Mapping[str, Sequence[int]]) -> Tensor:
    """Return an input of zeros for one example."""
    kind = value.type.tensor_type
    dtype = DTYPES.get(kind.elem_type)
    if dtype not in (torch.float32, torch.int64, torch.bool):
        raise ConfigError(
            f"onnx: input {value.name!r} must be of float32, int64 or bool; got type {kind.elem_type}."
        )
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    rest: list[Any] = list(shapes.get(value.name, sizes[1:]))
    if not sizes or None in rest:
        raise ConfigError(
            f"onnx: input {value.name!r} leaves its size open: {sizes}. Give it without the batch: "
            f"shapes={{{value.name!r}: (3, 224, 224)}}, or with --shape {value.name}=3,224,224."
        )
    return torch.zeros(1, *rest, dtype=dtype)


def _with_names(model: "ModelProto") -> "OnnxModule":
    """Return the graph as a module whose `forward` names its inputs, as a user's own does."""

    def forward(self: OnnxModule, *inputs: Tensor) -> Any:
        return self.run(inputs)

    stored = {item.name for item in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in stored]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *_identifiers(names))]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return type("OnnxModule", (OnnxModule,), {"forward": forward})(model)  # type: ignore[no-any-return]


def _identifiers(names: Sequence[str]) -> list[str]:
    """Return names that Python takes, as near to those given as can be, each once.

    Example:
        >>> _identifiers(["x", "input.1", "input_1", "1"])
        ['x', 'input_1', 'input_1_', '_1']
    """
    found: list[str] = []
    for name in names:
        near = re.sub(r"\W|^(?=\d)", "_", name) or "_"
        while near in (*found, "self") or keyword.iskeyword(near):
            near += "_"
        found.append(near)
    return found


class OnnxModule(nn.Module):
    """An ONNX graph that runs in torch, one node after the other."""

    def __init__(self, model: "ModelProto") -> None:
        super().__init__()
        from onnx import numpy_helper

        graph = model.graph
        self.constants: dict[str, NDArray[Any]] = {
            item.name: numpy_helper.to_array(item) for item in graph.initializer
        }
        self.inputs = [value for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        self.levels: dict[str, tuple[str, ...]] = {}  # what is rounded, and by which scale and zero point
        self.steps = [Step(self, node) for node in graph.node]
        self.places: dict[str, str] = {}
        self.zeros: set[str] = set()  # values of which it is known
        self._taken: set[str] = set()
        uses = [name for node in graph.node for name in node.input]
        for step in self.steps:
            step.settle(self, uses)

    def run(self, inputs: Sequence[Tensor]) -> Any:
        """Map the graph's inputs to its output, or a tuple of them."""
        values: dict[str, Any] = {value.name: x for value, x in zip(self.inputs, inputs, strict=True)}
        for step in self.steps:
            values |= step.run(self, values)
        found = tuple(values[name] for name in self.outputs)
        return found[0] if len(found) == 1 else found

    def stored(self, name: str) -> Any:
        """Return a constant: a tensor of the module, or numbers."""
        if name not in self.places:
            return self.constants[name]
        container, last = self.container(self.places[name])
        return getattr(container, last)

    def place(self, name: str, array: NDArray[Any], *, learned: bool) -> None:
        """Make a parameter or a buffer of a constant, once, under a name as near to its own as can be."""
        if name in self.places:
            return
        path = self.free_path(name)
        container, last = self.container(path)
        tensor = torch.from_numpy(array.copy())
        if learned:
            container.register_parameter(last, nn.Parameter(tensor))
        else:
            container.register_buffer(last, tensor)
        self.places[name] = path

    def free_path(self, name: str) -> str:
        """Return a path of modules that nothing has yet."""
        parts = [re.sub(r"\W", "_", part) for part in name.split(".") if part] or ["constant"]
        path = ".".join(
            f"_{part}" if hasattr(nn.Module, part) or part in vars(self) else part for part in parts
        )
        free, count = path, 1
        while any(
            free == taken or taken.startswith(f"{free}.") or free.startswith(f"{taken}.")
            for taken in self._taken
        ):
            free, count = f"{path}_{count}", count + 1
        self._taken.add(free)
        return free

    def container(self, path: str) -> tuple[nn.Module, str]:
        """Return the module that holds a path's last part, which is made where it is missing."""
        *parents, last = path.split(".")
        module: nn.Module = self
        for part in parents:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        return module, last


class Step:
    """One node: a function of values, or a module with the weights that it reads."""

    def __init__(self, module: OnnxModule, node: "NodeProto") -> None:
        self.op, self.node = node.op_type, node
        self.inputs, self.outputs = list(node.input), list(node.output)
        self.at: Attributes = {item.name: _attribute(item) for item in node.attribute} | {
            "outputs": len(node.output)
        }
        self.leaf = ""
        if self.op == "Constant":
            module.constants[self.outputs[0]] = _constant(self.at)
        elif self.op == "QuantizeLinear":
            module.levels[self.outputs[0]] = tuple(self.inputs[1:])
        elif self.op == "DequantizeLinear" and self.inputs[0] not in module.constants:
            if module.levels.get(self.inputs[0]) != tuple(self.inputs[1:]):
                refuse("a DequantizeLinear that does not undo the QuantizeLinear before it")
        elif self.op == "DequantizeLinear":
            arrays = [module.constants.get(name) for name in self.inputs]
            module.constants[self.outputs[0]] = _dequantized(self.at, *arrays)
        elif self.op not in (*OPS, *RECURRENT, "DequantizeLinear"):
            refuse(f"{self.op} of {node.name!r}")
        elif self.op in OPS and self.inputs and all(name in module.constants for name in self.inputs if name):
            self._fold(module)

    def _fold(self, module: OnnxModule) -> None:
        """Compute what depends on no input here and now."""
        given = [module.constants[name] if name else None for name in self.inputs]
        raw = RAW.get(self.op, ())
        as_tensors = [
            torch.from_numpy(array.copy())
            if array is not None and array.dtype == np.float32 and array.ndim and place not in raw
            else array
            for place, array in enumerate(given)
        ]
        found = OPS[self.op](self.at, *as_tensors)
        several = found if isinstance(found, tuple) else (found,)
        for name, value in zip(self.outputs, several, strict=False):
            module.constants[name] = _folded(value)

    def settle(self, module: OnnxModule, uses: Sequence[str]) -> None:
        """Give the stored numbers that this node reads their place in the module."""
        if self.outputs[0] in module.constants:
            return
        build = LEAVES.get(self.op)
        leaf = build(self, module, uses) if build else None
        if leaf is not None:
            self.leaf = module.free_path(_layer(self))
            container, last = module.container(self.leaf)
            container.add_module(last, leaf)
            return
        if self._yields_zeros(module):
            module.zeros.add(self.outputs[0])
        if self.op in GATES:
            self._order_gates(module)
            self.inputs = ["" if name in module.zeros else name for name in self.inputs]
        for position, name in enumerate(self.inputs):
            array = module.constants.get(name)
            if array is None or position in RAW.get(self.op, ()):
                continue
            if array.dtype == np.float32 and array.ndim:
                module.place(name, array, learned=position not in SEEN.get(self.op, ()))

    def _yields_zeros(self, module: OnnxModule) -> bool:
        """Whether this is a state of zeros, for as many examples as there are."""
        first = module.constants.get(self.inputs[0])
        if self.op == "ConstantOfShape":
            return not np.any(self.at.get("value", 0))
        if self.op == "Expand" and first is not None:
            return not first.any()
        return self.op in ("Slice", "Expand", "Unsqueeze", "Squeeze") and self.inputs[0] in module.zeros

    def _order_gates(self, module: OnnxModule) -> None:
        for position in range(1, min(4, len(self.inputs))):
            name = self.inputs[position]
            if not name:
                continue
            if name not in module.constants:
                refuse(f"{self.op} with computed weights")
            ordered = f"{self.node.name or self.outputs[0]}.{'WRB'[position - 1]}"
            module.constants[ordered] = in_gate_order(module.constants[name], GATES[self.op])
            self.inputs[position] = ordered

    def run(self, module: OnnxModule, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what this node yields, by name."""
        if self.outputs[0] in module.constants:
            return {}
        given = [
            None if not name else values[name] if name in values else module.stored(name)
            for name in self.inputs
        ]
        if self.leaf:
            found = module.get_submodule(self.leaf)(given[0])
        elif self.op == "DequantizeLinear":
            found = given[0]
        else:
            found = (OPS | RECURRENT)[self.op](self.at, *given)
        several = found if isinstance(found, tuple) else (found,)
        return {name: value for name, value in zip(self.outputs, several, strict=False) if name}


def _folded(value: Any) -> NDArray[Any]:
    """Return what was computed beforehand as ONNX would store it."""
    found = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    if found.size > MOST_FOLDED:
        raise OversizeError(
            f"onnx: a constant of {found.size:,} numbers; at most {MOST_FOLDED:,} are computed."
        )
    kinds = {"f": np.float32, "i": np.int64}
    return found.astype(kinds[found.dtype.kind]) if found.dtype.kind in kinds else found


def _attribute(item: Any) -> Any:
    from onnx import helper, numpy_helper

    value = helper.get_attribute_value(item)
    return numpy_helper.to_array(value) if item.type == item.TENSOR else value


def _constant(at: Attributes) -> NDArray[Any]:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in at:
            dtype = np.float32 if "float" in name else np.int64
            return np.asarray(at[name]) if name == "value" else np.asarray(at[name], dtype)
    return refuse("Constant of text or of a sparse tensor")  # type: ignore[no-any-return]


def _dequantized(at: Attributes, levels: Any, scale: Any, zero: Any = None) -> NDArray[np.float32]:
    """Return the numbers that stored levels stand for."""
    if scale is None:
        refuse("DequantizeLinear with a computed scale")
    if np.ndim(scale) > 1:
        refuse("DequantizeLinear by blocks")
    shape = [1] * levels.ndim
    if np.size(scale) > 1:
        shape[at.get("axis", 1)] = -1
    start = (
        0
        if zero is None
        else zero.astype(np.float32).reshape(shape if np.size(zero) > 1 else [1] * levels.ndim)
    )
    return np.asarray((levels.astype(np.float32) - start) * np.reshape(scale, shape), np.float32)


def _layer(step: Step) -> str:
    """Return the name of a layer: its weight's without the last part, or its node's."""
    name, dot, last = step.inputs[1].rpartition(".")
    return name if dot and last in ("weight", "kernel", "W") else step.node.name or step.inputs[1]


def _arrays(step: Step, module: OnnxModule, uses: Sequence[str]) -> list[NDArray[Any]] | None:
    """Return the stored numbers of a layer that nothing else reads, or None."""
    names = [name for name in step.inputs[1:] if name]
    if any(name not in module.constants or uses.count(name) > 1 for name in names):
        return None
    return [module.constants[name] for name in names]


def _filled(leaf: nn.Module, **arrays: NDArray[Any] | None) -> nn.Module:
    with torch.no_grad():
        for name, array in arrays.items():
            if array is not None:
                getattr(leaf, name).copy_(torch.from_numpy(array.copy()))
    return leaf


def _conv(step: Step, module: OnnxModule, uses: Sequence[str]) -> nn.Module | None:
    arrays, at = _arrays(step, module, uses), step.at
    if (
        not arrays
        or arrays[0].ndim not in (3, 4)
        or at.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    ):
        return None
    weight, bias = arrays[0], (arrays[1] if len(arrays) > 1 else None)
    axes = weight.ndim - 2
    pads = list(at.get("pads", [0] * 2 * axes))
    if pads[:axes] != pads[axes:]:
        return None
    group = at.get("group", 1)
    kind: Any = nn.Conv1d if axes == 1 else nn.Conv2d
    leaf = kind(
        weight.shape[1] * group, weight.shape[0], weight.shape[2:], bias=bias is not None, groups=group,
        stride=at.get("strides", [1] * axes), padding=pads[:axes], dilation=at.get("dilations", [1] * axes),
    )  # fmt: skip
    return _filled(leaf, weight=weight, bias=bias)


def _linear(step: Step, module: OnnxModule, uses: Sequence[str]) -> nn.Module | None:
    arrays, at = _arrays(step, module, uses), step.at
    if (
        not arrays
        or arrays[0].ndim != 2
        or at.get("transA", 0)
        or (at.get("alpha", 1.0), at.get("beta", 1.0)) != (1, 1)
    ):
        return None
    weight = arrays[0] if at.get("transB", 0) else arrays[0].T
    bias = arrays[1] if len(arrays) > 1 else None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], bias is not None), weight=weight, bias=bias)


class AnyBatchNorm(nn.BatchNorm2d):
    """Of pictures, sequences and rows alike."""

    def _check_input_dim(self, *_: Tensor) -> None:
        pass


def _batch_norm(step: Step, module: OnnxModule, uses: Sequence[str]) -> nn.Module | None:
    arrays = _arrays(step, module, uses)
    if not arrays:
        return None
    if step.at.get("training_mode", 0):
        refuse("BatchNormalization that trains")
    leaf = AnyBatchNorm(len(arrays[0]), eps=step.at.get("epsilon", 1e-5))
    names = ("weight", "bias", "running_mean", "running_var")
    return _filled(leaf, **dict(zip(names, arrays, strict=True)))


LEAVES = {"Conv": _conv, "Gemm": _linear, "MatMul": _linear, "BatchNormalization": _batch_norm}
