"""Whole networks in eight bits, bit for bit: every region against the references, one operation at a time.

    python benchmarks/level_regions.py [--only resnet18] [--sparsity 0.9] [--form block_1x4] [--out DIR]

The networks and zeros of engine.py, each variant that this CPU can run; seven bits for the one that adds
products in pairs. Exit code 1 where a bit differs. Takes some minutes a network: the references are slow.
Writes level_regions.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import engine_subjects as subjects
import numpy as np

from wieldy.core.files import write_atomic
from wieldy.flow.state import prepared
from wieldy.formats import FORMATS
from wieldy.formats.integer import IntegerFormat
from wieldy.kernels.native import IN_PAIRS, level_variants
from wieldy.kernels.region.plan import plan_region
from wieldy.kernels.region.run import run_plan
from wieldy.kernels.sparse_int8.reference import numbers_of
from wieldy.package.read import read
from wieldy.runtime.environment import environment
from wieldy.runtime.fuse_levels import LevelWeights
from wieldy.runtime.lower_levels import level_regions
from wieldy.runtime.session import usable_cores

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from level_cases import chained

NETS = ("resnet18", "resnet50", "vgg16", "mobilenet_v2")


def main() -> int:
    """Compare what is asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--form", default="block_1x4", choices=subjects.LEVEL_ROWS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    path = prepared(asked.out) / "level_regions.json"
    rows = []
    for name in asked.only:
        for bits in (8, 7):
            found = compared(name, asked.form, asked.sparsity, bits)
            print(*(json.dumps(row) for row in found), sep="\n", flush=True)
            rows += found
            result = {"environment": environment(usable_cores()), "rows": rows}
            write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    return int(any(row["differ"] for row in rows))


def compared(name: str, form: str, sparsity: float, bits: int) -> list[dict[str, Any]]:
    """Return, for each variant that takes so many bits, how many output bytes differ."""
    start = time.perf_counter()
    package = read(subjects.write_levels(name, form, sparsity, subjects.subject_folder(), "layer", bits))
    forms = {tensor: FORMATS[kind] for tensor, kind in package.manifest.formats.items()}
    whole = {tensor: kind for tensor, kind in forms.items() if isinstance(kind, IntegerFormat)}
    rows: list[dict[str, Any]] = []
    found = level_regions(package.program, LevelWeights(package.tensors, whole), whole)
    for fused in found.values():
        x = [
            np.random.default_rng(0).normal(size=(1, of.channels, of.height, of.width)).astype(np.float32)
            for of in fused.sizes.values()
        ]
        values = chained(fused, *x)
        wanted = [
            numbers_of(values[name], fused.levels[name]) if name in fused.levels else values[name]
            for name in fused.outputs
        ]
        for variant in level_variants():
            if (variant in IN_PAIRS) != (bits == 7):
                continue
            plan = plan_region(
                fused.sizes, fused.ops, fused.outputs, variant="portable", threads=usable_cores(),
                levels=fused.levels, level_variant=variant,
            )  # fmt: skip
            outputs, _ = run_plan(plan, x, threads=usable_cores())
            differ = sum(int((a != b).sum()) for a, b in zip(outputs, wanted, strict=True))
            rows.append({
                "net": name, "form": form, "sparsity": sparsity, "bits": bits, "variant": variant,
                "operations": len(fused.ops), "outputs": sum(of.size for of in wanted), "differ": differ,
                "seconds": round(time.perf_counter() - start, 1),
            })  # fmt: skip
    return rows


if __name__ == "__main__":
    sys.exit(main())
