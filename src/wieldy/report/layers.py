"""Layers and operations of the two networks side by side."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wieldy.core.records import LayerRow, LayerTime
from wieldy.report.charts import LayerBar

NO_GAIN = 0.98  # an operation above this share of its time before has gained nothing


@dataclass(frozen=True, slots=True)
class LayerPair:
    """One layer before and after; None where one network lacks it."""

    layer: str
    op: str
    before: LayerRow | None
    after: LayerRow | None


def pair_layers(before: Sequence[LayerRow], after: Sequence[LayerRow]) -> list[LayerPair]:
    """Match layers by name, operation and how often that pair has come up so far."""
    rest = dict(_keyed(after))
    pairs = [LayerPair(row.layer, row.op, row, rest.pop(key, None)) for key, row in _keyed(before)]
    return pairs + [LayerPair(row.layer, row.op, None, row) for row in rest.values()]


def _keyed(rows: Iterable[LayerRow]) -> list[tuple[tuple[str, str, int], LayerRow]]:
    seen: Counter[tuple[str, str]] = Counter()
    keyed = []
    for row in rows:
        keyed.append(((row.layer, row.op, seen[row.layer, row.op]), row))
        seen[row.layer, row.op] += 1
    return keyed


def pair_times(before: Sequence[LayerTime], after: Sequence[LayerTime]) -> list[LayerBar]:
    """Match executed operations by the layers that the runtime fused into them."""
    rest = list(after)
    bars = []
    for time in before:
        partner = max(rest, key=lambda other: _common(time, other), default=None)
        if partner is not None and _common(time, partner) > 0:
            rest.remove(partner)
        else:
            partner = None
        bars.append(_bar(time, partner))
    return bars + [_bar(None, time) for time in rest]


def _common(one: LayerTime, other: LayerTime) -> int:
    return len(set(one.layers) & set(other.layers))


def _bar(before: LayerTime | None, after: LayerTime | None) -> LayerBar:
    known = before or after
    assert known is not None
    kernels = list(dict.fromkeys(time.kernel for time in (before, after) if time is not None))
    gain = before is None or after is None or after.milliseconds < NO_GAIN * before.milliseconds
    return LayerBar(
        name=known.layers[0] if known.layers else known.kind,
        kernels=" → ".join(kernels),
        original_ms=before.milliseconds if before else None,
        package_ms=after.milliseconds if after else None,
        note="" if gain else "no gain",
        fused=known.layers[1:],
    )
