"""Fixed random inputs for timing; what they are matters only where a network looks things up."""

from typing import Any

import numpy as np

from wieldy.core import rng
from wieldy.graph.ops import EMBEDDING
from wieldy.graph.program import Program, Ref


def fill_inputs(request: Any, program: Program | None) -> None:
    """Fill a request's inputs: floats at random, tokens at random below their table's end, all else ones."""
    draw = rng.generator(0, "timing inputs")
    tables = _tables(program) if program else {}
    names = list(program.inputs) if program else []
    for index, tensor in enumerate(request.input_tensors):
        limit = tables.get(names[index]) if names else None
        if tensor.data.dtype == np.float32:
            tensor.data[:] = draw.standard_normal(tensor.shape, np.float32)
        else:
            tensor.data[:] = draw.integers(0, limit, tensor.shape) if limit else 1


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
