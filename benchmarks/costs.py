"""Is the performance model right where it was not calibrated? Layers of real architectures, and crossovers.

    python benchmarks/costs.py --tier avx2 [--threads 2] [--out benchmarks/results]

Errors: every layer (with zeros: every chain of layers that runs tile by tile) of networks at 90 and 75 %
zeros, predicted against measured. Crossovers: the density at which a stack of equal layers takes as long with
zeros as dense, predicted and measured. Leaves with 1 where a median error is above 30 % or a crossover off by
more than 0.1. Writes costs-TIER.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import engine_subjects as subjects
import numpy as np

from wieldy.core.files import write_atomic
from wieldy.flow.state import prepared
from wieldy.graph.cost_table import CONV, FORMS, LINEAR, CostTable, work_of
from wieldy.graph.program import Argument, Node, Program, Ref, Spec, Stored
from wieldy.kernels.native import variant_for
from wieldy.package.read import read
from wieldy.runtime.environment import environment
from wieldy.runtime.lower_zeros import Zeros
from wieldy.runtime.measure import measured_costs
from wieldy.runtime.profile import layer_ms, region_times
from wieldy.runtime.tier import cap_process, current_tier
from wieldy.runtime.zeros import stored_blocks

ALLOWED_ERROR, ALLOWED_CROSSOVER = 0.30, 0.1
NETS = ("resnet18", "resnet50", "vgg16", "mobilenet_v2")
SPARSITIES = (0.9, 0.75)
STACK = 4  # equal layers, or pairs of them
STACKS = {  # channels in and out, kernel, height and width
    "64 3x3 at 56": (64, 64, 3, 56), "128 3x3 at 28": (128, 128, 3, 28), "256 3x3 at 14": (256, 256, 3, 14),
    "512 3x3 at 7": (512, 512, 3, 7), "256-64 1x1 at 56": (256, 64, 1, 56),
    "512-128 1x1 at 28": (512, 128, 1, 28), "1024-256 1x1 at 14": (1024, 256, 1, 14),
    "2048-512 1x1 at 7": (2048, 512, 1, 7),
}  # fmt: skip
DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


def main() -> int:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tier", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    table = measured_costs(threads=asked.threads, tier=asked.tier, again=True)
    cap_process(asked.tier)
    errors = layer_errors(table, asked.threads)
    crossovers = list(all_crossovers(table, asked.threads))
    result = {
        "environment": environment(asked.threads),
        "tier": asked.tier,
        "table": {"terms": table.terms, "edge_ms_per_mb": table.edge_ms_per_mb},
        "errors": errors,
        "crossovers": crossovers,
    }
    path = prepared(asked.out) / f"costs-{asked.tier}.json"
    write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps({"errors": errors, "crossovers": crossovers}, indent=1))
    off = max(abs(row["predicted"] - row["measured"]) for row in crossovers)
    return int(max(row["median"] for row in errors.values()) > ALLOWED_ERROR or off > ALLOWED_CROSSOVER)


def layer_errors(table: CostTable, threads: int) -> dict[str, dict[str, float]]:
    """Return, for each form, the median of |predicted - measured| / measured over layers."""
    found: dict[str, list[float]] = {"dense": [], "csr": [], "block_8x1": []}
    for net in NETS:
        for form in ("csr", "block_8x1"):
            for sparsity in SPARSITIES:
                package = read(subjects.write_sparse(net, form, sparsity, subjects.subject_folder()))
                if form == "csr" and sparsity == SPARSITIES[0]:
                    found["dense"] += list(dense_errors(package, table, threads))
                found[form] += list(zeros_errors(package, table, threads))
    return {
        form: {"median": float(np.median(errors)), "layers": len(errors)} for form, errors in found.items()
    }


def dense_errors(package: Any, table: CostTable, threads: int) -> Iterator[float]:
    """Yield the relative error of each layer as OpenVINO runs it."""
    times = layer_ms(package.program, package.tensors, threads)
    for node in package.program.nodes:
        if node.op in (CONV, LINEAR) and node.layer in times:
            yield error(table.ms("dense", work_of(package.program, node)), times[node.layer])


def zeros_errors(package: Any, table: CostTable, threads: int) -> Iterator[float]:
    """Yield the relative error of each chain of layers of the regions."""
    blocks = stored_blocks(package)
    depthwise = {
        node.inputs["weight"].name: 1
        for node in package.program.nodes
        if node.op == CONV and node.groups > 1 and node.groups == node.shape[1]
    }
    zeros = Zeros(blocks | depthwise, variant_for(current_tier()), threads)
    for chain in region_times(package.program, package.tensors, zeros)[0]:
        predicted = 0.0
        for node, kept in chain.layers:
            weight = node.inputs["weight"].name
            form = FORMS[blocks.get(weight) or next(iter(blocks.values()))]
            predicted += table.ms(form, work_of(package.program, node), kept)
        yield error(predicted, chain.milliseconds)


def error(predicted: float, measured: float) -> float:
    """Return the relative error."""
    return abs(predicted - measured) / measured


def all_crossovers(table: CostTable, threads: int) -> Iterator[dict[str, Any]]:
    """Yield predicted and measured crossover of every stack and form."""
    for name, shape in STACKS.items():
        program = stack(*shape)
        draw = np.random.default_rng(0)
        arrays = {key: draw.standard_normal(spec.shape, np.float32) for key, spec in program.tensors.items()}
        convs = [node for node in program.nodes if node.op == CONV]
        times = layer_ms(program, arrays, threads)
        dense = sum(times[node.layer] for node in convs)
        for block in (1, 8):
            zeros = Zeros(dict.fromkeys(arrays, block), variant_for(current_tier()), threads)
            measured = []
            for density in DENSITIES:
                chains, _ = region_times(program, masked(arrays, block, density), zeros)
                measured.append((density, sum(chain.milliseconds for chain in chains)))
            predicted = float(np.mean([table.crossover(FORMS[block], work_of(program, n)) for n in convs]))
            yield {
                "stack": name, "form": FORMS[block], "predicted": predicted,
                "measured": crossing(measured, dense),
            }  # fmt: skip


def crossing(times: list[tuple[float, float]], dense: float) -> float:
    """Return the density at which a falling line of times meets the dense time; 1 where it stays below."""
    for (low, faster), (high, slower) in pairwise(times):
        if faster < dense <= slower:
            return low + (high - low) * (dense - faster) / (slower - faster)
    return 1.0 if times[-1][1] < dense else 0.0


def masked(arrays: Mapping[str, Any], block: int, density: float) -> dict[str, Any]:
    """Return weights with zeros."""
    draw, found = np.random.default_rng(1), {}
    for name, array in arrays.items():
        kept = draw.random((-(-len(array) // block), *array.shape[1:])) < density
        found[name] = array * np.repeat(kept, block, axis=0)[: len(array)]
    return found


def stack(inputs: int, outputs: int, kernel: int, side: int) -> Program:
    """Return equal convolutions with a ReLU after each, to and fro where the channel counts differ."""
    nodes, tensors, value, channels = [], {}, "x", inputs
    for number in range(STACK if inputs == outputs else 2 * STACK):
        made = outputs if channels == inputs else inputs
        tensors[f"w{number}"] = Spec((made, channels, kernel, kernel), learned=True)
        given: dict[str, Argument] = {
            "input": Ref(value), "weight": Stored(f"w{number}"), "bias": None, "stride": (1, 1),
            "padding": (kernel // 2, kernel // 2), "dilation": (1, 1), "groups": 1,
        }  # fmt: skip
        nodes.append(Node(f"c{number}", CONV, given, f"c{number}", (None, made, side, side)))
        value, channels = f"r{number}", made
        nodes.append(Node(value, "aten.relu.default", {"self": Ref(f"c{number}")}, value, nodes[-1].shape))
    return Program({"x": Spec((None, inputs, side, side))}, tuple(nodes), (value,), tensors)


if __name__ == "__main__":
    sys.exit(main())
