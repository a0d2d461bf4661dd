"""Measuring what layers cost in eight bits: dense as OpenVINO runs them, and by their blocks of zeros."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats import FORMATS
from wieldy.formats.integer import IntegerFormat
from wieldy.formats.level_blocks import INPUTS
from wieldy.graph.cost_table import IN_BLOCKS, IN_LEVELS
from wieldy.graph.fake_quantize import Levels, with_levels
from wieldy.graph.ops import CONV
from wieldy.graph.program import Program
from wieldy.kernels.native import level_variant_for, variant_for
from wieldy.runtime.cost_rows import Rows, add_chains, add_layers
from wieldy.runtime.integers import SATURATING
from wieldy.runtime.lower_zeros import Zeros
from wieldy.runtime.profile import layer_ms, level_times
from wieldy.runtime.tier import current_tier

SCALE = 2.0**-7  # of every weight and value: time does not depend on it
READ = Levels(SCALE, 0)


def time_in_levels(
    program: Program, densities: tuple[float, ...], threads: int, draw: Any, rows: Rows
) -> None:
    """Time every convolution of a chain in eight bits: dense, and with blocks of zeros.

    Args:
        program: a chain of convolutions.
        densities: shares of the blocks that stay.
        threads: of both.
        draw: of the weights and zeros.
        rows: by form and kind, features and milliseconds; is added to.
    """
    form = FORMATS["int7" if current_tier() in SATURATING else "int8"]
    assert isinstance(form, IntegerFormat)
    convs = [node for node in program.nodes if node.op == CONV]
    levelled = with_levels(program, {next(node.refs()): READ for node in convs})
    arrays = whole_weights(program, form, draw)
    integers = dict.fromkeys(arrays, form)
    times = layer_ms(levelled, arrays, threads, integers=integers)
    add_layers(levelled, times, IN_LEVELS, rows)
    zeros = Zeros(
        {}, variant_for(current_tier()), threads, frozenset(arrays), level_variant_for(current_tier())
    )
    for density in densities:
        masked = {name: in_blocks(array, density, draw) for name, array in arrays.items()}
        add_chains(levelled, level_times(levelled, masked, integers, zeros), IN_BLOCKS, rows)


def whole_weights(program: Program, form: IntegerFormat, draw: Any) -> dict[str, NDArray[np.float32]]:
    """Return weights for a program that lie on levels, the first of each row the largest."""
    found = {}
    for name, spec in program.tensors.items():
        shape = tuple(size or 1 for size in spec.shape)
        levels = draw.integers(1, form.largest + 1, shape) * draw.choice((-1, 1), shape)
        levels.reshape(len(levels), -1)[:, 0] = form.largest
        found[name] = (SCALE * levels).astype(np.float32)
    return found


def in_blocks(array: NDArray[np.float32], density: float, draw: Any) -> NDArray[np.float32]:
    """Return a weight of which a share of the blocks of four inputs is left, each row's first always."""
    rows, inputs, *kernel = array.shape
    kept = draw.random((rows, -(-inputs // INPUTS), *kernel)) < density
    kept.reshape(rows, -1)[:, 0] = True
    found: NDArray[np.float32] = array * np.repeat(kept, INPUTS, axis=1)[:, :inputs]
    return found
