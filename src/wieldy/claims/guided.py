"""Guided pruning: zeros where the model says that they pay, in the band, and fewer milliseconds for it.

Source: Park et al., "Faster CNNs with Direct Sparse Convolutions and Guided Pruning", ICLR 2017 (arXiv
1608.01409): guided sparsity learning. The machine's own cost table guides; for what a band does, a made-up
machine on which linear layers never gain and one convolution pays at next to no density.

Milliseconds are compared with uniform pruning by the same steps for as many epochs: L1 and a cut, in every
layer with weights. The subject is LeNet-5 at batch 1, whose first and last layer the model excludes.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from wieldy.claims.subjects import claiming, pictures, trained
from wieldy.compress.storage import smallest_formats
from wieldy.core.progress import Progress
from wieldy.core.records import Change, Claim
from wieldy.graph.cost_table import CostTable
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.ops import WEIGHTED
from wieldy.methods.contract import Hook
from wieldy.methods.prune.guided import Band, Guided, GuidedConfig, paying_layers, table_of
from wieldy.package.save import save
from wieldy.runtime import measure as runtime
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.mask import Mask
from wieldy.zoo.networks.lenet import Lenet5

SOURCE = "Park et al., ICLR 2017"
claim = claiming("guided", SOURCE)
SEEDS = (0, 1, 2)
EPOCHS, SETTLING, RATE = 12, 4, 0.02
PENALTY = 0.45  # of guided
PENALTIES = (0.45, 0.3, 0.25, 0.2, 0.15, 0.1, 0.0)  # of uniform: the first that is as accurate counts
Make = Callable[[GuidedConfig, CostTable], Hook]


def measure(quick: bool, progress: Progress, make: Make | None = None) -> list[Claim]:
    """Return the claims; quick mode compares no milliseconds, which takes the training of many networks."""
    make = make or (lambda config, table: Guided(config, table=table))
    seeds = () if quick else SEEDS
    with progress.task("guided pruning", 1 + len(seeds)) as task:
        found = behaviour(make)
        task.advance(1, "what the band does")
        ratios = []
        for seed in seeds:
            ratios.append(at_equal_accuracy(seed, make))
            task.advance(1, f"seed {seed}: {ratios[-1]:.3f} of uniform's milliseconds")
    what = "milliseconds at equal accuracy over uniform pruning's, worst seed"
    if ratios:
        found.append(claim(what, max(ratios), "<", 1.0))
    return found


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


class Uniform(Guided):
    """The same steps in every layer with weights, whatever the model says, and to no edge."""

    def attach(self, network: nn.Module) -> None:
        """Open every layer."""
        traced = need_traced(network, "Uniform")
        nodes = [node for node in traced.program.nodes if node.layer and node.op in WEIGHTED]
        self.guides = {node.layer: self._guide(traced, node, False) for node in nodes}
        for guide in self.guides.values():
            guide.band = Band(0.0, 1.0)


def at_equal_accuracy(seed: int, make: Make) -> float:
    """Return guided's milliseconds over those of uniform pruning as hard as it stays as accurate."""
    data = pictures()
    table = runtime.measured_costs(threads=usable_cores(), tier=current_tier())
    guided = pruned(make(GuidedConfig(penalty=PENALTY, seed=seed), table), seed)
    accuracy = evaluate(guided, data.test, data)
    for penalty in PENALTIES:
        uniform = pruned(Uniform(GuidedConfig(penalty=penalty, seed=seed), table=table), seed)
        if evaluate(uniform, data.test, data) >= accuracy:
            break
    return over_uniform(guided, uniform)


def pruned(hook: Hook, seed: int) -> GraphNetwork:
    """Return LeNet-5 after training with a hook, and settled with the zeros that it left."""
    config = FitConfig(epochs=EPOCHS, learning_rate=RATE, seed=seed)
    found = fit(trained(Lenet5, seed), pictures(), hook, config=config)
    slow = {"epochs": SETTLING, "learning_rate": Guided.settling_rate * RATE}
    zeros = Mask(tuple(found.program.weighted_layers()))
    return fit(found, pictures(), zeros, config=config.model_copy(update=slow))


def over_uniform(guided: GraphNetwork, other: GraphNetwork) -> float:
    """Time both as saved files, in turns, in processes of their own."""
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        first, second = (
            runtime.Subject(save(network, Path(folder) / f"{name}.wieldy", formats=smallest_formats(network)))
            for name, network in (("uniform", other), ("guided", guided))
        )
        return runtime.measure(first, second, batch=1).ratio.value
