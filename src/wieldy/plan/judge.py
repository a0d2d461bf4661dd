"""Mixes of one network: built, saved, timed, trained briefly and judged."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wieldy.compress.quantize import quantize, quantize_roughly
from wieldy.compress.storage import level_formats, smallest_formats
from wieldy.core.data import Data
from wieldy.core.errors import DivergedError
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import MixPoint, Timing
from wieldy.graph.cost import total_macs, total_parameters
from wieldy.graph.network import GraphNetwork
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.save import save
from wieldy.plan.budget import Budget
from wieldy.plan.damage import BROKEN, Damage
from wieldy.plan.forecast import Forecaster
from wieldy.plan.greedy import Point
from wieldy.plan.mix import Mix, thinned, zeroed
from wieldy.plan.sensitivity import Option
from wieldy.runtime.measure import Quiet, Subject, measure
from wieldy.runtime.timing import PROCESSES
from wieldy.stats.collect import Stats
from wieldy.train.fit import evaluate

Train = Callable[[GraphNetwork, Mix, float, int], GraphNetwork]  # share of the learning rate, epochs
RATES = (1.0, 0.5, 0.25, 0.125, 0.0625)  # of the learning rate, at which brief trainings are tried
FIRST_RATE = 2  # of RATES, where trying begins
BETTER = 0.98  # of the damage: what a rate has to reach beside its neighbour
WIDE = 1.1  # of the ratio: where the interval ends higher, more processes are asked
LONGER = 4  # times a brief training
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
        train: trains a network that was thinned by a mix, at a share of the learning rate, for as many
            short epochs as it is told, and brings its zeros.
        integer: how layers are rounded; None: none are.
        threads, batch, tier: what milliseconds are measured with.
        accept: may refuse a network that was built, trained briefly and rounded.
        quiet: what the original takes while nobody else is on the machine.
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
    quiet: Quiet = field(default_factory=Quiet)
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
        rate: the share of the learning rate at which its points are trained.
    """

    name: str
    points: tuple[Point, ...]
    seen: tuple[tuple[float, float], ...] = ()
    bytes: float = 1.0
    rate: float = RATES[FIRST_RATE]

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
    predicted: float  # of the milliseconds over the original's, before it was timed
    timing: Timing
    macs: tuple[int, int]
    sizes: tuple[int, int]
    parameters: int

    def over(self, budget: Budget) -> float:
        """Return the largest of what was measured over its goal."""
        return budget.over(self.timing, self.macs, self.sizes)


class Judge:
    """Builds, saves, times, trains briefly and judges mixes; remembers what it found."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench, self._folder = bench, folder
        self._damage = Damage(bench.network, bench.data)
        self._first = bench.forecaster.of(Mix())
        self._original = save(bench.network, folder / "original.wieldy")
        self._found: dict[str, MixPoint] = {}
        self._timed: list[Measured] = []
        self._rate_at = FIRST_RATE
        self.chosen: MixPoint | None = None
        own = self.measured(Track("original", ()), Point(Mix(), self._first, 0.0))
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

    def measured(self, track: Track, point: Point, processes: int = PROCESSES) -> Measured:
        """Save and time a point of a track; nothing is trained: time does not depend on what weights are."""
        bench = self._bench
        small = zeroed(thinned(bench.network, point.mix, bench.stats)[0], point.mix)
        if point.mix.in_levels and bench.integer:
            small = quantize_roughly(small, bench.integer)
        formats = dict(small.formats)
        if point.mix.zeros:
            formats |= smallest_formats(small)
        if point.mix.blocks:
            formats |= level_formats(small)
        path = save(small, self._folder / "mix.wieldy", formats=formats)
        timing = self._timed_beside_original(path, processes)
        if processes >= PROCESSES and timing.ratio.high > WIDE * timing.ratio.value:
            timing = self._timed_beside_original(path, 2 * processes)  # by which one slow process says less
        macs = total_macs(bench.network.program), total_macs(small.program)
        sizes = self._original.stat().st_size, path.stat().st_size
        predicted = self.forecast(track, point)[0]
        found = Measured(point, predicted, timing, macs, sizes, total_parameters(small.program))
        self._timed.append(found)
        return found

    def _timed_beside_original(self, path: Path, processes: int) -> Timing:
        bench = self._bench
        return measure(
            Subject(self._original), Subject(path), threads=bench.threads, batch=bench.batch, tier=bench.tier,
            processes=processes, quiet=bench.quiet, ledger=bench.ledger,
        )  # fmt: skip

    def knows(self, mix: Mix) -> bool:
        """Return whether a mix was timed and judged."""
        return mix.to_json() in self._found

    def judged(self, measured: Measured, track: Track) -> MixPoint | None:
        """Train a point of a track briefly and say how it answers; None where it is not accepted."""
        mix = measured.point.mix
        key = mix.to_json()
        if key not in self._found:
            found = self._answers(mix, track.rate)
            if not found["accepted"]:
                return None
            self._found[key] = MixPoint(
                mix=str(mix),
                track=track.name,
                timing=measured.timing,
                forecast_ratio=measured.predicted,
                macs=measured.macs[1],
                bytes=measured.sizes[1],
                parameters=measured.parameters,
                damage=found["damage"],
                score=found["score"],
            )
        return self._found[key]

    def settled(self, track: Track, mix: Mix) -> Track:
        """Return a track at the learning rate at which a brief training heals one of its mixes best.

        A rate that is right for many epochs is too high for a few steps: at one that heals zeros, fewer
        channels may not heal at all, and a network may even break. What one track was best with is where the
        next one begins to look.
        """
        if not mix.thins:
            return track  # nothing is trained
        best = self._rate_at
        for step in (1, -1):  # to lower rates, and where that is no better, to higher ones
            while 0 <= best + step < len(RATES) and self._is_better(mix, best + step, best):
                best += step
            if best != self._rate_at:
                break
        self._rate_at = best
        return replace(track, rate=RATES[best])

    def _is_better(self, mix: Mix, one: int, other: int) -> bool:
        """Whether a mix heals better at one rate than at another, at which it may break."""
        damages = [self._answers(mix, RATES[at])["damage"] for at in (one, other)]
        return bool(damages[1] == BROKEN or damages[0] < BETTER * damages[1])

    def damage_after_more(self, measured: Measured, track: Track) -> float:
        """Return the damage of a point after a longer training than a brief one."""
        found = self._answers(measured.point.mix, track.rate, LONGER)
        return float(found["damage"]) if found["accepted"] else BROKEN

    def _answers(self, mix: Mix, rate: float, epochs: int = 1) -> dict[str, Any]:
        """Return how a mix answers after a training at a share of the learning rate."""
        key = {"mix": mix.model_dump(), "rate": rate, "epochs": epochs}
        asked = partial(self._asked, mix, rate, epochs)
        found: dict[str, Any] = self._bench.ledger.remember("mix", key, asked)
        return found

    def _asked(self, mix: Mix, rate: float, epochs: int) -> dict[str, Any]:
        """Train a mix and say how it answers."""
        bench = self._bench
        try:
            small = bench.train(thinned(bench.network, mix, bench.stats)[0], mix, rate, epochs)
        except DivergedError:
            return {"accepted": False, "damage": BROKEN, "score": None}
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
        least = min(self._timed, key=lambda of: of.over(budget))
        return (
            f"budget: {budget.goals()} cannot be met by any mix here. The nearest point is "
            f"{least.timing.ratio.value:.3f} of the milliseconds ({least.timing.small_ms:.3f} ms), "
            f"{least.macs[1] / least.macs[0]:.1%} of the multiply-accumulates and {least.sizes[1]:,} bytes, "
            f"by {least.point.mix}. Ask for that, or for another tier."
        )
