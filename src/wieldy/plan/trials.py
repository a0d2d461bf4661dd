"""Would it be faster here? What saves numbers is kept only where it saves milliseconds."""

import copy
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wieldy.compress.factor import factor
from wieldy.compress.storage import smallest_formats
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import NO_GAIN, Change, LayerTime, Refused, Timing
from wieldy.graph.grouped import as_grouped
from wieldy.graph.network import GraphNetwork
from wieldy.methods.factor import svd
from wieldy.package.save import save
from wieldy.runtime.measure import Subject, layer_times, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.stats.collect import Stats

Form = tuple[GraphNetwork, dict[str, str]]  # and how its tensors are stored


def factor_where_faster(
    network: GraphNetwork,
    stats: Stats,
    config: svd.SvdConfig | None = None,
    *,
    threads: int | None = None,
    batch: int = 1,
    tier: str | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> tuple[GraphNetwork, tuple[Change | Refused, ...]]:
    """Return a network whose layers are factored where two thin ones take less time here than the one.

    Both forms of the whole network are saved and run in turns, and the runtime says what each layer takes in
    them; a layer stays as it is unless its two factors take less than 97 % of its milliseconds.

    Args:
        network: traced; not altered.
        stats: second moments of what the layers read, where `config` weighs by them.
        config: how thin.
        threads, batch, tier: what it is timed with; see `wieldy.runtime.measure`.
        ledger: times that it holds are read back.

    Returns:
        The network, and a record for every layer: a change, or a refusal that names both times.

    Raises:
        ConfigError: moments are asked for and missing.
        TierError: this CPU lacks the tier.

    Cost: a measurement of a few seconds, and the decompositions, twice where a layer stays.
    """
    config, tier = config or svd.SvdConfig(), tier or current_tier()
    threads = usable_cores() if threads is None else threads
    factored, records = factor(network, stats, config)
    with (
        tempfile.TemporaryDirectory(prefix="wieldy-") as folder,
        (progress or Silent()).task("timing layers whole and factored", 1) as task,
    ):
        sides = [Subject(save(network, Path(folder) / "one.wieldy"))]
        sides.append(Subject(save(factored, Path(folder) / "two.wieldy")))
        times = layer_times(sides, threads=threads, batch=batch, tier=tier, ledger=ledger)
        task.advance()
    place = f"on {tier}, {threads} threads, batch {batch}"
    slower = dict(_slower(records, times[0], times[1], place))
    if slower:
        kept = [record.layer for record in records if record.layer not in slower]
        factored, _ = factor(network, stats, config, kept)
    return factored, tuple(slower.get(record.layer, record) for record in records)


def _slower(
    records: Iterable[Change | Refused],
    before: tuple[LayerTime, ...],
    after: tuple[LayerTime, ...],
    place: str,
) -> Iterator[tuple[str, Refused]]:
    """Yield the layers whose factors gain nothing, with both times."""
    for record in records:
        if not isinstance(record, Change):
            continue
        one = _milliseconds(before, {record.layer})
        two = _milliseconds(after, {f"{record.layer}.first", f"{record.layer}.second"})
        if two >= NO_GAIN * one:
            reason = f"its two factors take {two:.3f} ms, and it takes {one:.3f} ms {place}"
            yield record.layer, Refused(layer=record.layer, method=svd.NAME, reason=reason)


def _milliseconds(times: tuple[LayerTime, ...], layers: set[str]) -> float:
    """Return what the operations take that hold any of these layers."""
    return sum(time.milliseconds for time in times if layers & set(time.layers))


def level_blocks_where_faster(
    network: GraphNetwork,
    blocks: Mapping[str, str],
    *,
    threads: int | None = None,
    batch: int = 1,
    tier: str | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> tuple[Mapping[str, str], Timing]:
    """Return how weights in whole numbers are stored where that is faster: without blocks of zeros, or whole.

    Args:
        network: that `quantize` returned; not altered.
        blocks: how each weight would be stored without its blocks of zeros.
        threads, batch, tier: what it is timed with; see `wieldy.runtime.measure`.
        ledger: times that it holds are read back.

    Returns:
        `blocks` or nothing, and the milliseconds without blocks of zeros over those of the whole weights.

    Raises:
        TierError: this CPU lacks the tier.

    Cost: one measurement.
    """
    whole = dict(network.formats)
    timing = _timed(
        (network, whole), (network, whole | dict(blocks)), "timing blocks of zeros", progress,
        threads=threads, batch=batch, tier=tier, ledger=ledger,
    )  # fmt: skip
    return (blocks if timing.ratio.value < 1 else {}), timing


def grouped_where_faster(
    network: GraphNetwork,
    blocks: Mapping[str, int],
    *,
    threads: int | None = None,
    batch: int = 1,
    tier: str | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> tuple[GraphNetwork, Timing]:
    """Return the faster of two forms of layers that are zero outside blocks on their diagonals.

    One leaves the zeros out, in the smallest format of each layer; the other computes the layers as
    convolutions in groups. Whole networks are timed, since what runs beside a layer depends on its form.

    Args:
        network: traced; not altered.
        blocks: how many each layer has.
        threads, batch, tier: what it is timed with; see `wieldy.runtime.measure`.
        ledger: times that it holds are read back.

    Returns:
        The network, and the milliseconds of groups over those of zeros.

    Raises:
        ConfigError: a layer has no such blocks.
        TierError: this CPU lacks the tier.

    Cost: one measurement.
    """
    grouped = copy.deepcopy(network)
    for layer, count in blocks.items():
        as_grouped(grouped, layer, count)
    timing = _timed(
        (network, smallest_formats(network)), (grouped, smallest_formats(grouped)), "timing zeros and groups",
        progress, threads=threads, batch=batch, tier=tier, ledger=ledger,
    )  # fmt: skip
    return (grouped if timing.ratio.value < 1 else network), timing


def _timed(first: Form, second: Form, text: str, progress: Progress | None, **how: Any) -> Timing:
    """Save two forms and time the second against the first."""
    with (
        tempfile.TemporaryDirectory(prefix="wieldy-") as folder,
        (progress or Silent()).task(text, 1) as task,
    ):
        sides = [
            Subject(save(network, Path(folder) / f"{name}.wieldy", formats=formats))
            for name, (network, formats) in (("first", first), ("second", second))
        ]
        timing = measure(*sides, **how)
        task.advance()
    return timing
