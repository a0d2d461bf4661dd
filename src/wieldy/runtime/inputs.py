"""Fixed random inputs for timing; what they are matters only where a network looks things up."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core import rng
from wieldy.graph.ops import EMBEDDING
from wieldy.graph.program import Program, Ref, with_batch


def fill_inputs(request: Any, program: Program | None) -> None:
    """Fill a request's inputs: floats at random, tokens at random below their table's end, all else ones."""
    draw = rng.generator(0, "timing inputs")
    tables = _tables(program) if program else {}
    names = list(program.inputs) if program else [""] * len(request.input_tensors)
    for name, tensor in zip(names, request.input_tensors, strict=True):
        tensor.data[:] = _drawn(draw, tuple(tensor.shape), tensor.data.dtype, tables.get(name))


def random_inputs(program: Program, batch: int) -> tuple[NDArray[Any], ...]:
    """Return a batch of inputs as `fill_inputs` makes them."""
    draw, tables = rng.generator(0, "random inputs"), _tables(program)
    return tuple(
        _drawn(draw, with_batch(spec.shape, batch), np.dtype(spec.dtype), tables.get(name))
        for name, spec in program.inputs.items()
    )


def _drawn(
    draw: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], rows: int | None
) -> NDArray[Any]:
    if dtype == np.float32:
        return draw.standard_normal(shape, np.float32)
    return draw.integers(0, rows, shape).astype(dtype) if rows else np.ones(shape, dtype)


def _tables(program: Program) -> dict[str, int]:
    """Return, by input, how many rows the smallest table has that it looks up."""
    found: dict[str, int] = {}
    for node in program.nodes:
        if node.op == EMBEDDING:
            source, weight = node.inputs["indices"], next(node.stored())
            rows = int(program.tensors[weight].shape[0] or 0)
            if isinstance(source, Ref):
                found[source.name] = min(rows, found.get(source.name, rows))
    return found
