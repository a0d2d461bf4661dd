"""How uneven does magnitude pruning leave a network at 90 % zeros? Measured where weights are trained.

    python benchmarks/spread.py

For each trained network of engine_subjects.py and each scope: the standard deviation of the logarithm of the
density over layers; and, the median over layers, over the rows and the input channels of a layer. A density
below a thousandth counts as one. Writes spread.json, from which engine.py draws its patterns.
"""

import json
import sys

import engine_subjects as subjects
import numpy as np
from numpy.typing import NDArray

from wieldy.core.files import write_atomic
from wieldy.graph.trace import trace
from wieldy.methods.prune import zeros
from wieldy.stats.collect import Stats

SPARSITY, LEAST = 0.9, 1e-3


def main() -> int:
    """Measure and write."""
    trained = [name for name, net in subjects.NETS.items() if net.trained]
    found = {name: {scope: spread_of(name, scope) for scope in subjects.SCOPES} for name in trained}
    mean = {
        scope: {key: float(np.mean([of[scope][key] for of in found.values()])) for key in KEYS}
        for scope in subjects.SCOPES
    }
    write_atomic(subjects.SPREAD, (json.dumps({"networks": found, "mean": mean}, indent=1) + "\n").encode())
    print(json.dumps(mean))
    return 0


KEYS = ("layers", "rows", "inputs")


def spread_of(name: str, scope: str) -> dict[str, float]:
    """Prune a network by magnitude and return its spreads."""
    network = trace(subjects.build(name), subjects.example(name))
    layers = subjects.prunable(name, network)
    list(zeros.apply(network, layers, Stats(), zeros.ZerosConfig(sparsity=SPARSITY, scope=scope)))
    kept = [
        network.tensor(next(node.stored())).detach().numpy() != 0 for node in zeros.weighted(network, layers)
    ]
    kept = [mask.reshape(*mask.shape[:2], -1) for mask in kept]
    return {
        "layers": deviation(np.array([mask.mean() for mask in kept])),
        "rows": float(np.median([deviation(mask.mean((1, 2))) for mask in kept])),
        "inputs": float(np.median([deviation(mask.mean((0, 2))) for mask in kept])),
    }


def deviation(densities: NDArray[np.float64]) -> float:
    """Return the standard deviation of the logarithm."""
    return float(np.std(np.log(np.maximum(densities, LEAST))))


if __name__ == "__main__":
    sys.exit(main())
