"""The planner's mix beside each single method, on the embedded network at the same milliseconds.

    python benchmarks/mix.py [--goal 0.35] [--seeds 3] [--tier T] [--only mix zeros] [--no-uniform]

Every row is a whole run: planned, trained for as many epochs as all others, saved, timed and judged on the
test pictures. Where a single method cannot reach the goal, that is its row. With seed 0 the mix's trade-off
curve is set against uniform pruning: the same share of every group of channels, by magnitude, trained
briefly in the same way. A row is kept as soon as it is measured. Writes mix-PERCENT-TIER.json.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from importance import commit

import wieldy
from wieldy.cli.terminal import Lines
from wieldy.core.errors import BudgetError
from wieldy.core.files import write_atomic
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Silent
from wieldy.core.records import MixPoint, RunRecord
from wieldy.flow.log import NAME as LOG
from wieldy.flow.log import Logged
from wieldy.flow.mixed import bench_of
from wieldy.flow.shrink import default_method, execute
from wieldy.flow.state import RECORD, Planning, Recovery, Run, prepared
from wieldy.graph.network import GraphNetwork
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.plan.budget import Budget
from wieldy.plan.greedy import Point
from wieldy.plan.judge import Judge, Track
from wieldy.plan.mix import Mix
from wieldy.plan.ranking import rank
from wieldy.runtime.environment import environment
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import check_tier, cpu_name, current_tier
from wieldy.stats.collect import Stats
from wieldy.train.fit import FitConfig
from wieldy.zoo.data import fashion
from wieldy.zoo.networks.residual import residual28

SINGLES = {
    "mix": Planning(),  # first: of a seed, only its search takes as long as a search does
    "channels": Planning(kinds=("channels",), eight_bits=False, curve=0),
    "zeros": Planning(kinds=("zeros",), eight_bits=False, curve=0),
    "zeros in eight bits": Planning(kinds=("blocks",), curve=0),
    "eight bits": Planning(kinds=(), curve=0),
    "rank": Planning(kinds=("rank",), eight_bits=False, curve=0),
    "channels in eight bits": Planning(kinds=("channels",), curve=0),
}
MULTIPLE = 8  # of the channels that uniform pruning keeps, as the planner's
UNIFORM = tuple(step / 16 for step in range(1, 14))  # of every group's channels
EPOCHS, RATE = 10, 0.02
SHARED = ("timing", "layers", "pace", "damage", "mix")  # what does not depend on which options there are


def main() -> None:
    """Measure what is missing and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--goal", type=float, default=0.35)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tier", default=current_tier())
    parser.add_argument("--only", nargs="+", default=list(SINGLES))
    parser.add_argument("--uniform", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    check_tier(asked.tier)
    torch.set_num_threads(usable_cores())
    path = prepared(asked.out) / f"mix-{100 * asked.goal:g}-{asked.tier}.json"
    kept = json.loads(path.read_text()) if path.is_file() else {"rows": [], "uniform": []}
    done = {(row["method"], row["seed"]) for row in kept["rows"]}
    for seed in range(asked.seeds):
        shared = Ledger(None)
        for name in asked.only:
            if (name, seed) in done:
                continue
            found = one(SINGLES[name], asked.goal, asked.tier, seed, shared)
            kept["rows"].append({"method": name, "seed": seed} | found)
            print(json.dumps(kept["rows"][-1])[:400], flush=True)
            keep(path, kept, asked.tier)
    if asked.uniform and not kept["uniform"]:
        kept["uniform"] = [point.model_dump() for point in uniform(asked.goal, asked.tier)]
        keep(path, kept, asked.tier)


def keep(path: Path, kept: dict[str, Any], tier: str) -> None:
    """Write what was measured so far."""
    kept |= {"tier": tier, "environment": environment(usable_cores())}
    write_atomic(path, (json.dumps(kept, indent=1) + "\n").encode())


def one(planning: Planning, goal: float, tier: str, seed: int, shared: Ledger) -> dict[str, Any]:
    """Run the planner with some kinds of options and return what came of it.

    What earlier rows of the same seed found, this one reads back: it would find the same.
    """
    start = time.perf_counter()
    facts: dict[str, Any] = {"goal": goal, "cpu": cpu_name(), "commit": commit(), "epochs": EPOCHS}
    with tempfile.TemporaryDirectory() as folder:
        ledger, log = Ledger(None), Logged(Path(folder), Lines())
        ledger.adopt(shared, SHARED)
        facts |= {"first_of_seed": not shared.of_kind("damage")}
        run = run_of(Path(folder), goal, tier, seed, ledger)
        run.planning, run.progress = planning, log
        try:
            execute(run, residual28())
        except BudgetError as error:
            return facts | {"reached": False, "reason": str(error), "seconds": time.perf_counter() - start}
        finally:
            shared.adopt(ledger, SHARED)
            log.settle()
        record = RunRecord.from_json((Path(folder) / RECORD).read_text(encoding="utf-8"))
        facts |= {"search_s": searching_s(Path(folder))}
    numbers = record.evidence[0].numbers
    chosen = next(point for point in record.mixes if point.chosen)
    return facts | {
        "reached": record.timing.ratio.value <= goal,
        "timing": record.timing.model_dump(),
        "drop_points": numbers["drop_points"],
        "mix": chosen.mix,
        "curve": [point.model_dump() for point in record.mixes],
        "bytes_ratio": record.package.bytes / record.original.bytes,
        "seconds": time.perf_counter() - start,
    }


def searching_s(folder: Path) -> float:
    """Return how long a run took, by its log, from its beginning to its choice of a mix."""
    lines = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    chosen = next(line for line in lines if line.get("note", "").startswith("chosen: "))
    return float(chosen["time"] - lines[0]["time"])


def recovery(seed: int) -> Recovery:
    """Return how every row learns again."""
    return Recovery(
        fit=FitConfig(epochs=EPOCHS, learning_rate=RATE, precision="bf16", seed=seed), augment=True
    )


def run_of(folder: Path, goal: float, tier: str, seed: int, ledger: Ledger) -> Run:
    """Return a run on the embedded network."""
    data = fashion.embedded()
    return Run(
        folder=folder, data=data, budget=Budget(latency_ratio=goal), method=default_method(data, seed),
        recovery=recovery(seed), seed=seed, threads=usable_cores(), tier=tier, batch=1, title="mix",
        recipe={}, reproduce=(), ledger=ledger, progress=Silent(),
    )  # fmt: skip


def uniform(goal: float, tier: str) -> tuple[MixPoint, ...]:
    """Return uniform pruning by magnitude at several shares, judged as the planner judges its mixes."""
    network = wieldy.trace(residual28(), torch.zeros(1, 1, 28, 28))
    with tempfile.TemporaryDirectory() as folder:
        run = run_of(Path(folder), goal, tier, 0, Ledger(None))
        bench = bench_of(run, network, Planning(kinds=()))
        judge = Judge(bench, Path(folder))
        track = Track("uniform", ())
        for mix in shares_of(network):  # each at the rate that heals it best: one for all breaks the deepest
            track = judge.settled(track, mix)
            point = Point(mix, bench.forecaster.of(mix), 0.0)
            judge.judged(judge.measured(track, point), track)
        return judge.every()


def of_share(network: GraphNetwork, share: float) -> Mix:
    """Return a mix that takes about the same share of every group, its smallest filters first."""
    order = rank(network, Stats(), MagnitudeConfig()).by_group()
    remove = {}
    for name, units in order.items():
        kept = max(1, round((1 - share) * len(units) / MULTIPLE)) * MULTIPLE
        if kept < len(units):
            remove[name] = tuple(sorted(units[: len(units) - kept]))
    return Mix(remove=remove)


def shares_of(network: GraphNetwork) -> list[Mix]:
    """Return mixes that take the same share of every group, its smallest filters first."""
    order = rank(network, Stats(), MagnitudeConfig()).by_group()
    return [
        Mix(
            remove={
                name: tuple(sorted(units[: int(np.floor(share * len(units)))]))
                for name, units in order.items()
                if int(np.floor(share * len(units)))
            }
        )
        for share in UNIFORM
    ]


if __name__ == "__main__":
    main()
