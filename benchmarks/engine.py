"""Do zeros pay? The engine beside OpenVINO's dense fp32, int8 and bf16, whole networks, tier by tier.

    python benchmarks/engine.py                                       # all rows that are not there yet
    python benchmarks/engine.py --net resnet50 --format csr --sparsity 0.9 --tier avx2 --json    # one row

Each ratio is the median of six processes of 8 paired rounds (of 2 at batch 16, where a call takes long);
against ONNX Runtime and DeepSparse, of 20 rounds in one process.
`speedup` is OpenVINO dense fp32 over ours, `speedup_over_best` the fastest dense form of the same tier over
ours, `speedup_over_onnxruntime` its dense fp32 over ours: at the machine's own tier alone, since it cannot be
held back. Writes engine-TIER.json, named after that tier, row by row. With --deepsparse PYTHON, DeepSparse
with the same zeros stands beside rows that are there already.
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
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.runtime.costs import SAME_KERNELS
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure_beside
from wieldy.runtime.tier import available_tiers, has_bf16
from wieldy.runtime.timing import PROCESSES, ROUNDS

FORMATS = ("csr", "block_8x1")
IN_LEVELS = tuple(subjects.LEVEL_ROWS)  # in eight bits, seven where bytes are added in pairs of sixteen bits
SPARSITIES_IN_LEVELS = (0.9, 0.75, 0.5, 0.95)  # the last two at the machine's own tier alone
SAME_LEVELS = ("portable", "avx512")  # tiers whose products of bytes are another's, or are not worth a row
SPARSITIES = (0.9, 0.5, 0.6, 0.7, 0.8, 0.95, 0.98)
DENSE = ("fp32", "int8", "bf16")
IN_FULL = 0.9  # zeros at which all settings and peers are measured
KEY = ("net", "format", "sparsity", "scope", "tier", "batch", "threads")
Point = tuple[str, str, float, str, str, int, int]  # of the grid, by KEY
Row = dict[str, object]
SLOW = (16, 2)  # at this batch a call takes long, and so many rounds must do


def main() -> int:
    """Measure one row, or all that are missing."""
    asked = arguments()
    if asked.net:
        row = measure_row(tuple(getattr(asked, key) for key in KEY))
        if asked.deepsparse:
            row |= deepsparse(row, asked.deepsparse)
        print(json.dumps(row) if asked.json else json.dumps(row, indent=1))
        return 0
    path = prepared(asked.out) / f"engine-{available_tiers()[-1]}.json"
    return deepsparse_rows(path, asked.deepsparse) if asked.deepsparse else all_rows(path)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--net", choices=subjects.NETS)
    parser.add_argument("--format", choices=[*BLOCKS, *IN_LEVELS], default="csr")
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


def measure_row(point: Point) -> Row:
    """Time ours against each dense form of a tier."""
    net, _, sparsity, _, tier, batch, threads = point
    folder = subjects.subject_folder()
    package = written(point)
    dense = subjects.write_dense(net, folder)
    peers = {"fp32": Subject(dense), "int8": Subject(subjects.write_int8(net, folder))}
    if has_bf16(tier):
        peers["bf16"] = Subject(dense, "bf16")
    rounds = SLOW[1] if batch >= SLOW[0] else ROUNDS
    found = measure_beside(
        list(peers.values()), Subject(package), threads=threads, batch=batch, tier=tier, rounds=rounds
    )
    timings = dict(zip(peers, found, strict=True))
    best = min(timings, key=lambda name: timings[name].original_ms)
    row = dict(zip(KEY, point, strict=True)) | speedup("speedup", timings["fp32"].ratio)
    row |= {"best_dense": best} | speedup("speedup_over_best", timings[best].ratio)
    row |= {"ours_ms": timings["fp32"].small_ms, "rounds": rounds, "processes": PROCESSES, "commit": commit()}
    row |= {f"{name}_ms": timings[name].original_ms if name in timings else None for name in DENSE}
    if tier == available_tiers()[-1] and sparsity == IN_FULL:
        model = subjects.write_onnx(net, batch, folder)
        row |= beside("onnxruntime", package, model, batch, threads)
    return row


def written(point: Point) -> Path:
    """Write our package of a row and return where."""
    net, form, sparsity, scope, tier, _, _ = point
    folder = subjects.subject_folder()
    if form not in IN_LEVELS:
        return subjects.write_sparse(net, form, sparsity, folder, scope)
    bits = IntegerConfig.fitting(tier).weight_bits
    return subjects.write_levels(net, form, sparsity, folder, scope, bits)


def commit() -> str:
    """Return the commit that is measured."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def deepsparse(row: Row, python: Path) -> Row:
    """Time ours against DeepSparse, the same zeros in both; it picks its kernels by the CPU."""
    net, form, sparsity, scope, _, batch, threads = (row[name] for name in KEY)
    package = subjects.write_sparse(net, form, sparsity, subjects.subject_folder(), scope)
    model = subjects.write_sparse_onnx(package, batch)
    return beside("deepsparse", package, model, batch, threads, str(python))


def beside(peer: str, package: Path, model: Path, batch: int, threads: int, *more: str) -> Row:
    """Time ours against a runtime of others, in a process of their own."""
    script = Path(__file__).parent / f"{peer.removesuffix('runtime')}_peer.py"
    command = [sys.executable, str(script), str(package), str(model), str(batch), str(threads), *more]
    with lock.measuring():
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(answer.splitlines()[-1])
    return speedup(f"speedup_over_{peer}", Interval(**found["ratio"])) | {f"{peer}_ms": found["milliseconds"]}


def speedup(name: str, ratio: Interval) -> Row:
    """Return the other's time over ours with its interval."""
    return {name: 1 / ratio.value, f"{name}_low": 1 / ratio.high, f"{name}_high": 1 / ratio.low}


def grid() -> Iterator[Point]:
    """Yield all rows: all sparsities at batch 1 and two threads, other settings at 90 %.

    A tier that shares its float32 kernels with another is measured at 90 and 50 %: only its int8 differs.
    """
    own = available_tiers()[-1]
    for sparsity, batch in [(share, 1) for share in SPARSITIES_IN_LEVELS] + [(IN_FULL, SLOW[0])]:
        for tier in [tier for tier in available_tiers() if tier not in SAME_LEVELS]:
            if tier == own or sparsity in SPARSITIES_IN_LEVELS[:2]:
                for net in subjects.NETS:
                    for form in IN_LEVELS:
                        yield net, form, sparsity, "layer", tier, batch, 2
    settings = [(sparsity, "layer", 1, 2) for sparsity in SPARSITIES]
    settings += [(IN_FULL, "layer", 1, 1), (IN_FULL, "network", 1, 2), (IN_FULL, "layer", SLOW[0], 2)]
    for sparsity, scope, batch, threads in settings:
        for tier in sorted(available_tiers(), key=lambda tier: "vnni" in tier):
            if tier in SAME_KERNELS and sparsity not in SPARSITIES[:2]:
                continue
            for net in subjects.NETS:
                for form in FORMATS:
                    yield net, form, sparsity, scope, tier, batch, threads


def all_rows(path: Path) -> int:
    """Measure what is missing and write after each row."""
    fresh = {"environment": environment(2), "rows": [], "seconds": 0.0}
    result = json.loads(path.read_text()) if path.exists() else fresh
    if result["environment"]["cpu"] != fresh["environment"]["cpu"]:
        raise SystemExit(f"{path}: is of another CPU, {result['environment']['cpu']}. Use another --out.")
    known = {tuple(row[key] for key in KEY) for row in result["rows"]}
    todo = [point for point in grid() if point not in known]
    began = time.monotonic()
    for number, point in enumerate(todo, 1):
        result["rows"].append(measure_row(point))
        result["seconds"] += time.monotonic() - began
        began = time.monotonic()
        write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
        print(f"{number}/{len(todo)} {json.dumps(result['rows'][-1])}", flush=True)
    print(f"{len(result['rows'])} rows, {result['seconds'] / 60:.0f} minutes in all: {path}")
    return 0


def deepsparse_rows(path: Path, python: Path) -> int:
    """Put DeepSparse beside the rows of this machine's own tier at 90 % zeros and write after each."""
    result = json.loads(path.read_text())
    for row in result["rows"]:
        if row["tier"] == available_tiers()[-1] and row["sparsity"] == IN_FULL:
            row |= deepsparse(row, python)
            write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
            print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
