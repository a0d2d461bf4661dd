"""Bisection on the share of channels removed, by milliseconds measured on saved files."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wieldy.compress.apply import apply_plan
from wieldy.core.errors import BudgetError
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent, Task
from wieldy.core.records import Candidate, Plan
from wieldy.graph.cost import total_macs, total_parameters
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import MethodConfig
from wieldy.methods.prune.taylor import TaylorConfig
from wieldy.methods.registry import settings_of
from wieldy.package.save import save
from wieldy.plan.budget import Budget
from wieldy.plan.ranking import Ranking, rank
from wieldy.runtime.measure import Subject, measure
from wieldy.stats.collect import Stats

STEPS = 7  # of the bisection; the share is then known to within one part in 128
STEPS_NEAR = 4  # for each other multiple, around what the first one found
NEAR = 0.24  # how far: rounding up to a larger multiple takes a larger share to the same time
MULTIPLES = (16, 8, 1)  # channels that vector registers take at once, and any number
HEADROOM = 0.015  # aimed below the goal: paired medians repeat to 1.4 % in 19 of 20 cases
SEARCH_ROUNDS = 20
LARGEST_SHARE = 0.98


Judge = Callable[[GraphNetwork], float]
Finish = Callable[[GraphNetwork], GraphNetwork]


@dataclass
class Search:
    """One search: what is compared with what, and every point measured so far."""

    network: GraphNetwork
    ranking: Ranking
    budget: Budget
    method: MethodConfig
    folder: Path
    threads: int | None
    batch: int | None
    tier: str | None
    ledger: Ledger
    task: Task
    judge: Judge | None
    finish: Finish | None
    points: dict[tuple[float, int], Candidate] = field(default_factory=dict)

    def plan(self, fraction: float, multiple: int) -> Plan:
        """Return the plan of one point."""
        remove = self.ranking.removal(fraction, multiple)
        return Plan(method=settings_of(self.method), remove=remove, budget=self.budget.model_dump())

    def meets(self, fraction: float, multiple: int) -> bool:
        """Save and time one point; whether it meets the budget with headroom."""
        small = apply_plan(self.network, self.plan(fraction, multiple))
        original = self.folder / "original.wieldy"
        finished = self.finish(small) if self.finish else small
        path = save(finished, self.folder / "candidate.wieldy")
        timing = measure(
            Subject(original), Subject(path), threads=self.threads, batch=self.batch, tier=self.tier,
            rounds=SEARCH_ROUNDS, ledger=self.ledger,
        )  # fmt: skip
        self.points[fraction, multiple] = Candidate(
            fraction=fraction,
            multiple=multiple,
            parameters=total_parameters(small.program),
            macs=total_macs(small.program),
            timing=timing,
        )
        self.task.advance(1, f"{fraction:.1%} removed: {timing.ratio.value:.3f} of the milliseconds")
        macs = (total_macs(self.network.program), total_macs(small.program))
        return self.budget.reached(timing, macs, (original.stat().st_size, path.stat().st_size), HEADROOM)

    def bisect(self, low: float, high: float, multiple: int, steps: int) -> float | None:
        """Return the smallest share found that meets the budget, or None if `high` does not."""
        if not self.meets(high, multiple):
            return None
        for _ in range(steps):
            middle = (low + high) / 2
            if self.meets(middle, multiple):
                high = middle
            else:
                low = middle
        return high


def search_plan(
    network: GraphNetwork,
    stats: Stats,
    budget: Budget,
    *,
    method: MethodConfig | None = None,
    ranking: Ranking | None = None,
    judge: Judge | None = None,
    finish: Finish | None = None,
    threads: int | None = None,
    batch: int | None = None,
    tier: str | None = None,
    folder: Path | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Find the fewest channels to remove so that the saved network meets `budget` here.

    All channels are ranked once. The share of the ranking that goes is bisected; every point is saved and
    timed against the original, once for each multiple of channels that vector units like. Of the points
    found, one for each multiple, the one that `judge` likes best is chosen.

    Args:
        network: traced; not altered.
        stats: what `collect` returned, for methods that need it.
        budget: goals for time and size; `max_drop_points` is judged later, after recovery.
        method: the importance; default: first-order Taylor.
        ranking: the order in which channels go; default: `rank` of the method.
        judge: maps a small network, not yet recovered, to how good it is (it may alter it); default: how many
            multiply-accumulates it keeps.
        finish: what will be done to the network after recovery and takes part in its time and size, such as
            rounding; where it meets the budget alone, no channel goes.
        threads, batch, tier: what it is timed with; see `wieldy.runtime.measure`.
        folder: for the files that are timed; default: a temporary one.
        ledger: measurements that it holds are read back.

    Returns:
        A Plan with every point that was measured.

    Raises:
        BudgetError: even removing nearly everything misses the goal; names the nearest point.

    Cost: about 18 measurements of about two seconds.
    """
    method = method or TaylorConfig()
    with tempfile.TemporaryDirectory(prefix="wieldy-") as temporary:
        place = folder or Path(temporary)
        save(network, place / "original.wieldy")
        total = STEPS + 1 + (STEPS_NEAR + 1) * (len(MULTIPLES) - 1) + (finish is not None)
        with (progress or Silent()).task("searching by measured milliseconds", total) as task:
            search = Search(
                network, ranking or rank(network, stats, method), budget, method, place, threads, batch,
                tier, ledger or Ledger(None), task, judge, finish,
            )  # fmt: skip
            try:
                return _chosen(search)
            finally:
                (place / "candidate.wieldy").unlink(missing_ok=True)


def _chosen(search: Search) -> Plan:
    if search.finish and search.meets(0.0, 1):
        return _planned(search, (0.0, 1))
    first, *others = MULTIPLES
    found = {first: search.bisect(0.0, LARGEST_SHARE, first, STEPS)}
    start = found[first]
    for multiple in others:
        low, high = 0.0, LARGEST_SHARE
        if start is not None:
            low, high = (start, start + NEAR) if multiple > first else (start - NEAR, start)
        found[multiple] = search.bisect(max(0.0, low), min(LARGEST_SHARE, high), multiple, STEPS_NEAR)
    points = [(share, multiple) for multiple, share in found.items() if share is not None]
    if not points:
        raise BudgetError(_nearest(search))
    return _planned(search, max(points, key=lambda point: judged(search, point)))


def _planned(search: Search, best: tuple[float, int]) -> Plan:
    """Return the plan of the point that was chosen, with all that were measured."""
    candidates = tuple(
        point.model_copy(update={"chosen": key == best}) for key, point in sorted(search.points.items())
    )
    return search.plan(*best).model_copy(update={"candidates": candidates})


def judged(search: Search, point: tuple[float, int]) -> float:
    """Return how good a point is: what the judge says, or the multiply-accumulates that it keeps."""
    if search.judge is None:
        return float(search.points[point].macs)
    return search.judge(apply_plan(search.network, search.plan(*point)))


def _nearest(search: Search) -> str:
    nearest = min(search.points.values(), key=lambda point: (point.timing.ratio.value, point.macs))
    timing = nearest.timing
    share = nearest.macs / total_macs(search.network.program)
    also = " and rounding" if search.finish else ""
    return (
        f"budget: {search.budget.goals()} cannot be met by removing channels{also} here. The nearest point "
        f"is {timing.ratio.value:.3f} of the milliseconds ({timing.small_ms:.3f} ms) and {share:.1%} of the "
        f"multiply-accumulates, {nearest.parameters:,} parameters. Ask for that, or for another tier."
    )
