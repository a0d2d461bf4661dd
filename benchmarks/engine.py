"""Do zeros pay? The engine beside OpenVINO's dense fp32, int8 and bf16, whole networks, tier by tier.

    python benchmarks/engine.py                                       # all rows that are not there yet
    python benchmarks/engine.py --net resnet50 --format csr --sparsity 0.9 --tier avx2 --json    # one row

Each ratio is the median of 40 paired rounds in one process, in which all rows of a setting and their dense
peers take turns, each round in another order. `speedup` is OpenVINO dense fp32 over ours, `speedup_over_best`
the fastest dense form of the same tier over ours, `speedup_over_onnxruntime` its dense fp32 over ours: at the
machine's own tier alone, since it cannot be held back. Writes engine-TIER.json, named after that tier, setting
by setting. With --deepsparse PYTHON, DeepSparse with the same zeros stands beside rows that are there already.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import engine_subjects as subjects
import numpy as np
from numpy.typing import NDArray

from wieldy.core import lock
from wieldy.core.files import write_atomic
from wieldy.flow.state import prepared
from wieldy.graph.cost_table import BLOCKS
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure_turns
from wieldy.runtime.tier import available_tiers, has_bf16
from wieldy.runtime.timing import paired_ratio

FORMATS = ("csr", "block_8x1")
SPARSITIES = (0.9, 0.5, 0.6, 0.7, 0.8, 0.95, 0.98)
DENSE = ("fp32", "int8", "bf16")
DEEPSPARSE_AT = 0.9
SETTING = ("net", "scope", "tier", "batch", "threads")
Setting = tuple[str, str, str, int, int]  # what is timed together, by SETTING
Candidate = tuple[str, float]  # format and sparsity
Row = dict[str, object]


def main() -> int:
    """Measure one row, or all that are missing."""
    asked = arguments()
    if asked.net:
        setting = tuple(getattr(asked, key) for key in SETTING)
        (row,) = measure_rows(setting, [(asked.format, asked.sparsity)])
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


def measure_rows(setting: Setting, candidates: list[Candidate]) -> list[Row]:
    """Time candidates of a setting and its dense forms in turns."""
    net, scope, tier, batch, threads = setting
    folder = subjects.subject_folder()
    dense = subjects.write_dense(net, folder)
    peers = {"fp32": Subject(dense), "int8": Subject(subjects.write_int8(net, folder))}
    if has_bf16(tier):
        peers["bf16"] = Subject(dense, "bf16")
    packages = [subjects.write_sparse(net, form, sparsity, folder, scope) for form, sparsity in candidates]
    times = measure_turns([*peers.values(), *map(Subject, packages)], threads=threads, batch=batch, tier=tier)
    medians = np.median(times, axis=0).tolist()
    best = min(range(len(peers)), key=medians.__getitem__)
    dense_ms = {f"{name}_ms": None for name in DENSE} | {
        f"{name}_ms": ms for name, ms in zip(peers, medians, strict=False)
    }
    rows: list[Row] = []
    for column, (form, sparsity) in enumerate(candidates, len(peers)):
        row = dict(zip(SETTING, setting, strict=True)) | {"format": form, "sparsity": sparsity}
        row |= speedup("speedup", times[:, [0, column]]) | {"best_dense": list(peers)[best]}
        row |= speedup("speedup_over_best", times[:, [best, column]])
        rows.append(row | {"ours_ms": medians[column], "commit": commit()} | dense_ms)
    if tier == available_tiers()[-1]:
        model = subjects.write_onnx(net, batch, folder)
        found = beside("onnxruntime", packages, model, batch, threads)
        rows = [row | more for row, more in zip(rows, found, strict=True)]
    return rows


def commit() -> str:
    """Return the commit that is measured."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def deepsparse(row: Row, python: Path) -> Row:
    """Time ours against DeepSparse, the same zeros in both; it picks its kernels by the CPU."""
    names = ("net", "format", "sparsity", "scope", "batch", "threads")
    net, form, sparsity, scope, batch, threads = (row[name] for name in names)
    package = subjects.write_sparse(net, form, sparsity, subjects.subject_folder(), scope)
    model = subjects.write_sparse_onnx(package, batch)
    (found,) = beside("deepsparse", [package], model, batch, threads, str(python))
    return found


def beside(
    peer: str, packages: list[Path], model: Path, batch: int, threads: int, *more: str
) -> list[dict[str, float]]:
    """Time ours against a runtime of others, in a process of their own."""
    script = Path(__file__).parent / f"{peer.removesuffix('runtime')}_peer.py"
    command = [sys.executable, str(script), str(model), str(batch), str(threads), *more, *map(str, packages)]
    with lock.measuring():
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    times = np.array(json.loads(answer.splitlines()[-1]))
    return [
        speedup(f"speedup_over_{peer}", times[:, [0, column]]) | {f"{peer}_ms": float(np.median(times[:, 0]))}
        for column in range(1, 1 + len(packages))
    ]


def speedup(name: str, times: NDArray[np.float64]) -> dict[str, float]:
    """Return the other's time over ours with its interval."""
    ratio = paired_ratio(times)
    return {name: 1 / ratio.value, f"{name}_low": 1 / ratio.high, f"{name}_high": 1 / ratio.low}


def grid() -> Iterator[tuple[Setting, list[Candidate]]]:
    """Yield all settings with their rows: all sparsities at batch 1 and two threads, others at 90 %."""
    everything = [(form, sparsity) for sparsity in SPARSITIES for form in FORMATS]
    at_ninety = [(form, SPARSITIES[0]) for form in FORMATS]
    for scope, batch, threads, candidates in (
        ("layer", 1, 2, everything),
        ("layer", 1, 1, at_ninety),
        ("network", 1, 2, at_ninety),
        ("layer", 16, 2, at_ninety),
    ):
        for tier in sorted(available_tiers(), key=lambda tier: "vnni" in tier):
            for net in subjects.NETS:
                yield (net, scope, tier, batch, threads), candidates


def all_rows(path: Path) -> int:
    """Measure what is missing and write after each setting."""
    fresh = {"environment": environment(2), "rows": [], "seconds": 0.0}
    result = json.loads(path.read_text()) if path.exists() else fresh
    if result["environment"]["cpu"] != fresh["environment"]["cpu"]:
        raise SystemExit(f"{path}: is of another CPU, {result['environment']['cpu']}. Use another --out.")
    known = {_key(row) for row in result["rows"]}
    began = time.monotonic()
    for setting, candidates in grid():
        missing = [candidate for candidate in candidates if (*setting, *candidate) not in known]
        if not missing:
            continue
        rows = measure_rows(setting, missing)
        result["rows"] += rows
        result["seconds"] += time.monotonic() - began
        began = time.monotonic()
        write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
        shown = ", ".join(f"{row['format']} {row['sparsity']:g}: {row['speedup']:.2f}" for row in rows)
        print(f"{result['seconds'] / 60:.1f} min {setting} {shown}", flush=True)
    print(f"{len(result['rows'])} rows, {result['seconds'] / 60:.0f} minutes in all: {path}")
    return 0


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in (*SETTING, "format", "sparsity"))


def deepsparse_rows(path: Path, python: Path) -> int:
    """Put DeepSparse beside the rows of this machine's own tier at 90 % zeros and write after each."""
    result = json.loads(path.read_text())
    for row in result["rows"]:
        if row["tier"] == available_tiers()[-1] and row["sparsity"] == DEEPSPARSE_AT:
            row |= deepsparse(row, python)
            write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
            print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
