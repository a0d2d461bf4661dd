"""From a program to an OpenVINO model, node by node, by the table of lowering/.

Shapes are static, because that is what runs fastest; the batch is given here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import InternalError, MisfitError, SchemaError
from wieldy.formats.integer import IntegerFormat
from wieldy.graph.ops import OPS
from wieldy.graph.program import Argument, Node, Program, Ref, Stored, with_batch
from wieldy.kernels.native import IN_PAIRS
from wieldy.package.read import Package
from wieldy.runtime.engine import openvino
from wieldy.runtime.fuse_levels import LevelWeights
from wieldy.runtime.layouts import channels_last
from wieldy.runtime.lower_levels import level_regions, lower_levels, repeated_roundings
from wieldy.runtime.lower_zeros import (
    Zeros,
    clamps_of_linears,
    is_sparse_linear,
    lower_linear,
    lower_region,
    sparse_regions,
)  # fmt: skip
from wieldy.runtime.lowering.context import Lowered
from wieldy.runtime.lowering.table import LOWERINGS
from wieldy.runtime.regions import Region, contracted_order

Arrays = Mapping[str, NDArray[Any]]
Integers = Mapping[str, IntegerFormat]
NO_INTEGERS: Integers = {}


def lower_package(
    package: Package, batch: int = 1, zeros: Zeros | None = None, integers: Integers = NO_INTEGERS
) -> Any:
    """Return what `lower` makes of a package; an error names the file."""
    try:
        return lower(package.program, package.tensors, batch, zeros, integers)
    except SchemaError as error:
        raise type(error)(f"{package.path}: {error}") from None


def lower(
    program: Program, arrays: Arrays, batch: int, zeros: Zeros | None = None, integers: Integers = NO_INTEGERS
) -> Any:
    """Return an `openvino.Model` that computes `program` for `batch` examples.

    Every operation carries the name of its node, so that profiles and errors can be read. With `zeros`,
    the layers it names run in regions, in float32 or in eight bits but not in both; the weights that
    `integers` names are multiplied as whole numbers.

    Raises:
        SchemaError: a node does not fit what it is given, or yields another shape than the program says.
        InternalError: an operator of the allow-list has no lowering.
    """
    ov = openvino()
    ops = ov.opset15
    parameters: list[Any] = []
    values: dict[str, Any] = {}  # by name, one output of an OpenVINO node, since some have several
    for name, spec in program.inputs.items():
        shape = with_batch(spec.shape, batch)
        parameters.append(ops.parameter(shape, np.dtype(spec.dtype), name=name))
        values[name] = parameters[-1].output(0)
    whole = LevelWeights(arrays, integers, in_pairs=bool(zeros and zeros.level_variant in IN_PAIRS))
    fused = level_regions(program, whole, zeros.levels, batch) if zeros and zeros.levels else {}
    regions = list(fused) or (sparse_regions(program, zeros) if zeros else [])
    inside = {node.name for region in regions for node in region.nodes}
    clamps = clamps_of_linears(program, zeros) if zeros else {}
    for unit in contracted_order(program, regions):
        if isinstance(unit, Region):
            assert zeros is not None
            _check_shapes(unit.nodes, values, arrays, ops, batch)
            last = channels_last(program, unit, inside)
            if unit not in fused:
                values |= lower_region(unit, program, values, arrays, batch, zeros, last)
                continue
            values |= lower_levels(unit, fused[unit], program, values, batch, zeros, last)
            for again in repeated_roundings(program, unit, fused[unit], inside):
                values[next(again.refs())] = _lower_node(again, values, arrays, ops, batch)
            continue
        if zeros and is_sparse_linear(unit, zeros):
            clamp = clamps.get(unit.name)
            _check_shapes(tuple(node for node in (unit, clamp) if node), values, arrays, ops, batch)
            result = lower_linear(unit, clamp, values, arrays, zeros)
            values |= {node.name: result for node in (unit, clamp) if node}
            continue
        if unit.name in values:  # a clamp that its layer has taken over
            continue
        result = _lower_node(unit, values, arrays, ops, batch, integers)
        if all(result is not value for value in values.values()):  # nothing was added: keep the earlier name
            result.get_node().set_friendly_name(unit.name)
        values[unit.name] = result
    results = [ops.result(values[name]) for name in program.outputs]
    model = ov.Model(results, parameters, "wieldy")
    model.validate_nodes_and_infer_types()
    return model


def _check_shapes(
    nodes: tuple[Node, ...], values: Mapping[str, Any], arrays: Arrays, ops: Any, batch: int
) -> None:
    """Raise SchemaError unless nodes fit each other, by lowering them dense: our kernels check nothing."""
    known = dict(values)
    for node in nodes:
        known[node.name] = _lower_node(node, known, arrays, ops, batch)


def _lower_node(
    node: Node,
    values: Mapping[str, Any],
    arrays: Arrays,
    ops: Any,
    batch: int,
    integers: Integers = NO_INTEGERS,
) -> Any:
    if node.op not in LOWERINGS:
        raise InternalError(f"lower: {node.op} is on the allow-list but has no lowering.")
    given = {name: _argument(node.inputs[name], values, arrays, ops) for name, _ in OPS[node.op]}
    stored = {name: arrays[value.name] for name, value in node.inputs.items() if isinstance(value, Stored)}
    try:
        result = LOWERINGS[node.op](Lowered(node, ops, given, stored, batch, integers))
    except (RuntimeError, ValueError, IndexError) as error:
        raise MisfitError(
            f"program: {node.op} of {node.name!r} does not fit what it is given ({last_line(error)})."
        ) from None
    result = result.output(0) if hasattr(result, "output") else result
    if result.get_element_type().to_dtype() != np.dtype(node.dtype):
        raise MisfitError(
            f"program: {node.op} of {node.name!r} must yield {node.dtype}; it yields "
            f"{result.get_element_type().get_type_name()}."
        )
    expected, found = list(with_batch(node.shape, batch)), _static_shape(result)
    if found != expected:
        raise MisfitError(f"program: {node.op} of {node.name!r} must yield {expected}; it yields {found}.")
    return result


def _static_shape(output: Any) -> list[int] | str:
    shape = output.get_partial_shape()
    return [int(size) for size in shape.to_shape()] if shape.is_static else str(shape)


def last_line(error: Exception) -> str:
    """Return what an error of OpenVINO says in the end; all before is where it was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__


def _argument(value: Argument, values: Mapping[str, Any], arrays: Arrays, ops: Any) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, Stored):
        return ops.constant(np.ascontiguousarray(arrays[value.name]), name=value.name)
    if isinstance(value, tuple):
        return [_argument(item, values, arrays, ops) for item in value]
    return value
