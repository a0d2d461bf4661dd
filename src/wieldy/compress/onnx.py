"""A package as ONNX that ONNX Runtime and OpenVINO run: what torch's own exporter makes of its network.

Source: ONNX operators, opset 20; torch.onnx.export. Zeros are written as numbers, low rank as the two layers
that it is. Roundings of values are pairs of QuantizeLinear and DequantizeLinear; weights that are stored as
levels are int8 tensors behind a DequantizeLinear for each output channel (QDQ), which runtimes turn into
products of whole numbers.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from wieldy.core.errors import ConfigError
from wieldy.core.files import write_atomic
from wieldy.core.optional import need
from wieldy.formats.integer import IntegerFormat
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import ATTENTION, FAKE_QUANTIZE
from wieldy.graph.program import Node
from wieldy.package.read import Package
from wieldy.runtime.inputs import random_inputs
from wieldy.runtime.integers import stored_integers

if TYPE_CHECKING:
    from onnx_ir import Graph, Model, Value

OPSET = 20
LOWEST = torch.finfo(torch.float32).min
LARGEST_BYTES = 2**31 - (1 << 24)  # of one file, which protobuf holds; some to spare for the nodes
EXAMPLES = 2  # of what is traced: one would be taken for a fixed batch
BYTE_RANGES = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


class Exportable(GraphNetwork):
    """A network in which operators that torch's exporter does not write, or writes wrongly, are others."""

    def _call(self, node: Node, values: Mapping[str, Tensor], batch: int) -> Tensor:
        if node.op not in WRITTEN:
            return super()._call(node, values, batch)
        given = {name: self._resolve(value, values) for name, value in node.inputs.items()}
        return WRITTEN[node.op](**given)


def export_onnx(package: Package, path: str | Path) -> Path:
    """Write a package as one ONNX file that takes any batch.

    Args:
        package: an opened package; its inputs and outputs keep their names.
        path: the file.

    Returns:
        `path`.

    Raises:
        ConfigError: torch's exporter cannot write the network, or it is too large for one file.
        DependencyError: the extra `onnx` is not installed.
        StorageError: the file cannot be written.

    Cost: one trace, and a copy of the weights.
    """
    need("onnxscript", "onnx", "writing ONNX")
    size = sum(array.nbytes for array in package.tensors.values())
    if size > LARGEST_BYTES:
        raise ConfigError(
            f"{package.path}: one ONNX file holds {LARGEST_BYTES:,} bytes; the weights have {size:,}. Write "
            "OpenVINO's format instead: --to openvino."
        )
    model = _model(package)
    for name, form in stored_integers(package).items():
        _store_levels(model, name, form, package.tensors[name])
    onnx_ir = need("onnx_ir", "onnx", "writing ONNX")
    write_atomic(Path(path), onnx_ir.to_proto(model).SerializeToString())
    return Path(path)


def _model(package: Package) -> "Model":
    program = package.program
    network = Exportable.from_arrays(program, package.tensors, package.formats).requires_grad_(False)
    inputs = tuple(torch.from_numpy(array) for array in random_inputs(program, EXAMPLES))
    batch = torch.export.Dim("batch")
    try:
        with _exporter_silenced():
            made = torch.onnx.export(
                network, inputs, dynamo=True, opset_version=OPSET, verbose=False, optimize=True,
                dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()
        raise ConfigError(
            f"{package.path}: torch cannot write it as ONNX ({reason[0][:200] if reason else error}). Write "
            "OpenVINO's format instead: --to openvino."
        ) from None
    assert made is not None
    named = [f"{name}.output" if name in program.inputs else name for name in program.outputs]
    _name_ends(made.model, list(program.inputs), named)
    _forget_where(made.model)
    return made.model


def _name_ends(model: "Model", inputs: list[str], outputs: list[str]) -> None:
    """Give inputs and outputs their names; a value inside that has one of them gets another."""
    ends = dict(zip((*model.graph.inputs, *model.graph.outputs), (*inputs, *outputs), strict=True))
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.name in ends.values():
                value.name = f"inside.{value.name}"
    for value, name in ends.items():
        value.name = name


def _forget_where(model: "Model") -> None:
    """Leave out from which lines of which files each node came: the same package gives the same bytes."""
    holders: list[Any] = [model, model.graph, *model.graph.all_nodes(), *model.graph.inputs]
    holders += [
        *model.graph.initializers.values(),
        *(v for node in model.graph.all_nodes() for v in node.outputs),
    ]
    for holder in holders:
        holder.metadata_props.clear()
        holder.doc_string = None


def _rounded(self: Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int) -> Tensor:
    """Round to levels and back; a range of levels that no type of bytes has is clamped to first."""
    fitting = [kind for kind, (low, high) in BYTE_RANGES.items() if low <= quant_min and quant_max <= high]
    if not fitting:
        raise ConfigError(
            f"onnx: levels must lie within 0 to 255 or -128 to 127; got {quant_min} to {quant_max}."
        )
    kind = fitting[0]
    if BYTE_RANGES[kind] != (quant_min, quant_max):
        self = self.clamp(scale * (quant_min - zero_point), scale * (quant_max - zero_point))
    given = (torch.tensor(scale), torch.tensor(zero_point, dtype=kind))
    levels = torch.onnx.ops.symbolic("::QuantizeLinear", (self, *given), dtype=kind, shape=self.shape)
    return torch.onnx.ops.symbolic("::DequantizeLinear", (levels, *given), dtype=self.dtype, shape=self.shape)


def _elu(self: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    """The exporter leaves out both scales."""
    return scale * torch.where(self > 0, self, alpha * torch.expm1(self * input_scale))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool,
    scale: float | None, enable_gqa: bool,
) -> Tensor:  # fmt: skip
    """The exporter merges batch and heads, which a reader cannot take apart again."""
    del dropout_p  # of training
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = (side.repeat_interleave(times, -3) for side in (key, value))
    scores = torch.matmul(query, key.transpose(-2, -1)) * (scale or query.shape[-1] ** -0.5)
    kept = torch.ones(scores.shape[-2:], dtype=torch.bool).tril() if is_causal else None
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        kept = attn_mask
    elif attn_mask is not None:
        scores = scores + attn_mask
    if kept is None:
        return torch.matmul(torch.softmax(scores, -1), value)
    shares = torch.softmax(torch.where(kept, scores, LOWEST), -1)
    return torch.matmul(torch.where(kept, shares, 0.0), value)


def _adaptive(self: Tensor, output_size: list[int]) -> Tensor:
    """Means of windows of unlike sizes, as products with matrices of shares: the exporter gathers them."""
    found = self
    for axis, size in enumerate(output_size, self.ndim - len(output_size)):
        shares = torch.zeros(size, self.shape[axis])
        for place in range(size):
            begin, end = place * self.shape[axis] // size, -(-(place + 1) * self.shape[axis] // size)
            shares[place, begin:end] = 1 / (end - begin)
        found = torch.matmul(found.transpose(axis, -1), shares.T).transpose(axis, -1)
    return found


WRITTEN: dict[str, Callable[..., Tensor]] = {
    FAKE_QUANTIZE: _rounded,
    ATTENTION: _attention,
    "aten.elu.default": _elu,
    "aten.adaptive_avg_pool1d.default": _adaptive,
    "aten.adaptive_avg_pool2d.default": _adaptive,
}


def _store_levels(model: "Model", name: str, form: IntegerFormat, array: Any) -> None:
    """Put int8 levels with their scales in the place of a weight."""
    import onnx_ir as ir

    graph = model.graph
    weight = graph.initializers.pop(name)
    stored = [_stored(graph, f"{name}.levels", form.levels(array))]
    stored.append(_stored(graph, f"{name}.scales", form.scales(array)))
    node = ir.node("DequantizeLinear", stored, {"axis": 0}, name=f"{name}.dequantize")
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = name, weight.shape, weight.type
    graph.insert_before(graph[0], node)
    weight.replace_all_uses_with(node.outputs[0])


def _stored(graph: "Graph", name: str, array: NDArray[Any]) -> "Value":
    import onnx_ir as ir

    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape)
    )
    graph.initializers[name] = value
    return value


@contextmanager
def _exporter_silenced() -> Iterator[None]:
    """The exporter warns of its own parts, and logs which other projects it does not find."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
