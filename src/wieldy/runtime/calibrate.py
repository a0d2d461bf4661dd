"""Measuring what layers cost on this machine: a network of many shapes, dense and with zeros.

Runs in the timing process, at its tier.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core import rng
from wieldy.formats import BY_BLOCK
from wieldy.graph.cost_table import PER_COLUMN, features, fit_terms, work_of
from wieldy.graph.ops import CONV, LINEAR
from wieldy.graph.program import Argument, Node, Program, Ref, Spec, Stored
from wieldy.kernels.native import variant_for
from wieldy.runtime.calibrate_levels import time_in_levels
from wieldy.runtime.cost_rows import SPARSE_TERMS, Rows, add_chains, add_layers
from wieldy.runtime.lower_zeros import Zeros
from wieldy.runtime.profile import layer_ms, region_times
from wieldy.runtime.tier import current_tier

FIRST = (16, 112, 112)
LAYERS = (  # output channels (0: depthwise), kernel, stride: wide ones, and the thin ones of small networks
    (96, 1, 1), (0, 3, 1), (24, 1, 1), (72, 1, 1), (0, 3, 2),
    (64, 1, 1), (64, 3, 1), (192, 1, 1), (0, 3, 1), (48, 1, 1), (96, 3, 1), (24, 1, 1), (120, 1, 1),
    (0, 3, 1), (32, 1, 1), (288, 1, 1), (0, 3, 2),
    (128, 1, 1), (128, 3, 1), (512, 1, 1), (96, 1, 1), (160, 3, 1), (40, 1, 1), (200, 1, 1), (0, 3, 1),
    (40, 1, 1), (384, 1, 1), (0, 3, 1), (256, 3, 2),
    (256, 3, 1), (1024, 1, 1), (256, 1, 1), (192, 5, 1), (72, 1, 1), (320, 1, 1), (0, 3, 1), (56, 1, 1),
    (768, 1, 1), (0, 3, 1), (320, 1, 1), (512, 3, 2),
    (512, 3, 1), (2048, 1, 1), (384, 1, 1), (144, 1, 1), (960, 1, 1), (0, 3, 1), (128, 1, 1), (320, 1, 1),
)  # fmt: skip
LINEARS = ((2048, 1000), (4096, 4096), (512, 512))
DENSITIES = (0.03, 0.1, 0.25, 0.5, 1.0)
ROUNDS = 3


def calibrate(threads: int) -> dict[str, Any]:
    """Return the coefficients of a cost table, and what carrying a megabyte into a region costs.

    Everything is timed in rounds, minutes being long enough for a machine to change its pace: a slow moment
    must not fall on the dense layers alone.
    """
    rounds = [_timed(threads) for _ in range(ROUNDS)]
    terms: dict[str, tuple[float, ...]] = {}
    for key, found in rounds[0][0].items():
        times = np.median([[ms for _, ms in rows[key]] for rows, _ in rounds], axis=0)
        fitted = fit_terms([row for row, _ in found], times.tolist())
        if key in PER_COLUMN:
            terms |= {f"{key}/conv": fitted[:SPARSE_TERMS], f"{key}/depthwise": fitted[SPARSE_TERMS:]}
        else:
            terms[key] = fitted
    return {"terms": terms, "edge_ms_per_mb": float(np.median([loads for _, loads in rounds]))}


def _timed(threads: int) -> tuple[Rows, list[float]]:
    """Return, by kind, features and milliseconds of all layers, and of loading a megabyte; once."""
    program = convolutions()
    draw = rng.generator(0, "calibration")
    arrays = random_weights(program, draw)
    rows: Rows = defaultdict(list)
    time_dense(program, arrays, threads, rows)
    loads = []
    for block, form in BY_BLOCK.items():
        for density in DENSITIES:
            masked = masked_weights(arrays, block, density, draw)
            loads.append(time_zeros(program, masked, form, block, threads, rows))
    _linears(threads, draw, rows)
    time_in_levels(program, DENSITIES, threads, draw, rows)
    return rows, loads


def convolutions() -> Program:
    """Return a chain of convolutions with a ReLU after each."""
    channels, height, width = FIRST
    nodes, tensors, value = [], {}, "x"
    for number, (asked, kernel, stride) in enumerate(LAYERS):
        name, made = f"c{number}", asked or channels
        groups = 1 if asked else channels
        tensors[f"{name}.weight"] = Spec((made, channels // groups, kernel, kernel), learned=True)
        height, width = (-(-size // stride) for size in (height, width))
        pad = (kernel // 2, kernel // 2)
        given: dict[str, Argument] = {
            "input": Ref(value), "weight": Stored(f"{name}.weight"), "bias": None,
            "stride": (stride, stride), "padding": pad, "dilation": (1, 1), "groups": groups,
        }  # fmt: skip
        nodes.append(Node(name, CONV, given, name, (None, made, height, width)))
        value, channels = f"r{number}", made
        nodes.append(Node(value, "aten.relu.default", {"self": Ref(name)}, value, nodes[-1].shape))
    return Program({"x": Spec((None, *FIRST))}, tuple(nodes), (value,), tensors)


def random_weights(program: Program, draw: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Return weights for a program, none of them zero."""
    return {
        name: draw.standard_normal(_shape(spec)).astype(np.float32) for name, spec in program.tensors.items()
    }


def linears() -> Iterator[Program]:
    """Yield programs of one linear layer each."""
    for inputs, outputs in LINEARS:
        given: dict[str, Argument] = {"input": Ref("x"), "weight": Stored("w"), "bias": None}
        node = Node("fc", LINEAR, given, "fc", (None, outputs))
        spec = Spec((outputs, inputs), learned=True)
        yield Program({"x": Spec((None, inputs))}, (node,), ("fc",), {"w": spec})


def time_dense(program: Program, arrays: Any, threads: int, rows: Rows) -> None:
    """Time every layer as OpenVINO runs it."""
    add_layers(program, layer_ms(program, arrays, threads), "dense", rows)


def masked_weights(arrays: Any, block: int, density: float, draw: Any) -> dict[str, Any]:
    """Return the weights with zeros; rows differ in density as pruned ones do."""
    found = {}
    for name, array in arrays.items():
        rows = -(-array.shape[0] // block)
        chance = (
            density * np.exp(0.5 * draw.standard_normal((rows, 1, 1, 1)))
            if density < 1
            else np.ones((1,) * 4)
        )
        kept = draw.random((rows, *array.shape[1:])) < chance
        dense = array.shape[1] == 1  # depthwise
        found[name] = array if dense else array * np.repeat(kept, block, axis=0)[: len(array)]
    return found


def time_zeros(program: Program, arrays: Any, form: str, block: int, threads: int, rows: Rows) -> float:
    """Time every chain of the region of all layers; returns the milliseconds of loading a megabyte."""
    zeros = Zeros(dict.fromkeys(arrays, block), variant_for(current_tier()), threads)
    chains, load_ms = region_times(program, arrays, zeros, cold=True)
    add_chains(program, chains, form, rows)
    return load_ms


def _shape(spec: Spec) -> tuple[int, ...]:
    return tuple(size or 1 for size in spec.shape)


def _linears(threads: int, draw: Any, rows: Rows) -> None:
    """Time linear layers, dense and with zeros."""
    for program in linears():
        work = work_of(program, program.nodes[0])
        weight = draw.standard_normal(_shape(program.tensors["w"])).astype(np.float32)
        times = layer_ms(program, {"w": weight}, threads)
        rows["dense/linear"].append((features("dense", work), times["fc"]))
        for block, form in BY_BLOCK.items():
            for density in DENSITIES[:-1]:
                kept = draw.random((-(-len(weight) // block), weight.shape[1])) < density
                array = weight * np.repeat(kept, block, axis=0)[: len(weight)]
                zeros = Zeros({"w": block}, variant_for(current_tier()), threads)
                ms = layer_ms(program, {"w": array}, threads, zeros)["fc"]
                rows[f"{form}/linear"].append((features(form, work, int(kept.sum()) * block), ms))
