"""The cheapest way down: at each step the level that costs least damage for what it saves.

Damages of several options add up, each kind's weighted by an exchange rate, since zeros and channels that
hurt alike before training do not hurt alike after it. The gain of a step is forecast, and what it saves of
the goals is what counts: sum over goals of forecast / limit.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from wieldy.plan.forecast import Forecast, Forecaster
from wieldy.plan.mix import Kind, Mix
from wieldy.plan.sensitivity import Option

NOTHING = Mix()
Rates = Mapping[Kind, float]
Need = Callable[[Forecast], float]  # what is asked of a forecast, the less the better


@dataclass(frozen=True)
class Point:
    """One mix on the way down, what it is forecast to cost, and what it does to the answers."""

    mix: Mix
    forecast: Forecast
    damage: float


def descent(
    options: Sequence[Option], forecaster: Forecaster, need: Need, rates: Rates, start: Mix = NOTHING
) -> list[Point]:
    """Return every mix on the way from doing nothing to where nothing more is saved.

    Args:
        options: what may be done, with what each level costs.
        forecaster: tells what a mix saves.
        need: what is wanted less of; it looks at layers each for itself.
        rates: damage after training over damage before it, by kind.
        start: what is done in any case.

    Cost: some forecasts for each step, of which there are at most as many as levels.
    """
    chosen: dict[int, int] = {}
    points = [Point(start, forecaster.of(start), 0.0)]
    heap = [(0.0, index, -1) for index in range(len(options))]  # price, option, step at which it was asked
    while heap:
        _, index, asked = heapq.heappop(heap)
        step = len(points)
        best = _cheapest(options, chosen, index, points[-1], forecaster, need, rates, start)
        if best is None:
            continue
        price, level, point = best
        if asked != step and heap and price > heap[0][0]:
            heapq.heappush(heap, (price, index, step))  # prices change as the mix does; others may be cheaper
            continue
        chosen[index] = level
        points.append(replace(point, forecast=forecaster.of(point.mix)))
        heapq.heappush(heap, (price, index, -1))
    return points


def _cheapest(
    options: Sequence[Option],
    chosen: Mapping[int, int],
    index: int,
    here: Point,
    forecaster: Forecaster,
    need: Need,
    rates: Rates,
    start: Mix,
) -> tuple[float, int, Point] | None:
    """Return the best of an option's harsher levels: price, level and where it leads; None if none saves."""
    option, before = options[index], chosen.get(index, -1)
    if any(_excludes(options[other], option) for other in chosen if other != index):
        return None
    spent = option.damage[before] if before >= 0 else 0.0
    found = None
    for level in range(before + 1, len(option.levels)):
        mix = joined(options, {**chosen, index: level}, start)
        forecast = forecaster.of(mix, together=False)
        saved = need(here.forecast) - need(forecast)
        if saved <= 0:
            continue
        cost = rates[option.kind] * (option.damage[level] - spent)
        if found is None or cost / saved < found[0]:
            found = cost / saved, level, Point(mix, forecast, here.damage + cost)
    return found


def _excludes(one: Option, other: Option) -> bool:
    """Whether two options cannot be had together: a layer has zeros or a rank."""
    return one.name == other.name and one.kind != other.kind and "rank" in (one.kind, other.kind)


def joined(options: Sequence[Option], chosen: Mapping[int, int], start: Mix = NOTHING) -> Mix:
    """Return the mix of several options at their levels."""
    parts = [start, *(options[index].levels[level] for index, level in chosen.items())]
    fields = ("remove", "ranks", "zeros", "blocks")
    merged = {name: {key: of for mix in parts for key, of in getattr(mix, name).items()} for name in fields}
    return Mix(**merged, in_levels=any(mix.in_levels for mix in parts))
