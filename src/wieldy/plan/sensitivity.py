"""What each layer and group would cost in answers if it alone were thinned: an effect for each way and level.

Every effect is the damage, on validation examples, of a network in which one thing is done and nothing else:
a share of a group's channels gone, a layer as two, a share of its weights zero, each for itself or in blocks.
Running statistics are taken anew, weights stay as they are. Levels rise in harshness. Where a network is slow
or has many layers, each is asked with fewer examples, so that asking takes some minutes in all.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from wieldy.core import digest
from wieldy.core.data import Data
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import CONV
from wieldy.methods.factor.svd import SvdConfig, factorable
from wieldy.methods.prune.zeros import sparse_layers, weighted
from wieldy.plan.damage import BATCH, Damage
from wieldy.plan.mix import Kind, Mix, thinned, zeroed
from wieldy.plan.ranking import Ranking
from wieldy.stats.collect import Stats
from wieldy.train.recalibrate import recalibrate

CHANNELS = tuple(step / 8 for step in range(1, 8))  # of a group's
SHARES = (0.5, 0.35, 0.25, 0.15)  # of a weight's numbers that its two factors have
ZEROS = (0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97)
BLOCKS = (0.5, 0.65, 0.75, 0.85, 0.9, 0.95)
SECONDS = 75  # that asking may take, where the fewest examples allow it
FEWEST, MOST = 64, 512  # examples, of the validation set and as many for running statistics
PACE = "pace"  # in the ledger: how many they are


@dataclass(frozen=True)
class Option:
    """One thing that may be done, from nothing to its harshest level.

    Attributes:
        kind: channels, rank, zeros or blocks.
        name: of the group or the layer.
        levels: what each level adds to a mix.
        damage: what each level alone costs; never falls along the levels.
    """

    kind: Kind
    name: str
    levels: tuple[Mix, ...]
    damage: tuple[float, ...]


def options_of(
    network: GraphNetwork,
    data: Data,
    ranking: Ranking,
    stats: Stats,
    *,
    kinds: Sequence[Kind],
    keep: Collection[str] = (),
    multiple: int = 1,
    seed: int = 0,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> tuple[Option, ...]:
    """Measure what every option costs.

    Args:
        network: traced; not altered.
        data: the damage is on its validation set; running statistics come from its training set.
        ranking: in whose order a group's channels go.
        stats: second moments of what layers read, by which ranks are weighted.
        kinds: of options.
        keep: layers that stay as they are.
        multiple: channels that are kept in a group are a multiple of it, where it is large enough.
        seed: of the examples for running statistics.
        ledger: effects that it holds are read back.

    Cost: for each level of each option a copy of the network and a pass over up to a thousand examples.
    """
    found = [
        option
        for kind in kinds
        for option in LEVELS[kind](network, ranking, multiple)
        if not touched(network, option) & set(keep)
    ]
    ledger = ledger or Ledger(None)
    origin = digest.of_arrays(network.arrays())
    options = []
    total = sum(len(option.levels) for option in found)
    examples = int(
        ledger.remember(PACE, {"network": origin, "levels": total}, partial(_pace, network, data, total))
    )
    damage, size = Damage(network, data, examples), min(examples, BATCH)
    with (progress or Silent()).task("asking what each layer can spare", total) as task:
        for option in found:
            costs = []
            for mix in option.levels:

                def cost(mix: Mix = mix) -> float:
                    small = zeroed(thinned(network, mix, stats)[0], mix)
                    recalibrate(small, data.train, examples=examples, batch_size=size, seed=seed)
                    return damage.of(small)

                key = {"network": origin, "mix": mix.model_dump(), "seed": seed, "examples": examples}
                costs.append(float(ledger.remember("damage", key, cost)))
                task.advance(1)
            options.append(_rising(option, costs))
            task.advance(0, f"{option.kind} of {option.name}")
    return tuple(options)


def _pace(network: GraphNetwork, data: Data, levels: int) -> int:
    """Return with how many examples each of so many levels is asked."""
    few = Damage(network, data, FEWEST)  # asks once, which warms up
    start = time.perf_counter()
    small = zeroed(thinned(network, Mix(), Stats())[0], Mix())
    built = time.perf_counter()
    recalibrate(small, data.train, examples=FEWEST, batch_size=FEWEST)
    few.of(small)
    each = (time.perf_counter() - built) / FEWEST
    affordable = (SECONDS / max(1, levels) - (built - start)) / each
    return int(np.clip(affordable, FEWEST, MOST))


def _rising(option: Option, costs: Sequence[float]) -> Option:
    """Return an option with its damage made to rise: what is harsher and hurts less is chance."""
    highest, rising = 0.0, []
    for cost in costs:
        highest = max(highest, cost)
        rising.append(highest)
    return Option(option.kind, option.name, option.levels, tuple(rising))


def touched(network: GraphNetwork, option: Option) -> set[str]:
    """Return the layers that an option alters."""
    if option.kind != "channels":
        return {option.name}
    group = couple(network.program).group(option.name)
    tensors = {tensor for tensor, _ in group.members}
    nodes = network.program.nodes
    return {node.layer for node in nodes if tensors & set(node.stored())}


def _channels(network: GraphNetwork, ranking: Ranking, multiple: int) -> Iterator[Option]:  # noqa: ARG001
    """Yield each group with the shares of its channels that may go, the cheapest first."""
    for name, units in ranking.by_group().items():
        size, levels = ranking.sizes[name], dict[int, Mix]()
        for share in CHANNELS:
            keep = -(-max(1, round((1 - share) * size)) // multiple) * multiple
            if keep < size and size - keep <= len(units):
                levels[keep] = Mix(remove={name: tuple(sorted(units[: size - keep]))})
        if levels:
            yield Option("channels", name, tuple(levels.values()), ())


def _ranks(network: GraphNetwork, ranking: Ranking, multiple: int) -> Iterator[Option]:  # noqa: ARG001
    for layer in factorable(network, SvdConfig()):
        yield Option("rank", layer, tuple(Mix(ranks={layer: share}) for share in SHARES), ())


def _zeros(network: GraphNetwork, ranking: Ranking, multiple: int) -> Iterator[Option]:  # noqa: ARG001
    for layer in sparse_layers(network)[0]:
        yield Option("zeros", layer, tuple(Mix(zeros={layer: share}) for share in ZEROS), ())


def _blocks(network: GraphNetwork, ranking: Ranking, multiple: int) -> Iterator[Option]:  # noqa: ARG001
    layers = sparse_layers(network)[0]
    for node in weighted(network, layers):
        if node.op == CONV:  # of linear layers by blocks the cost table knows nothing
            yield Option("blocks", node.layer, tuple(Mix(blocks={node.layer: share}) for share in BLOCKS), ())


LEVELS: Mapping[Kind, Callable[[GraphNetwork, Ranking, int], Iterator[Option]]] = {
    "channels": _channels,
    "rank": _ranks,
    "zeros": _zeros,
    "blocks": _blocks,
}
