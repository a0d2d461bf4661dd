"""Layers and operations of the two networks side by side."""

import re
from collections import Counter, defaultdict
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


def pair_times(
    before: Sequence[LayerTime], after: Sequence[LayerTime], rows: Sequence[LayerRow]
) -> list[LayerBar]:
    """Match executed operations by the program's nodes that the runtime fused into them."""
    names = layer_names([*before, *after], rows)
    rest = list(after)
    bars = []
    for time in before:
        partner = max(rest, key=lambda other: _common(time, other), default=None)
        if partner is not None and _common(time, partner) > 0:
            rest.remove(partner)
        else:
            partner = None
        bars.append(_bar(time, partner, names))
    return bars + [_bar(None, time, names) for time in rest]


def _common(one: LayerTime, other: LayerTime) -> int:
    return len(set(one.layers) & set(other.layers))


def _bar(before: LayerTime | None, after: LayerTime | None, names: dict[str, str]) -> LayerBar:
    known = before or after
    assert known is not None
    kernels = list(dict.fromkeys(time.kernel for time in (before, after) if time is not None))
    gain = before is None or after is None or after.milliseconds < NO_GAIN * before.milliseconds
    return LayerBar(
        name=names.get(known.layers[0], known.layers[0]) if known.layers else known.kind,
        kernels=" → ".join(kernels),
        original_ms=before.milliseconds if before else None,
        package_ms=after.milliseconds if after else None,
        note="" if gain else "no gain",
        fused=known.layers[1:],
    )


def layer_names(times: Sequence[LayerTime], rows: Sequence[LayerRow]) -> dict[str, str]:
    """Return the user's layer name for each node that the times speak of, where that is certain.

    The tracer numbers its nodes by operation (`conv2d`, `conv2d_1`, ...) and rows stand in the same
    order. Only where as many nodes as rows exist, numbered without a gap, is the k-th node the k-th row.
    """
    of_op: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        of_op[row.op].append(row.layer)
    names: dict[str, str] = {}
    timed = {node for time in times for node in time.layers}
    for op, layers in of_op.items():
        expected = [op, *(f"{op}_{k}" for k in range(1, len(layers)))]
        found = {node for node in timed if re.fullmatch(rf"{re.escape(op)}(_\d+)?", node)}
        if found == set(expected):
            names |= dict(zip(expected, layers, strict=True))
    return names
