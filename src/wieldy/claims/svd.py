"""Weighing by the input's second moment: at equal bytes, weighted low rank loses less than plain.

Source: derived in methods/factor/svd.py from Eckart and Young 1936; measured on the embedded network without
any training after factoring, on its 3,000 test pictures, with three draws of 256 training pictures.
"""

import torch

from wieldy.compress.factor import factor
from wieldy.core import rng
from wieldy.core.data import Data, each
from wieldy.core.progress import Progress
from wieldy.core.records import Change, Claim
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.factor.svd import Factors, SvdConfig, output_error
from wieldy.stats.collect import Stats
from wieldy.stats.moments import Moments, collect_moments
from wieldy.train.fit import evaluate

SEEDS = (0, 1, 2)
SHARE = 0.35
EXAMPLES = 256
SOURCE = "Eckart and Young 1936; derived in methods/factor/svd.py"


def measure(quick: bool, progress: Progress) -> list[Claim]:
    """Return the worst layer of all seeds by reconstruction, and the worst seed by accuracy."""
    from wieldy.zoo.data import fashion
    from wieldy.zoo.networks.residual import residual28

    data = fashion.embedded()
    network = trace(residual28(), torch.zeros(1, 1, 28, 28))
    ratios, gains = [], []
    seeds = SEEDS[:1] if quick else SEEDS
    with progress.task("weighted and plain low rank", len(seeds)) as task:
        for seed in seeds:
            ratio, gain = compared(network, data, seed)
            ratios.append(ratio)
            gains.append(gain)
            task.advance(1, f"seed {seed}: {gain:+.2f} points")
    return [
        Claim(
            name="svd", what="output error, weighted over plain, of the worst layer", measured=max(ratios),
            relation="<", threshold=1.0, source=SOURCE, seconds=0.0,
        ),
        Claim(
            name="svd", what=f"weighted minus plain at {SHARE:.0%} of each weight, points, worst seed",
            measured=min(gains), relation=">", threshold=0.0, source=SOURCE, seconds=0.0,
        ),
    ]  # fmt: skip


def compared(network: GraphNetwork, data: Data, seed: int) -> tuple[float, float]:
    """Return the largest ratio of output errors over layers, and the points of accuracy gained."""
    order = rng.generator(seed, "claims", "svd")
    x, _ = next(iter(data.train.batches(EXAMPLES, order)))
    moments = collect_moments(network, [each(x)], network.program.weighted_layers())
    scores, errors = [], []
    for weighted in (True, False):
        config = SvdConfig(share=SHARE, weighted=weighted, max_loss=1)
        small, records = factor(network, Stats(moments=moments), config)
        changed = [record.layer for record in records if isinstance(record, Change)]
        errors.append([lost(network, small, layer, moments) for layer in changed])
        scores.append(evaluate(small, data.test, data))
    return max(a / b for a, b in zip(*errors, strict=True)), 100 * (scores[0] - scores[1])


def lost(network: GraphNetwork, small: GraphNetwork, layer: str, moments: Moments) -> float:
    """Return E |(W - W') x|^2 over E |W x|^2 of one factored layer."""
    parts = [small.tensor(f"{layer}.{part}.weight").detach().double() for part in ("second", "first")]
    left, right = (part.reshape(len(part), -1).numpy() for part in parts)
    weight = network.tensor(f"{layer}.weight").detach().double()
    return output_error(weight.reshape(len(weight), -1).numpy(), Factors(left, right), moments[layer].mean)
