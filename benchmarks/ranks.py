"""Does fine-tuning under torchrun do what one process does? The embedded network without a quarter of it.

    python benchmarks/ranks.py [--world 2] [--epochs 3] [--out DIR]

Ten steps without BatchNorm (LeNet-5) and ten with frozen statistics (the embedded network) must end within
1e-5 of one process's weights; some epochs with live statistics within half a point of its accuracy. Leaves
with 1 where one does not. Writes ranks.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from importance import commit
from mix import of_share
from torch import Tensor

import wieldy
from wieldy.core.data import Data
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT
from wieldy.core.files import write_atomic
from wieldy.flow.state import prepared
from wieldy.graph.network import GraphNetwork
from wieldy.plan.mix import thinned
from wieldy.runtime.environment import environment
from wieldy.runtime.session import usable_cores
from wieldy.stats.collect import Stats
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.ranks import FrozenNorms, Ranks
from wieldy.train.recalibrate import recalibrate
from wieldy.zoo.data import fashion
from wieldy.zoo.networks.lenet import Lenet5, seeded
from wieldy.zoo.networks.residual import residual28

SHARE = 0.25
STEPS, BATCH = 10, 128
EQUAL, POINTS = 1e-5, 0.5
AS_RANK = "--as-rank"


def main() -> int:
    """Train alone and together, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--world", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument(AS_RANK, type=Path)
    asked = parser.parse_args()
    if asked.as_rank:
        return as_rank(asked.as_rank, asked.epochs)
    with tempfile.TemporaryDirectory() as folder:
        one, together = Path(folder) / "one", Path(folder) / "together"
        script = [__file__, "--epochs", str(asked.epochs), AS_RANK]
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={asked.world}"]
        seconds = [ran([*script, prepared(one)]), ran([*launcher, *script, prepared(together)])]
        found = compared(one, together) | {"seconds": dict(zip(("one", "together"), seconds, strict=True))}
    found |= {"world": asked.world, "epochs": asked.epochs, "points_allowed": POINTS, "equal_within": EQUAL}
    found |= {"commit": commit(), "environment": environment(usable_cores())}
    print(json.dumps(found, indent=1))
    write_atomic(prepared(asked.out) / "ranks.json", (json.dumps(found, indent=1) + "\n").encode())
    equal = all(found["furthest"][name] < EQUAL for name in ("without norms", "frozen norms"))
    return EXIT_MET if equal and abs(found["points_apart"]) <= POINTS else EXIT_VERDICT


def ran(command: list[Any]) -> float:
    """Run a script and return how long it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *map(str, command)], check=True)
    return time.perf_counter() - start


def as_rank(folder: Path, epochs: int) -> int:
    """Train as one of several processes, or as the only one, and leave what came of it."""
    torch.set_num_threads(max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    data = fashion.embedded()
    ten = Data(data.train.take(np.arange(STEPS * BATCH)), data.validate, data.test)
    brief = FitConfig(epochs=1, batch_size=BATCH, learning_rate=0.001)
    small = pruned(data)
    live = fit(small, data, config=FitConfig(epochs=epochs, learning_rate=0.01, batch_size=BATCH))
    states = {
        "without norms": fit(seeded(Lenet5, 0), ten, config=brief).state_dict(),
        "frozen norms": fit(small, ten, FrozenNorms(), config=brief).state_dict(),
    }
    if Ranks().first:
        facts = {"accuracy": evaluate(live, data.test, data), "before": evaluate(small, data.test, data)}
        torch.save({"states": states, "facts": facts}, folder / "found.pt")
    return EXIT_MET


def pruned(data: Data) -> GraphNetwork:
    """Return the embedded network without a quarter of its channels, which has not learnt again yet."""
    network = wieldy.trace(residual28(), torch.zeros(1, 1, 28, 28))
    small, _ = thinned(network, of_share(network, SHARE), Stats())
    recalibrate(small, data.train)
    return small


def compared(one: Path, together: Path) -> dict[str, Any]:
    """Return how far weights and accuracies are apart."""
    first, second = (torch.load(folder / "found.pt", weights_only=True) for folder in (one, together))
    furthest = {name: apart(first["states"][name], second["states"][name]) for name in first["states"]}
    accuracies = [found["facts"]["accuracy"] for found in (first, second)]
    return {
        "furthest": furthest,
        "accuracy": {"before": first["facts"]["before"], "one": accuracies[0], "together": accuracies[1]},
        "points_apart": 100 * (accuracies[1] - accuracies[0]),
    }


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return by how much the weights that differ most do."""
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


if __name__ == "__main__":
    raise SystemExit(main())
