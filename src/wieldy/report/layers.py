"""Layers and operations of the two networks side by side."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wieldy.core.records import LayerRow, LayerTime
from wieldy.report.charts import LayerBar

NO_GAIN = 0.98  # an operation above this share of its time before has gained nothing


class Took(NamedTuple):
    """What a layer took: milliseconds, or None where it runs within another one's operation."""

    milliseconds: float | None
    within: str = ""


@dataclass(frozen=True, slots=True)
class LayerPair:
    """One layer before and after; None where one network lacks it. Times likewise, where they are known."""

    layer: str
    op: str
    before: LayerRow | None
    after: LayerRow | None
    took: tuple[Took | None, Took | None] = (None, None)


Timed = tuple[LayerRow, Took | None]


def pair_layers(
    before: Sequence[LayerRow],
    after: Sequence[LayerRow],
    times_before: Sequence[LayerTime] = (),
    times_after: Sequence[LayerTime] = (),
) -> list[LayerPair]:
    """Match layers by name, operation and how often that pair has come up so far."""
    rest = dict(_keyed(timed(after, times_after)))
    pairs = []
    for key, (row, took) in _keyed(timed(before, times_before)):
        other, then = rest.pop(key, (None, None))
        pairs.append(LayerPair(row.layer, row.op, row, other, (took, then)))
    return pairs + [LayerPair(row.layer, row.op, None, row, (None, then)) for row, then in rest.values()]


def timed(rows: Sequence[LayerRow], times: Sequence[LayerTime]) -> list[Timed]:
    """Give an operation's time to the first layer that it executes; the others run within that one."""
    free: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        free.setdefault(row.layer, []).append(index)
    found: dict[int, Took] = {}
    for time in times:
        for place, layer in enumerate(time.layers):
            if free.get(layer):
                took = Took(None, time.layers[0]) if place else Took(time.milliseconds)
                found[free[layer].pop(0)] = took
    return [(row, found.get(index)) for index, row in enumerate(rows)]


def _keyed(rows: Iterable[Timed]) -> list[tuple[tuple[str, str, int], Timed]]:
    seen: Counter[tuple[str, str]] = Counter()
    keyed = []
    for row, took in rows:
        keyed.append(((row.layer, row.op, seen[row.layer, row.op]), (row, took)))
        seen[row.layer, row.op] += 1
    return keyed


def pair_times(before: Sequence[LayerTime], after: Sequence[LayerTime]) -> list[LayerBar]:
    """Match executed operations by the layers that the runtime fused into them.

    Where one side does in one operation what the other does in several, all of them are one bar; so are the
    two layers that one was factored into.
    """
    known = _layers_of(before)
    bars: list[LayerBar] = []
    rest = [
        time.model_copy(update={"layers": tuple(_of_original(layer, known) for layer in time.layers)})
        for time in after
    ]
    waiting = list(before)
    while waiting:
        first, second, layers = [waiting.pop(0)], list[LayerTime](), set[str]()
        while not layers >= _layers_of(first + second):
            layers = _layers_of(first + second)
            second += _taken(rest, layers)
            first += _taken(waiting, _layers_of(second))
        bars.append(_bar(first, second))
    return bars + [_bar([], [time]) for time in rest]


def _of_original(layer: str, known: set[str]) -> str:
    """Return the layer of the original that one of the package does the work of, or a half of it."""
    whole = layer.removesuffix(".first").removesuffix(".second")
    return whole if layer not in known and whole in known else layer


def _layers_of(times: Iterable[LayerTime]) -> set[str]:
    return {layer for time in times for layer in time.layers}


def _taken(times: list[LayerTime], layers: set[str]) -> list[LayerTime]:
    """Remove those that have one of the layers, and return them."""
    found = [time for time in times if layers.intersection(time.layers)]
    times[:] = [time for time in times if not layers.intersection(time.layers)]
    return found


def _bar(before: Sequence[LayerTime], after: Sequence[LayerTime]) -> LayerBar:
    known = [*before, *after]
    names = list(dict.fromkeys(layer for time in known for layer in time.layers)) or [known[0].kind]
    old, new = (sum(time.milliseconds for time in side) if side else None for side in (before, after))
    return LayerBar(
        name=names[0],
        kernels=" → ".join(dict.fromkeys(time.kernel for time in known)),
        original_ms=old,
        package_ms=new,
        note="no gain" if old is not None and new is not None and new >= NO_GAIN * old else "",
        fused=tuple(names[1:]),
    )
