"""From the importances of single groups to one order over all channels of a network."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import DataError
from wieldy.core.rng import derive
from wieldy.graph.cost import total_macs
from wieldy.graph.coupling import Coupling, Group, couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Program
from wieldy.graph.removal import remove_units
from wieldy.methods.contract import MethodConfig
from wieldy.methods.registry import METHODS
from wieldy.stats.collect import Stats

KEEP_SHARE = 0.1  # of each group's channels, at least


@dataclass(frozen=True)
class Ranking:
    """Every channel that may go, cheapest first.

    Attributes:
        order: (group, unit) pairs; importance per multiply-accumulate saved rises along it.
        sizes: channels of each group.
    """

    order: tuple[tuple[str, int], ...]
    sizes: Mapping[str, int]

    def removal(self, fraction: float, multiple: int) -> dict[str, tuple[int, ...]]:
        """Return what goes when `fraction` of the order does, each group keeping a multiple of `multiple`.

        Rounding is towards keeping: the dearest of the chosen channels stay. At least a tenth of a
        group stays, and where it is large enough one whole multiple.
        """
        chosen: dict[str, list[int]] = {}
        for name, unit in self.order[: round(fraction * len(self.order))]:
            chosen.setdefault(name, []).append(unit)
        removal = {}
        for name, units in chosen.items():
            size = self.sizes[name]
            keep = max(size - len(units), 1, round(KEEP_SHARE * size))
            keep = min(size, -(-keep // multiple) * multiple)
            if keep < size:
                removal[name] = tuple(sorted(units[: size - keep]))
        return removal


def rank(network: GraphNetwork, stats: Stats, method: MethodConfig) -> Ranking:
    """Order all channels by importance per multiply-accumulate that their removal saves.

    Raises:
        DataError: a score is NaN, infinite or negative.
    """
    coupling = couple(network.program)
    score = METHODS[type(method)].apply
    ranked: list[tuple[float, str, int]] = []
    for group in coupling.groups:
        values = np.asarray(score(network, group, stats, method), np.float64)
        _check(values, group)
        per_mac = values / macs_per_unit(network.program, coupling, group)
        ranked += [(float(value), group.name, unit) for unit, value in enumerate(per_mac)]
    seed = method.seed
    ranked.sort(key=lambda item: (item[0], derive(seed, "tie", item[1], item[2])))
    sizes = {group.name: group.size for group in coupling.groups}
    return Ranking(tuple((name, unit) for _, name, unit in ranked), sizes)


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
