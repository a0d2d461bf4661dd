"""Importance beats chance: scored channels hurt less than random ones, before any recovery.

Source: Molchanov et al., CVPR 2019 (first-order Taylor); Li et al., ICLR 2017 (L1). Both are compared with
random choice at the same multiply-accumulates, on the embedded network and its validation pictures, without
any training after removal: only the norm layers' running statistics are taken anew, for all alike.
"""

import torch

from wieldy.compress.apply import apply_plan
from wieldy.core.data import Data
from wieldy.core.progress import Progress
from wieldy.core.records import Claim, Plan, Verdict
from wieldy.graph.cost import total_macs
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import MethodConfig
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.random import RandomConfig
from wieldy.methods.prune.taylor import TaylorConfig
from wieldy.methods.registry import METHODS, settings_of
from wieldy.plan.ranking import Ranking, ranked
from wieldy.train.fit import evaluate
from wieldy.train.recalibrate import recalibrate

SEEDS = (0, 1, 2)
MACS_RATIO = 0.4
STEPS = 12
PUBLISHED: tuple[tuple[type[MethodConfig], str, Verdict, str], ...] = (
    (TaylorConfig, "Molchanov et al., CVPR 2019, section 4", "proved", ""),
    (
        MagnitudeConfig,
        "Li et al., ICLR 2017, section 4",
        "refuted",
        "ranked over the whole network, small filters sit together in few groups, which are emptied; chance "
        "spreads the loss. The paper chose each layer's share by hand.",
    ),
)


def measure(quick: bool, progress: Progress) -> list[Claim]:
    """Return one claim for each scored method: its worst seed against random's best."""
    from wieldy.zoo.data import fashion
    from wieldy.zoo.networks.residual import residual28

    data = fashion.embedded()
    network = trace(residual28(), torch.zeros(1, 1, 28, 28))
    seeds = SEEDS[:1] if quick else SEEDS
    found: dict[type[MethodConfig], list[float]] = {TaylorConfig: [], MagnitudeConfig: [], RandomConfig: []}
    with progress.task("accuracy before recovery", len(found) * len(seeds)) as task:
        for kind, accuracies in found.items():
            for seed in seeds:
                accuracies.append(accuracy_before_recovery(network, data, kind(seed=seed)))
                task.advance(1, f"{METHODS[kind].name}, seed {seed}: {accuracies[-1]:.3f}")
    best = max(found[RandomConfig])
    return [
        Claim(
            name="importance",
            what=f"{METHODS[kind].name}'s worst seed minus random's best, points at {MACS_RATIO:.0%} of MACs",
            measured=100 * (min(found[kind]) - best),
            relation=">",
            threshold=0.0,
            source=source,
            seconds=0.0,
            expected=expected,
            reason=reason,
        )
        for kind, source, expected, reason in PUBLISHED
    ]


def accuracy_before_recovery(network: GraphNetwork, data: Data, method: MethodConfig) -> float:
    """Remove channels down to `MACS_RATIO` and return the accuracy on the validation set, untrained."""
    small = at_macs(network, ranked(network, data, method), method, MACS_RATIO)
    recalibrate(small, data.train, examples=1024, seed=method.seed)
    return evaluate(small, data.validate, data)


def at_macs(network: GraphNetwork, ranking: Ranking, method: MethodConfig, ratio: float) -> GraphNetwork:
    """Return the network with the fewest channels removed that leaves at most `ratio` of the MACs."""
    goal = ratio * total_macs(network.program)
    low, high = 0.0, 1.0
    settings = settings_of(method)
    small = apply_plan(network, Plan(method=settings, remove=ranking.removal(high, 1)))
    for _ in range(STEPS):
        middle = (low + high) / 2
        candidate = apply_plan(network, Plan(method=settings, remove=ranking.removal(middle, 1)))
        if total_macs(candidate.program) <= goal:
            small, high = candidate, middle
        else:
            low = middle
    return small
