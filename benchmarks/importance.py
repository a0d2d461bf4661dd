"""Taylor, magnitude and random channels at the same milliseconds, three seeds, before and after recovery.

    python benchmarks/importance.py [--seeds 3] [--ratio 0.5] [--out benchmarks/results]

Every point is found by `search_plan`, recovered by the demo's settings, saved, and timed again as a saved
file. Writes importance-TIER.json with machine, tier, versions and commit; losses are kept.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

from wieldy.cli.terminal import Lines
from wieldy.compress.apply import apply_plan
from wieldy.core.data import Data
from wieldy.core.files import write_atomic
from wieldy.flow.reduce import planned
from wieldy.flow.run import DEMO
from wieldy.flow.state import Run, opened_ledger, prepared
from wieldy.flow.training import recovered
from wieldy.graph.cost import total_macs, total_parameters
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.registry import METHODS
from wieldy.package.save import save
from wieldy.plan.budget import Budget
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.train.fit import evaluate
from wieldy.train.recalibrate import recalibrate
from wieldy.zoo.data import fashion
from wieldy.zoo.networks.residual import residual28


def main() -> None:
    """Measure every method with every seed and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    torch.set_num_threads(usable_cores())
    data, network = fashion.embedded(), trace(residual28(), torch.zeros(1, 1, 28, 28))
    original = evaluate(network, data.test, data)
    path = prepared(asked.out) / f"importance-{current_tier()}.json"
    result: dict[str, Any] = {
        "what": f"accuracy at {asked.ratio:.0%} of the milliseconds, OpenVINO fp32",
        "environment": environment(usable_cores()),
        "commit": commit(),
        "original_accuracy": original,
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(asked.seeds):
            for kind, method in METHODS.items():
                if method.shape == "score":
                    run = one_run(Path(folder), data, asked.ratio, kind(seed=seed))
                    row = {"method": method.name, "seed": seed} | point(run, network, original)
                    result["rows"].append(row)
                    print(json.dumps(row), flush=True)
                    write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    print(path)


def commit() -> str:
    """Return the commit that is checked out."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def one_run(folder: Path, data: Data, ratio: float, method: Any) -> Run:
    """Return a run with the demo's settings and another method and seed."""
    recovery = DEMO.recovery_value().seeded(method.seed)
    return Run(
        folder=folder, data=data, budget=Budget(latency_ratio=ratio), method=method, recovery=recovery,
        seed=method.seed, threads=usable_cores(), tier=current_tier(), batch=None, title="", recipe={},
        reproduce=(), ledger=opened_ledger(folder, None), progress=Lines(), brief=True,
    )  # fmt: skip


def point(run: Run, network: GraphNetwork, original: float) -> dict[str, Any]:
    """Search, recover, save and time one point."""
    plan = planned(run, network)
    small = apply_plan(network, plan)
    recalibrate(small, run.data.train, seed=run.seed)
    before = evaluate(small, run.data.test, run.data)
    small = recovered(run, network, plan.remove)
    first = save(network, run.folder / "original.wieldy")
    timing = measure(Subject(first), Subject(save(small, run.folder / "small.wieldy")))
    after = evaluate(small, run.data.test, run.data)
    return {
        "ratio": timing.ratio.model_dump(),
        "small_ms": timing.small_ms,
        "parameters_ratio": total_parameters(small.program) / total_parameters(network.program),
        "macs_ratio": total_macs(small.program) / total_macs(network.program),
        "before_recovery": before,
        "after_recovery": after,
        "drop_points": 100 * (original - after),
    }


if __name__ == "__main__":
    main()
