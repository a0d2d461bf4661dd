"""Guided pruning: zeros where the model says that they pay, in the band, and fewer milliseconds for it.

Source: Park et al., "Faster CNNs with Direct Sparse Convolutions and Guided Pruning", ICLR 2017 (arXiv
1608.01409): guided sparsity learning. The machine's own cost table guides; for what a band does, a made-up
machine on which linear layers never gain and one convolution pays at next to no density.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from wieldy.claims.subjects import claiming, pictures, trained
from wieldy.compress.storage import smallest_formats
from wieldy.core.data import Data
from wieldy.core.progress import Progress
from wieldy.core.records import Change, Claim
from wieldy.graph.cost_table import CostTable
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook
from wieldy.methods.prune.guided import Guided, GuidedConfig, paying_layers, table_of
from wieldy.methods.prune.zeros import ZerosConfig, sparse_layers
from wieldy.package.save import save
from wieldy.runtime import measure as runtime
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.runtime.timing import PROCESSES
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.mask import Mask
from wieldy.zoo.networks.lenet import Lenet5
from wieldy.zoo.networks.residual import residual28

SOURCE = "Park et al., ICLR 2017"
claim = claiming("guided", SOURCE)
SEEDS = (0, 1, 2)
SHARES = (0.7, 0.8, 0.85, 0.9, 0.93, 0.95)  # of zeros, uniform, among which the equal accuracy is looked for
Make = Callable[[GuidedConfig, CostTable], Hook]


def measure(quick: bool, progress: Progress, make: Make | None = None) -> list[Claim]:
    """Return the claims; milliseconds are compared on LeNet-5 in quick mode, else on the residual network."""
    make = make or (lambda config, table: Guided(config, table=table))
    seeds = SEEDS[:1] if quick else SEEDS
    with progress.task("guided pruning", 1 + len(seeds)) as task:
        found = behaviour(make)
        task.advance(1, "what the band does")
        ratios = []
        for seed in seeds:
            ratios.append(at_equal_accuracy(quick, seed, make))
            task.advance(1, f"seed {seed}: {ratios[-1]:.3f} of uniform's milliseconds")
    what = "milliseconds at equal accuracy over uniform pruning's, worst seed"
    return [*found, claim(what, max(ratios), "<", 1.0)]


def made_up(table: CostTable) -> CostTable:
    """Return a machine on which zeros in linear layers never pay."""
    terms = dict(table.terms)
    terms["csr/linear"] = tuple(100 * term for term in terms["csr/linear"])
    return replace(table, terms=terms)


def behaviour(make: Make) -> list[Claim]:
    """What happens to layers that do not pay, that pay, and that stall."""
    table = made_up(table_of(current_tier(), usable_cores()))
    network, config = trained(Lenet5), GuidedConfig()
    excluded = [layer for layer, reason in paying_layers(network, table, config.density).items() if reason]
    hook = make(config, table)
    small = fit(network, pictures(), hook, config=FitConfig(epochs=3, learning_rate=0.03))
    untouched = sum(zeros(small, layer) for layer in excluded)
    bands = [record.figures for record in hook.records() if isinstance(record, Change)]
    outside = [one["density"] > one["density_max"] for one in bands]
    return [
        claim("layers that the model excludes", len(excluded), ">=", 1),
        claim("zeros in layers that the model excludes", untouched, "<=", 0),
        claim("layers that end in their band", len(bands), ">=", 1),
        claim("layers that end above it", sum(outside), "<=", 0),
        claim("zeros in a layer that stalls above its band", stalled(make), "<=", 0),
    ]


def zeros(network: GraphNetwork, layer: str) -> int:
    """Return how many weights of a layer are zero."""
    return int((network.tensor(f"{layer}.weight") == 0).sum())


def stalled(make: Make) -> int:
    """Train with a penalty that cannot reach the band; return the zeros of the layer in the end."""
    table = table_of(current_tier(), usable_cores())
    terms = dict(table.terms)
    dense = table.terms["dense/conv"]
    terms["csr/conv"] = tuple(8 * dense[0] if k < 2 else term for k, term in enumerate(terms["csr/conv"]))
    hook = make(GuidedConfig(penalty=0.2, density=0.02, margin=0.0), replace(table, terms=terms))
    small = fit(trained(Lenet5), pictures(), hook, config=FitConfig(epochs=2, learning_rate=0.03))
    return zeros(small, "conv2")


def at_equal_accuracy(quick: bool, seed: int, make: Make) -> float:
    """Return guided's milliseconds over those of the fastest uniform pruning that is at least as accurate."""
    data = pictures()
    network = trained(Lenet5, seed) if quick else trace(residual28(), torch.zeros(1, 1, 28, 28))
    config = FitConfig(epochs=4, learning_rate=0.02, seed=seed)
    hook = make(GuidedConfig(seed=seed), table_of(current_tier(), usable_cores()))
    guided = fit(network, data, hook, config=config.model_copy(update={"epochs": 3}))
    names = tuple(guided.program.weighted_layers())
    guided = fit(guided, data, Mask(names), config=config.model_copy(update={"epochs": 1}))
    accuracy = evaluate(guided, data.test, data)
    other = uniform(network, data, accuracy, config, SHARES[1::2] if quick else SHARES)
    return over_uniform(guided, other, 3 if quick else PROCESSES)


def uniform(
    network: GraphNetwork, data: Data, accuracy: float, config: FitConfig, shares: Sequence[float]
) -> GraphNetwork:
    """Return the network with the most zeros, as many in every layer, that is as accurate as asked."""
    layers, _ = sparse_layers(network)
    best = network
    for share in shares:
        small = fit(network, data, Mask(layers, ZerosConfig(sparsity=share)), config=config)
        if evaluate(small, data.test, data) < accuracy:
            break
        best = small
    return best


def over_uniform(guided: GraphNetwork, other: GraphNetwork, processes: int) -> float:
    """Time both as saved files, in turns, in processes of their own."""
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        first, second = (
            runtime.Subject(save(network, Path(folder) / f"{name}.wieldy", formats=smallest_formats(network)))
            for name, network in (("uniform", other), ("guided", guided))
        )
        return runtime.measure(first, second, processes=processes).ratio.value
