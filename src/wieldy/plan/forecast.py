"""What a mix will cost, before it is built: the cost table's milliseconds, bytes, multiply-accumulates.

Layers add up; those with zeros run together where that pays, what crosses the edges of regions counted. What
the table cannot know, such as the time of everything without weights, is left to whoever measures a mix and
corrects the forecast by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from wieldy.formats import BY_BLOCK
from wieldy.graph.cost import total_macs
from wieldy.graph.cost_table import FLOAT_BYTES, IN_BLOCKS, IN_LEVELS, CostTable, Work, work_of
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import CONV, LINEAR
from wieldy.graph.program import Node, Program
from wieldy.graph.removal import remove_units
from wieldy.methods.factor.svd import rank_for_share
from wieldy.plan.mix import BLOCK, Mix
from wieldy.runtime.choose import forecast_ms

PROGRAMS = 64  # that are remembered: what differs only in zeros and ranks has the same one
PLACE_BYTES = 1  # of where a stored weight stands; some take more, which the saved file tells


@dataclass(frozen=True)
class Forecast:
    """What a mix will cost; milliseconds are of layers with weights alone.

    Attributes:
        ms: as they run together, in eight bits where the mix is and the table knows them.
        apart_ms: were each to run for itself. One layer's zeros gain nothing where they cost the edges of a
            region, but do once its neighbours have some: this is what shows the way there.
    """

    ms: float
    apart_ms: float
    bytes: float
    macs: int


class Forecaster:
    """Forecasts the costs of mixes of one network on one machine.

    Args:
        network: not altered.
        table: of the machine, the tier and the threads.
    """

    def __init__(self, network: GraphNetwork, table: CostTable) -> None:
        self._program = network.program
        self._coupling = couple(network.program)
        self._table = table
        self._layer_ms = cache(self._layer_ms_of)
        self._thinner = lru_cache(PROGRAMS)(self._thinner_of)

    def of(self, mix: Mix, *, together: bool = True) -> Forecast:
        """Return what a mix will cost.

        `together`: whether regions are looked for, which takes most of the time; else `ms` is `apart_ms`.
        """
        program, works = self._thinner(tuple(sorted(mix.remove.items())))
        dense_ms, zeros, sizes, apart_ms = {}, {}, 0.0, 0.0
        if mix.in_levels and self._table.knows_levels:
            return self._in_levels(mix, program, works)
        for node, work in works:
            share = mix.ranks.get(node.layer)
            dense_ms[node.name] = self._layer_ms("dense", work, share)
            if node.layer in mix.zeros and share is None:
                zeros[node.weight] = mix.zeros[node.layer]
            apart_ms += self._alone_ms(work, dense_ms[node.name], zeros.get(node.weight, 0.0))
            sizes += _bytes(work, share, mix.zeros.get(node.layer, 0.0), in_levels=mix.in_levels)
        usable = f"{BY_BLOCK[BLOCK]}/conv" in self._table.terms
        dense = sum(dense_ms.values())
        ms = forecast_ms(program, zeros, dense_ms, self._table) if together and zeros and usable else dense
        return Forecast(ms if together else apart_ms, apart_ms, sizes, total_macs(program))

    def _in_levels(self, mix: Mix, program: Program, works: Sequence[tuple[Node, Work]]) -> Forecast:
        """Return what a mix in eight bits will cost: all dense, or all convolutions in regions of ours."""
        dense_ms, region_ms, apart_ms, sizes = 0.0, 0.0, 0.0, 0.0
        for node, work in works:
            share, gone = mix.ranks.get(node.layer), mix.blocks.get(node.layer, 0.0)
            dense = self._layer_ms(IN_LEVELS, work, share)
            inside = dense if work.kind == "linear" else self._layer_ms(IN_BLOCKS, work, share, 1 - gone)
            dense_ms, region_ms = dense_ms + dense, region_ms + inside
            apart_ms += min(dense, inside) if gone else dense
            sizes += _bytes(work, share, gone, in_levels=True)
        ms = min(dense_ms, region_ms) if mix.blocks else dense_ms
        return Forecast(ms, apart_ms, sizes, total_macs(program))

    def _thinner_of(
        self, removed: tuple[tuple[str, tuple[int, ...]], ...]
    ) -> tuple[Program, tuple[tuple[Node, Work], ...]]:
        """Return the program without some units, and the work of its layers."""
        program, _ = remove_units(self._program, self._coupling, dict(removed))
        nodes = [node for node in program.nodes if node.op in (CONV, LINEAR)]
        return program, tuple((node, work_of(program, node)) for node in nodes)

    def _layer_ms_of(self, form: str, work: Work, share: float | None, kept: float = 1.0) -> float:
        """Return what a layer takes, or the two that stand for it; `kept`: the share of its values."""
        known = form if f"{form}/{work.kind}" in self._table.terms else "dense"  # linear layers in eight bits
        parts = (work,) if share is None else two_layers(work, share)
        return sum(self._table.ms(known, part, round(kept * part.weights)) for part in parts)

    def _alone_ms(self, work: Work, dense_ms: float, zeros: float) -> float:
        """Return what a layer takes by itself, dense or by its zeros."""
        form = BY_BLOCK[BLOCK]
        if zeros == 0 or f"{form}/{work.kind}" not in self._table.terms:
            return dense_ms
        return min(dense_ms, self._table.ms(form, work, round((1 - zeros) * work.weights)))


def two_layers(work: Work, share: float) -> tuple[Work, Work]:
    """Return the work of the two layers that stand for one in the channel form.

    Example:
        >>> conv = Work("conv", 64 * 64 * 9, 9, 64, 100, 2 * 6400, 6400, False)
        >>> [part.weights for part in two_layers(conv, 0.25)]
        [8064, 896]
    """
    columns = work.weights // work.rows
    rank = rank_for_share(work.rows, columns, share)
    made, middle = work.activations - work.inputs, rank * work.positions
    first = replace(work, weights=rank * columns, rows=rank, activations=work.inputs + middle)
    second = replace(
        work, weights=work.rows * rank, area=1, activations=middle + made, inputs=middle, strided=False
    )
    return first, second


def _bytes(work: Work, share: float | None, zeros: float, *, in_levels: bool) -> float:
    if share is not None:
        weights = sum(part.weights for part in two_layers(work, share))
        return float(weights if in_levels else weights * FLOAT_BYTES)
    if zeros > 0 and in_levels:
        return min(1, (1 + PLACE_BYTES / 4) * (1 - zeros)) * work.weights
    if zeros > 0:
        return min(FLOAT_BYTES, (FLOAT_BYTES + PLACE_BYTES) * (1 - zeros)) * work.weights
    return float(work.weights if in_levels else work.weights * FLOAT_BYTES)
