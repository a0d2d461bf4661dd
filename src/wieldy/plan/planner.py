"""The mix of methods that meets a budget on this machine at the least damage.

1. What every layer and group can spare is measured (`sensitivity`).
2. Each kind of option alone goes down to the goal (`greedy`), is timed, trained briefly and judged. By how
   much training heals each kind is its exchange rate.
3. At those rates all kinds go down together, in float32 and in eight bits. Every mix is timed as a saved file
   and the forecast corrected by it, until the goal is surely met and not by far.
4. Of all that meet the goal, singles too, the one that answers most like the original is chosen: after its
   brief training, or after a longer one where that is close, since some heal slowly. The way down to the
   choice and beyond is measured as the trade-off curve.

Every track is trained at the learning rate at which its own point near the goal heals best.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wieldy.core.errors import BudgetError
from wieldy.core.records import MixPoint
from wieldy.plan.budget import Budget
from wieldy.plan.forecast import Forecast
from wieldy.plan.greedy import Rates, descent
from wieldy.plan.judge import Bench, Judge, Measured, Track
from wieldy.plan.mix import KINDS, ONLY_IN_FLOATS, ONLY_IN_LEVELS, Kind, Mix

TRIES = 6  # of mixes that are timed on the way to a goal
NEAR = 0.05  # below the goal: nearer is not looked for
AIM = 0.98  # of the goal
DEEPEST = 0.75  # of the goal: where the curve ends
CURVE_PROCESSES = 3
CLOSE = 2.0  # times the least damage: what may still be the best after a longer training


@dataclass(frozen=True)
class Planned:
    """What was chosen, and every point that was trained briefly and judged."""

    mix: Mix
    points: tuple[MixPoint, ...]


@dataclass(frozen=True)
class Finalist:
    """A mix that meets the budget, on its track."""

    track: Track
    measured: Measured
    point: MixPoint


def plan_mix(bench: Bench, kinds: Sequence[Kind] = KINDS, curve: int = 8) -> Planned:
    """Return the mix that meets the budget at the least damage, with the trade-off curve around it.

    Args:
        bench: what mixes are built, timed and judged with.
        kinds: of options that may be mixed.
        curve: points of the trade-off.

    Raises:
        BudgetError: no mix that was measured meets the budget; names the nearest.

    Cost: for each kind, for each of two precisions, and for each point of the curve some measurements of a
        few seconds and one brief training.
    """
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        return _planned(bench, Judge(bench, Path(folder)), kinds, curve)


def _planned(bench: Bench, judge: Judge, kinds: Sequence[Kind], curve: int) -> Planned:
    starts = {"f32": Mix()} | ({"int8": Mix(in_levels=True)} if bench.integer else {})
    if not bench.integer:
        kinds = [kind for kind in kinds if kind != ONLY_IN_LEVELS]
    rates: dict[Kind, float] = dict.fromkeys(kinds, 1.0)
    found: list[Finalist | None] = []
    total = len(kinds) + len(starts)
    with bench.progress.task("weighing methods against each other", total) as task:
        for kind in kinds:
            start = starts["int8" if kind == ONLY_IN_LEVELS else "f32"]
            track = _begun(judge, _track(bench, f"{kind} alone", start, rates, (kind,)))
            found.append(_to_goal(bench, track, judge))
            rates[kind] = _rate(track, judge, found[-1])
            task.advance(1, _told(track, found[-1]))
        for name, start in starts.items():
            left_out = ONLY_IN_FLOATS if start.in_levels else ONLY_IN_LEVELS
            allowed = [kind for kind in kinds if kind != left_out]
            track = _begun(judge, _track(bench, f"all in {name}", start, rates, allowed))
            found.append(_to_goal(bench, track, judge))
            task.advance(1, _told(track, found[-1]))
    finalists = [finalist for finalist in found if finalist]
    if not finalists:
        raise BudgetError(judge.nearest())
    best = _best(bench, finalists, judge)
    judge.chosen = best.point
    _curve(bench, best, judge, curve)
    return Planned(best.measured.point.mix, judge.every())


def _begun(judge: Judge, track: Track) -> Track:
    """Return a track whose first point is known: what eight bits alone gain is not left to the table."""
    first = track.points[0]
    return track if first.mix == Mix() else judge.corrected(track, judge.measured(track, first))


def _best(bench: Bench, finalists: Sequence[Finalist], judge: Judge) -> Finalist:
    """Return the finalist with the least damage; those that are close are trained longer before."""
    least = min(finalist.point.damage for finalist in finalists)
    different = {finalist.measured.point.mix.to_json(): finalist for finalist in finalists}
    close = [finalist for finalist in different.values() if finalist.point.damage <= CLOSE * least]
    if len(close) == 1:
        return close[0]
    damages = []
    with bench.progress.task("training the best ones longer", len(close)) as task:
        for finalist in close:
            damages.append(judge.damage_after_more(finalist.measured, finalist.track))
            task.advance(1, f"{finalist.track.name}: damage {damages[-1]:.4f}")
    return close[damages.index(min(damages))]


def _rate(track: Track, judge: Judge, finalist: Finalist | None) -> float:
    """Return damage after a brief training over what effects add up to, at the goal or as far as it goes."""
    at = finalist.measured.point if finalist else track.points[-1]
    if finalist:
        return finalist.point.damage / at.damage if at.damage > 0 else 1.0
    point = judge.judged(judge.measured(track, at, 1), judge.settled(track, at.mix))
    return point.damage / at.damage if point and at.damage > 0 else 1.0


def _told(track: Track, finalist: Finalist | None) -> str:
    if not finalist:
        return f"{track.name}: does not reach the budget"
    ratio, damage = finalist.measured.timing.ratio.value, finalist.point.damage
    return f"{track.name}: {ratio:.3f} of the milliseconds, damage {damage:.4f}"


def _track(bench: Bench, name: str, start: Mix, rates: Rates, kinds: Sequence[Kind]) -> Track:
    options = [option for option in bench.options if option.kind in kinds]
    first = bench.forecaster.of(start)

    def need(forecast: Forecast) -> float:
        return sum(_shares(bench.budget, forecast, first).values())

    seen = ((1.0, 1.0),) if start == Mix() else ()  # the original takes its own time
    return Track(name, tuple(descent(options, bench.forecaster, need, rates, start)), seen)


def _shares(budget: Budget, forecast: Forecast, first: Forecast) -> dict[str, float]:
    """Return, for each goal that is asked, what is forecast over what was at first."""
    shares = {}
    if budget.asks_time:
        shares["ms"] = forecast.apart_ms / first.apart_ms
    if budget.bytes or budget.bytes_ratio:
        shares["bytes"] = forecast.bytes / first.bytes
    if budget.macs_ratio:
        shares["macs"] = forecast.macs / first.macs
    return shares


def _to_goal(bench: Bench, track: Track, judge: Judge) -> Finalist | None:
    """Return the first point of a track that surely meets the budget, measured, judged and accepted."""
    best: Measured | None = None
    misses, meets = -1, len(track.points)  # indices; the points between are unknown
    for _ in range(TRIES):
        index = max(misses + 1, min(meets - 1, _first_that_meets(bench, track, judge)))
        if index >= meets:
            break
        measured = judge.measured(track, track.points[index])
        ratio = measured.timing.ratio
        bench.progress.say(f"{track.name}: {ratio} of the milliseconds, {measured.predicted:.3f} forecast")
        track = judge.corrected(track, measured)
        over = measured.over(bench.budget)
        if over > 1:
            misses = index
            continue
        best, meets = measured, index
        if over >= 1 - NEAR:
            break
    if not best:
        return None
    track = judge.settled(track, best.point.mix)
    point = judge.judged(best, track)
    return Finalist(track, best, point) if point else None


def _first_that_meets(bench: Bench, track: Track, judge: Judge) -> int:
    """Return the first point that is forecast to meet the budget; the last one where none is."""
    for index, point in enumerate(track.points):
        shares = judge.forecast(track, point)
        if bench.budget.over_by_shares(shares, judge.original_ms, judge.original_bytes) <= AIM:
            return index
    return len(track.points) - 1


def _curve(bench: Bench, best: Finalist, judge: Judge, count: int) -> None:
    """Measure and judge points of a track, evenly from the original to beyond the goal."""
    track = best.track
    shares = [judge.forecast(track, point)[0] for point in track.points]
    deepest = DEEPEST * judge.forecast(track, best.measured.point)[0]
    wanted = [shares[0] - (shares[0] - deepest) * step / count for step in range(1, count + 1)]
    places = [next((at for at, of in enumerate(shares) if of <= share), len(shares) - 1) for share in wanted]
    indices = list(dict.fromkeys(places))  # a short way down has fewer points
    with bench.progress.task("measuring the trade-off", len(indices)) as task:
        for index in indices:
            point, note = track.points[index], ""
            if not judge.knows(point.mix):
                measured = judge.measured(track, point, CURVE_PROCESSES)
                judge.judged(measured, track)
                note = f"{measured.timing.ratio.value:.3f} of the milliseconds"
            task.advance(1, note)
