"""How long optimal brain surgery takes on ResNet-50, and how much memory: all layers, 90 % zeros.

    python benchmarks/large_surgery.py [--sparsity 0.9] [--examples 64]

Weights and inputs are random, so no accuracy is at stake; both modes cost as much whatever the numbers are.
The examples go through in batches of eight. The peak is of the whole process, torch and the network with it.
Writes large_surgery.json.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import engine_subjects as subjects
import numpy as np
import torch

from wieldy.cli.terminal import progress
from wieldy.compress.surgeon import operate
from wieldy.core.files import write_atomic
from wieldy.core.records import Change
from wieldy.graph.trace import trace
from wieldy.methods.prune.lobs import LobsConfig
from wieldy.runtime.environment import environment
from wieldy.runtime.session import usable_cores

NET, BATCH = "resnet50", 8
RESULT = Path(__file__).parent / "results" / "large_surgery.json"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--examples", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(usable_cores())
    result = measured(asked.sparsity, asked.examples) | {"environment": environment(usable_cores())}
    write_atomic(RESULT, (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result))


def measured(sparsity: float, examples: int) -> dict[str, Any]:
    """Operate on all layers; say what it took and what it left."""
    network = trace(subjects.build(NET), subjects.example(NET))
    shape = tuple(subjects.example(NET).shape[1:])
    draw = np.random.default_rng(0)
    batches = [(draw.normal(size=(BATCH, *shape)).astype(np.float32),) for _ in range(examples // BATCH)]
    start = time.perf_counter()
    _, records = operate(network, batches, LobsConfig(sparsity=sparsity), progress=progress())
    seconds = time.perf_counter() - start
    done = [record for record in records if isinstance(record, Change)]
    kept, whole = sum(one.after["nonzero"] for one in done), sum(one.before["weights"] for one in done)
    errors = [one.figures["error"] / one.figures["outputs"] for one in done]
    return {
        "net": NET, "layers": len(done), "left_alone": len(records) - len(done),
        "examples": BATCH * len(batches),
        "zeros": 1 - kept / whole, "stepwise": sum(one.note.startswith("stepwise") for one in done),
        "seconds": seconds, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "relative_error": {"median": float(np.median(errors)), "largest": float(np.max(errors))},
    }  # fmt: skip


if __name__ == "__main__":
    main()
