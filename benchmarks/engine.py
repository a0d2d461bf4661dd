"""Do zeros pay? The engine beside OpenVINO's dense fp32, int8 and bf16, whole networks, tier by tier.

    python benchmarks/engine.py                                       # all rows that are not there yet
    python benchmarks/engine.py --net resnet50 --format csr --sparsity 0.9 --tier avx2 --json    # one row

Each ratio is the median of 40 paired rounds in one process. `speedup` is OpenVINO dense fp32 over ours,
`speedup_over_best` the fastest dense form of the same tier over ours, `speedup_over_onnxruntime` its dense
fp32 over ours: at this machine's own tier alone, since it cannot be held back. Writes engine.json row by row.
With --deepsparse PYTHON, DeepSparse with the same zeros stands beside rows that are there already.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import engine_subjects as subjects

from wieldy.core import lock
from wieldy.core.files import write_atomic
from wieldy.core.records import Interval
from wieldy.flow.state import prepared
from wieldy.graph.cost_table import BLOCKS
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.tier import available_tiers, has_bf16

FORMATS = ("csr", "block_8x1")
SPARSITIES = (0.9, 0.5, 0.8, 0.95, 0.7, 0.6, 0.98)  # in the order in which they are asked for
DENSE = ("fp32", "int8", "bf16")
DEEPSPARSE_AT = 0.9
KEY = ("net", "format", "sparsity", "scope", "tier", "batch", "threads")
Point = tuple[str, str, float, str, str, int, int]  # of the grid, by KEY


def main() -> int:
    """Measure one row, or all that are missing."""
    asked = arguments()
    if asked.net:
        point = tuple(getattr(asked, key) for key in KEY)
        row = measure_row(point)
        if asked.deepsparse:
            row |= deepsparse(point, asked.deepsparse)
        print(json.dumps(row) if asked.json else json.dumps(row, indent=1))
        return 0
    if asked.deepsparse:
        return deepsparse_rows(prepared(asked.out) / "engine.json", asked.deepsparse)
    return all_rows(prepared(asked.out) / "engine.json")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--net", choices=subjects.NETS)
    parser.add_argument("--format", choices=BLOCKS, default="csr")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument(
        "--scope", choices=subjects.SCOPES, default="layer", help="of the pruning that is drawn"
    )
    parser.add_argument("--tier", choices=available_tiers(), default=available_tiers()[-1])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument(
        "--deepsparse", type=Path, help="the Python of a venv that has DeepSparse; see deepsparse_peer.py"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def measure_row(point: Point) -> dict[str, object]:
    """Time ours against each dense form of a tier."""
    net, form, sparsity, scope, tier, batch, threads = point
    folder = subjects.subject_folder()
    package = subjects.write_sparse(net, form, sparsity, folder, scope)
    dense = subjects.write_dense(net, folder)
    peers = {"fp32": Subject(dense), "int8": Subject(subjects.write_int8(net, folder))}
    if has_bf16(tier):
        peers["bf16"] = Subject(dense, "bf16")
    timings = {
        name: measure(peer, Subject(package), threads=threads, batch=batch, tier=tier)
        for name, peer in peers.items()
    }
    best = min(timings, key=lambda name: timings[name].original_ms)
    row = dict(zip(KEY, point, strict=True)) | speedup("speedup", timings["fp32"].ratio)
    row |= {"best_dense": best} | speedup("speedup_over_best", timings[best].ratio)
    row |= {"ours_ms": timings["fp32"].small_ms, "commit": commit()}
    row |= {f"{name}_ms": timings[name].original_ms if name in timings else None for name in DENSE}
    return row | (onnxruntime(point, package) if tier == available_tiers()[-1] else {})


def commit() -> str:
    """Return the commit that is measured."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def onnxruntime(point: Point, package: Path) -> dict[str, object]:
    """Time ours against ONNX Runtime's dense fp32, in a process of their own."""
    net, *_, batch, threads = point
    model = subjects.write_onnx(net, batch, subjects.subject_folder())
    return beside("onnxruntime", package, model, batch, threads)


def deepsparse(point: Point, python: Path) -> dict[str, object]:
    """Time ours against DeepSparse, the same zeros in both; it picks its kernels by the CPU."""
    net, form, sparsity, scope, _, batch, threads = point
    folder = subjects.subject_folder()
    package = subjects.write_sparse(net, form, sparsity, folder, scope)
    return beside(
        "deepsparse", package, subjects.write_sparse_onnx(package, batch), batch, threads, str(python)
    )


def beside(peer: str, package: Path, model: Path, batch: int, threads: int, *more: str) -> dict[str, object]:
    """Time ours against a runtime of others, in a process of their own."""
    script = Path(__file__).parent / f"{peer.removesuffix('runtime')}_peer.py"
    command = [sys.executable, str(script), str(package), str(model), str(batch), str(threads), *more]
    with lock.measuring():
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(answer.splitlines()[-1])
    return speedup(f"speedup_over_{peer}", Interval(**found["ratio"])) | {f"{peer}_ms": found["milliseconds"]}


def speedup(name: str, ratio: Interval) -> dict[str, float]:
    """Return the other's time over ours with its interval."""
    return {name: 1 / ratio.value, f"{name}_low": 1 / ratio.high, f"{name}_high": 1 / ratio.low}


def grid() -> Iterator[Point]:
    """Yield all rows: 90 and 50 % at batch 1 and two threads, other settings at 90 %, then the rest."""
    settings = [(sparsity, "layer", 1, 2) for sparsity in SPARSITIES]
    settings[2:2] = [(0.9, "layer", 1, 1), (0.9, "layer", 16, 2), (0.9, "network", 1, 2)]
    for sparsity, scope, batch, threads in settings:
        for tier in sorted(available_tiers(), key=lambda tier: "vnni" in tier):
            for net in subjects.NETS:
                for form in FORMATS:
                    yield net, form, sparsity, scope, tier, batch, threads


def all_rows(path: Path) -> int:
    """Measure what is missing and write after each row."""
    began = time.monotonic()
    result = json.loads(path.read_text()) if path.exists() else {"environment": environment(2), "rows": []}
    known = {tuple(row[key] for key in KEY) for row in result["rows"]}
    todo = [point for point in grid() if point not in known]
    for number, point in enumerate(todo, 1):
        result["rows"].append(measure_row(point))
        result["seconds"] = result.get("seconds", 0) + time.monotonic() - began
        began = time.monotonic()
        write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
        print(f"{number}/{len(todo)} {json.dumps(result['rows'][-1])}", flush=True)
    print(f"{len(result['rows'])} rows, {result.get('seconds', 0) / 60:.0f} minutes in all: {path}")
    return 0


def deepsparse_rows(path: Path, python: Path) -> int:
    """Put DeepSparse beside the rows of this machine's own tier at 90 % zeros and write after each."""
    result = json.loads(path.read_text())
    for row in result["rows"]:
        if row["tier"] == available_tiers()[-1] and row["sparsity"] == DEEPSPARSE_AT:
            row |= deepsparse(tuple(row[key] for key in KEY), python)
            write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
            print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
