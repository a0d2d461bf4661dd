"""Do packages compute the same where others run them? ONNX and OpenVINO's format, in two runtimes.

    python benchmarks/exports.py [--only NAME ...] [--out DIR]

The embedded network as it is, in eight bits, with nine weights of ten zero, and with layers of half their
numbers in two, all on its test pictures; networks of any_network.py on random inputs. In float32 the largest
difference must be at most 1e-4 of the largest output, also of what is imported again; in eight bits 99.5 % of
the answers must be the same. Leaves with 1 where one is not. Writes exports.json, row by row. Needs the
extras `bench`, `onnx` and `dev`.
"""

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full_size import FULL_SIZE, build
from importance import commit

from wieldy.compress.exported import Arrays, Difference, differences
from wieldy.compress.factor import factor
from wieldy.compress.onnx import export_onnx
from wieldy.compress.onnx_import import import_onnx
from wieldy.compress.quantize import quantize
from wieldy.core.data import each, joined
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT
from wieldy.core.files import write_atomic
from wieldy.flow.state import prepared
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.factor.svd import SvdConfig
from wieldy.methods.prune import zeros
from wieldy.methods.prune.zeros import ZerosConfig
from wieldy.package.read import Package, read
from wieldy.package.save import save
from wieldy.runtime.environment import environment
from wieldy.runtime.inputs import random_inputs
from wieldy.runtime.ir import export_ir
from wieldy.runtime.session import open as open_package
from wieldy.runtime.session import usable_cores
from wieldy.stats.collect import Stats
from wieldy.zoo.data import fashion
from wieldy.zoo.networks.residual import residual28

MOST, FEWEST = 1e-4, 0.995  # relative difference in float32, share of equal answers in eight bits
EXAMPLES, BATCH = 8, 256
DIFFERENT = ("MobileNetV2", "EfficientNet-B0", "DenseNet-121", "ViT-Tiny", "U-Net", "LSTM, 3 layers")


def main() -> int:
    """Export and compare what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    known = [*EMBEDDED, *FULL_SIZE]
    parser.add_argument("--only", nargs="*", default=[*EMBEDDED, *DIFFERENT], choices=known, metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    path = prepared(asked.out) / "exports.json"
    result: dict[str, Any] = {"environment": environment(usable_cores()), "rows": {}}
    sound = True
    for name in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            row = embedded(name, Path(folder)) if name in EMBEDDED else any_network(name, Path(folder))
        sound &= row["sound"]
        result["rows"][name] = row | {"commit": commit()}
        print(json.dumps({name: row}), flush=True)
        write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    return EXIT_MET if sound else EXIT_VERDICT


def _dense(network: GraphNetwork) -> tuple[GraphNetwork, dict[str, str]]:
    return network, {}


def _in_levels(network: GraphNetwork) -> tuple[GraphNetwork, dict[str, str]]:
    small, _ = quantize(network, fashion.embedded())
    return small, dict(small.formats)


def _sparse(network: GraphNetwork) -> tuple[GraphNetwork, dict[str, str]]:
    small, config = copy.deepcopy(network), ZerosConfig(sparsity=0.9)
    layers, _ = zeros.sparse_layers(small)
    list(zeros.apply(small, layers, Stats(), config))
    return small, zeros.stored_formats(small, config)


def _low_rank(network: GraphNetwork) -> tuple[GraphNetwork, dict[str, str]]:
    small, _ = factor(network, Stats(), SvdConfig(weighted=False))
    return small, {}


EMBEDDED: dict[str, Callable[[GraphNetwork], tuple[GraphNetwork, dict[str, str]]]] = {
    "embedded": _dense,
    "embedded, eight bits": _in_levels,
    "embedded, 90 % zeros": _sparse,
    "embedded, low rank": _low_rank,
}


def embedded(name: str, folder: Path) -> dict[str, Any]:
    """Return how far the embedded network in one form is from its exports, on its test pictures."""
    data = fashion.embedded()
    pictures = each(joined([inputs for inputs, _ in data.test.batches(BATCH)]))
    network = trace(residual28(), torch.from_numpy(pictures[0][:1]))
    small, formats = EMBEDDED[name](network)
    package = read(save(small, folder / "net.wieldy", formats=formats))
    return compared(package, pictures, in_levels=EMBEDDED[name] is _in_levels)


def any_network(name: str, folder: Path) -> dict[str, Any]:
    """Return how far a full-size network is from its exports, on random inputs."""
    package = read(save(trace(build(name), FULL_SIZE[name].inputs(1)), folder / "net.wieldy"))
    return compared(package, random_inputs(package.program, EXAMPLES), in_levels=False)


def compared(package: Package, inputs: Arrays, *, in_levels: bool) -> dict[str, Any]:
    """Write a package in both forms and compare each in each runtime that reads it."""
    run, row = open_package(package.path), {"bytes": {"package": package.path.stat().st_size}, "found": {}}
    files = {
        "onnx": export_onnx(package, package.path.with_suffix(".onnx")),
        "openvino": export_ir(package, package.path.with_name("ir.xml")),
    }
    sound = True
    for form, path in files.items():
        row["bytes"][form] = path.stat().st_size + sum(
            part.stat().st_size for part in [path.with_suffix(".bin")] if form == "openvino"
        )
        found = differences(path, run, inputs)
        row["found"][form] = [vars(item) for item in found]
        sound &= all(is_same(item, in_levels=in_levels) for item in found)
    if not in_levels:
        row["back"] = _back(files["onnx"], package, inputs)
        sound &= row["back"] <= MOST
    return row | {"sound": sound}


def _back(path: Path, package: Package, inputs: Arrays) -> float:
    """Import an exported network again; return how far it is from the package."""
    again = save(import_onnx(path), package.path.with_name("again.wieldy"))
    found = [each(open_package(path)(*inputs)) for path in (package.path, again)]
    pairs = zip(*found, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


def is_same(found: Difference, *, in_levels: bool) -> bool:
    """Whether a runtime computes what ours does."""
    if in_levels:
        return found.same_answers is not None and found.same_answers >= FEWEST * found.examples
    return found.relative <= MOST


if __name__ == "__main__":
    sys.exit(main())
