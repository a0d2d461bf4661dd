"""The mix of methods that meets a budget on this machine at the least damage.

1. What every layer and group can spare is measured (`sensitivity`).
2. Each kind of option alone goes down to the goal (`greedy`), is timed, trained briefly and judged. By how
   much training heals each kind is its exchange rate.
3. At those rates all kinds go down together, in float32 and in eight bits. Every mix is timed as a saved file
   and the forecast corrected by it, until the goal is surely met and not by far.
4. Of all that meet the goal, singles too, the one that answers most like the original after its brief
   training is chosen; the way down to it and beyond is measured as the trade-off curve.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wieldy.compress.quantize import quantize, quantize_roughly
from wieldy.compress.storage import smallest_formats
from wieldy.core.data import Data
from wieldy.core.errors import BudgetError
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import MixPoint, Timing
from wieldy.graph.cost import total_macs, total_parameters
from wieldy.graph.network import GraphNetwork
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.save import save
from wieldy.plan.budget import Budget
from wieldy.plan.damage import Damage
from wieldy.plan.forecast import Forecast, Forecaster
from wieldy.plan.greedy import Point, Rates, descent
from wieldy.plan.mix import KINDS, Kind, Mix, thinned, zeroed
from wieldy.plan.sensitivity import Option
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.timing import PROCESSES
from wieldy.stats.collect import Stats
from wieldy.train.fit import evaluate

TRIES = 4  # of mixes that are timed on the way to a goal
NEAR = 0.05  # below the goal: nearer is not looked for
AIM = 0.98  # of the goal
CURVE = 8  # points of the trade-off curve
DEEPEST = 0.7  # of the goal: where the curve ends
CURVE_PROCESSES = 3
Train = Callable[[GraphNetwork, Mix], GraphNetwork]
Accept = Callable[[GraphNetwork], bool]


@dataclass(frozen=True)
class Bench:
    """What mixes of a network are built, timed and judged with.

    Attributes:
        network: the original.
        data: the damage is on its validation set.
        budget: what has to be met.
        forecaster: of this network on this machine.
        options: what may be done, and what it costs.
        stats: second moments for layers as two.
        train: trains a network that was thinned by a mix, briefly, and brings its zeros.
        integer: how layers are rounded; None: none are.
        threads, batch, tier: what milliseconds are measured with.
        accept: may refuse a network that was built, trained briefly and rounded.
    """

    network: GraphNetwork
    data: Data
    budget: Budget
    forecaster: Forecaster
    options: tuple[Option, ...]
    stats: Stats
    train: Train
    integer: IntegerConfig | None
    threads: int
    batch: int
    tier: str
    accept: Accept | None = None
    ledger: Ledger = field(default_factory=lambda: Ledger(None))
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True)
class Track:
    """One way down.

    Attributes:
        name: which kinds of options are taken.
        points: from doing nothing to where nothing more is saved.
        seen: of points that were timed, the forecast over the original's and the upper end measured.
        bytes: of the last one, measured over forecast.
    """

    name: str
    points: tuple[Point, ...]
    seen: tuple[tuple[float, float], ...] = ()
    bytes: float = 1.0

    def ratio(self, forecast: float) -> float:
        """Return the milliseconds over the original's that a forecast stands for, by what was measured."""
        if not self.seen:
            return forecast
        known, found = np.log(sorted(self.seen)).T
        place = float(np.log(forecast))
        nearest = float(np.clip(place, known[0], known[-1]))
        return float(np.exp(np.interp(nearest, known, found) + place - nearest))


@dataclass(frozen=True)
class Measured:
    """A point that was saved and timed."""

    point: Point
    timing: Timing
    macs: tuple[int, int]
    sizes: tuple[int, int]
    parameters: int


@dataclass(frozen=True)
class Planned:
    """What was chosen, and every point that was trained briefly and judged."""

    mix: Mix
    points: tuple[MixPoint, ...]
    rates: dict[str, float]


def plan_mix(bench: Bench, kinds: Sequence[Kind] = KINDS) -> Planned:
    """Return the mix that meets the budget at the least damage, with the trade-off curve around it.

    Raises:
        BudgetError: no mix that was measured meets the budget; names the nearest.

    Cost: for each kind, for each of two precisions, and for each point of the curve some measurements of a
        few seconds and one brief training.
    """
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        return _planned(bench, Judge(bench, Path(folder)), kinds)


def _planned(bench: Bench, judge: "Judge", kinds: Sequence[Kind]) -> Planned:
    starts = {"f32": Mix()} | ({"int8": Mix(in_levels=True)} if bench.integer else {})
    rates: dict[Kind, float] = dict.fromkeys(kinds, 1.0)
    found: list[tuple[Track, Measured, MixPoint]] = []
    total = len(kinds) + len(starts)
    with bench.progress.task("weighing methods against each other", total) as task:
        for kind in kinds:
            track = _track(bench, f"{kind} alone", Mix(), rates, (kind,))
            reached = _to_goal(bench, track, judge)
            found += reached
            rates[kind] = _rate(track, judge, reached)
            task.advance(1, _told(track.name, reached))
        for name, start in starts.items():
            allowed = [kind for kind in kinds if not (start.in_levels and kind == "zeros")]
            track = _track(bench, f"all in {name}", start, rates, allowed)
            if start != Mix():  # the table knows no eight bits
                track = judge.corrected(track, judge.measured(track.points[0]))
            reached = _to_goal(bench, track, judge)
            found += reached
            task.advance(1, _told(track.name, reached))
    if not found:
        raise BudgetError(judge.nearest())
    track, best, chosen = min(found, key=lambda item: item[2].damage)
    judge.chosen = chosen
    _curve(bench, track, judge, best)
    return Planned(best.point.mix, judge.every(), {str(kind): rate for kind, rate in rates.items()})


def _rate(track: Track, judge: "Judge", reached: Sequence[tuple[Track, Measured, MixPoint]]) -> float:
    """Return damage after a brief training over what effects add up to, at the goal or as far as it goes."""
    if reached:
        at, judged = reached[-1][1].point, reached[-1][2]
    else:
        at = track.points[-1]
        found = judge.judged(judge.measured(at, 1), track.name)
        if found is None:
            return 1.0
        judged = found
    return judged.damage / at.damage if at.damage > 0 else 1.0


def _told(name: str, reached: Sequence[tuple[Track, Measured, MixPoint]]) -> str:
    if not reached:
        return f"{name}: does not reach the budget"
    _, at, point = reached[-1]
    return f"{name}: {at.timing.ratio.value:.3f} of the milliseconds, damage {point.damage:.4f}"


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
        shares["ms"] = forecast.ms / first.ms
    if budget.bytes or budget.bytes_ratio:
        shares["bytes"] = forecast.bytes / first.bytes
    if budget.macs_ratio:
        shares["macs"] = forecast.macs / first.macs
    return shares


def _to_goal(bench: Bench, track: Track, judge: "Judge") -> list[tuple[Track, Measured, MixPoint]]:
    """Return the first point of a track that surely meets the budget, measured and judged; or nothing."""
    best: Measured | None = None
    misses, meets = -1, len(track.points)  # indices; the points between are unknown
    for _ in range(TRIES):
        index = max(misses + 1, min(meets - 1, _first_that_meets(bench, track, judge)))
        if index >= meets:
            break
        measured = judge.measured(track.points[index])
        track = judge.corrected(track, measured)
        over = _over(bench.budget, measured)
        if over > 1:
            misses = index
            continue
        best, meets = measured, index
        if over >= 1 - NEAR:
            break
    if best is None:
        return []
    point = judge.judged(best, track.name)
    return [] if point is None else [(track, best, point)]


def _over(budget: Budget, measured: Measured) -> float:
    """Return the largest of what was measured over its goal, the upper end of the interval for time."""
    parts = [budget.time_over_goal(measured.timing, surely=True)]
    if budget.macs_ratio:
        parts.append(measured.macs[1] / measured.macs[0] / budget.macs_ratio)
    if budget.bytes_ratio:
        parts.append(measured.sizes[1] / measured.sizes[0] / budget.bytes_ratio)
    if budget.bytes:
        parts.append(measured.sizes[1] / budget.bytes)
    return max(parts)


def _first_that_meets(bench: Bench, track: Track, judge: "Judge") -> int:
    """Return the first point that is forecast to meet the budget; the last one where none is."""
    for index, point in enumerate(track.points):
        ms, sizes, macs = judge.forecast(track, point)
        limits = (
            (bench.budget.latency_ratio, ms),
            (bench.budget.latency_ms, ms * judge.original_ms),
            (bench.budget.bytes_ratio, sizes),
            (bench.budget.bytes, sizes * judge.original_bytes),
            (bench.budget.macs_ratio, macs),
        )
        if all(limit is None or value <= AIM * limit for limit, value in limits):
            return index
    return len(track.points) - 1


def _curve(bench: Bench, track: Track, judge: "Judge", best: Measured) -> None:
    """Measure and judge points of a track, evenly from the original to beyond the goal."""
    shares = [judge.forecast(track, point)[0] for point in track.points]
    deepest = DEEPEST * judge.forecast(track, best.point)[0]
    wanted = [shares[0] - (shares[0] - deepest) * step / CURVE for step in range(1, CURVE + 1)]
    places = [next((at for at, of in enumerate(shares) if of <= share), len(shares) - 1) for share in wanted]
    indices = list(dict.fromkeys(places))  # a short way down has fewer points
    with bench.progress.task("measuring the trade-off", len(indices)) as task:
        for index in indices:
            measured = judge.measured(track.points[index], CURVE_PROCESSES)
            judge.judged(measured, track.name)
            task.advance(1, f"{measured.timing.ratio.value:.3f} of the milliseconds")


class Judge:
    """Builds, saves, times, trains briefly and judges mixes; remembers what it found."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench, self._folder = bench, folder
        self._damage = Damage(bench.network, bench.data)
        self._first = bench.forecaster.of(Mix())
        self._original = save(bench.network, folder / "original.wieldy")
        self._found: dict[str, MixPoint] = {}
        self._timed: list[Measured] = []
        self.chosen: MixPoint | None = None
        own = self.measured(Point(Mix(), self._first, 0.0))
        self.original_ms, self.original_bytes = own.timing.original_ms, own.sizes[0]

    def forecast(self, track: Track, point: Point) -> tuple[float, float, float]:
        """Return milliseconds, bytes and multiply-accumulates of a point over the original's."""
        at, first = point.forecast, self._first
        return track.ratio(at.ms / first.ms), track.bytes * at.bytes / first.bytes, at.macs / first.macs

    def corrected(self, track: Track, measured: Measured) -> Track:
        """Return a track whose forecasts agree with what was measured."""
        at, first = measured.point.forecast, self._first
        seen = dict(track.seen) | {at.ms / first.ms: measured.timing.ratio.high}
        sizes = measured.sizes[1] / measured.sizes[0] / (at.bytes / first.bytes)
        return replace(track, seen=tuple(seen.items()), bytes=sizes)

    def measured(self, point: Point, processes: int = PROCESSES) -> Measured:
        """Save and time a point; nothing is trained, since time does not depend on what weights are."""
        bench = self._bench
        small = zeroed(thinned(bench.network, point.mix, bench.stats)[0], point.mix)
        if point.mix.in_levels and bench.integer:
            small = quantize_roughly(small, bench.integer)
        formats = dict(small.formats) | smallest_formats(small) if point.mix.zeros else dict(small.formats)
        path = save(small, self._folder / "mix.wieldy", formats=formats)
        timing = measure(
            Subject(self._original), Subject(path), threads=bench.threads, batch=bench.batch, tier=bench.tier,
            processes=processes, ledger=bench.ledger,
        )  # fmt: skip
        macs = total_macs(bench.network.program), total_macs(small.program)
        sizes = self._original.stat().st_size, path.stat().st_size
        found = Measured(point, timing, macs, sizes, total_parameters(small.program))
        self._timed.append(found)
        return found

    def judged(self, measured: Measured, track: str) -> MixPoint | None:
        """Train a point briefly and say how it answers; None where it is not accepted."""
        mix = measured.point.mix
        key = mix.to_json()
        if key not in self._found:
            found = self._bench.ledger.remember("mix", mix.model_dump(), lambda: self._answers(mix))
            if not found["accepted"]:
                return None
            self._found[key] = MixPoint(
                mix=str(mix),
                track=track,
                timing=measured.timing,
                forecast_ratio=measured.point.forecast.ms / self._first.ms,
                macs=measured.macs[1],
                bytes=measured.sizes[1],
                parameters=measured.parameters,
                damage=found["damage"],
                score=found["score"],
            )
        return self._found[key]

    def _answers(self, mix: Mix) -> dict[str, Any]:
        """Train a mix briefly and say how it answers."""
        bench = self._bench
        small = bench.train(thinned(bench.network, mix, bench.stats)[0], mix)
        if mix.in_levels and bench.integer:
            small, _ = quantize(small, bench.data, bench.integer)
        return {
            "accepted": bench.accept is None or bool(bench.accept(small)),
            "damage": self._damage.of(small),
            "score": evaluate(small, bench.data.validate, bench.data),
        }

    def every(self) -> tuple[MixPoint, ...]:
        """Return all points that were judged, by their milliseconds, the chosen one marked."""
        points = sorted(self._found.values(), key=lambda of: -of.timing.ratio.value)
        return tuple(point.model_copy(update={"chosen": point is self.chosen}) for point in points)

    def nearest(self) -> str:
        """Say that the budget is out of reach, and what comes nearest."""
        budget = self._bench.budget
        least = min(self._timed, key=lambda of: _over(budget, of))
        return (
            f"budget: {budget.goals()} cannot be met by any mix here. The nearest point is "
            f"{least.timing.ratio.value:.3f} of the milliseconds ({least.timing.small_ms:.3f} ms), "
            f"{least.macs[1] / least.macs[0]:.1%} of the multiply-accumulates and {least.sizes[1]:,} bytes, "
            f"by {least.point.mix}. Ask for that, or for another tier."
        )
