"""Bisection on the share of channels removed, by milliseconds measured on saved files.

One process tells which share is about right; what it says is off by a few percent (runtime/timing.py). So the
share that is chosen is measured in several, and enlarged until the upper end of their interval meets the
goal: then the recovered file, measured anew, is likely to.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

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
from wieldy.runtime.measure import Quiet, Subject, measure
from wieldy.runtime.timing import PROCESSES
from wieldy.stats.collect import Stats

STEPS = 7  # of the bisection; the share is then known to within one part in 128
STEPS_NEAR = 4  # for each other multiple, around what the first one found
NEAR = 0.24  # how far: rounding up to a larger multiple takes a larger share to the same time
MULTIPLES = (16, 8, 1)  # channels that vector registers take at once, and any number
LARGEST_SHARE = 0.98
AIM = 0.99  # of what would just do
TRIES = 4  # of shares that are measured in several processes: of many, one meets a goal by luck


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
    progress: Progress
    judge: Judge | None
    finish: Finish | None
    quiet: Quiet
    points: dict[tuple[float, int], Candidate] = field(default_factory=dict)
    seen: dict[tuple[float, int], float] = field(default_factory=dict)  # ratios, as one process sees them

    def plan(self, fraction: float, multiple: int) -> Plan:
        """Return the plan of one point."""
        remove = self.ranking.removal(fraction, multiple)
        return Plan(method=settings_of(self.method), remove=remove, budget=self.budget.model_dump())

    def meets(self, fraction: float, multiple: int, *, surely: bool = False) -> bool:
        """Save and time one point, in several processes if `surely`; whether it meets the budget."""
        small = apply_plan(self.network, self.plan(fraction, multiple))
        original = self.folder / "original.wieldy"
        finished = self.finish(small) if self.finish else small
        path = save(finished, self.folder / "candidate.wieldy")
        timing = measure(
            Subject(original), Subject(path), threads=self.threads, batch=self.batch, tier=self.tier,
            processes=PROCESSES if surely else 1, quiet=self.quiet,
            ledger=self.ledger, progress=self.progress if surely else None,
        )  # fmt: skip
        self.points[fraction, multiple] = Candidate(
            fraction=fraction,
            multiple=multiple,
            parameters=total_parameters(small.program),
            macs=total_macs(small.program),
            timing=timing,
        )
        self.seen.setdefault((fraction, multiple), timing.ratio.value)
        macs = (total_macs(self.network.program), total_macs(small.program))
        sizes = (original.stat().st_size, path.stat().st_size)
        return self.budget.reached(timing, macs, sizes, surely=surely)

    def bisect(self, task: Task, low: float, high: float, multiple: int, steps: int) -> float | None:
        """Return the smallest share found that meets the budget, or None if `high` does not."""

        def meets(share: float) -> bool:
            met = self.meets(share, multiple)
            timing = self.points[share, multiple].timing
            task.advance(1, f"{share:.1%} removed: {timing.ratio.value:.3f} of the milliseconds")
            return met

        if not meets(high):
            return None
        for _ in range(steps):
            middle = (low + high) / 2
            if meets(middle):
                high = middle
            else:
                low = middle
        return high

    def share_for(self, ratio: float, fraction: float, multiple: int) -> float:
        """Return a share of at least `fraction` at which one process saw a ratio of the milliseconds."""
        shares = sorted(share for share, of in self.seen if of == multiple)
        falling = np.minimum.accumulate([self.seen[share, multiple] for share in shares])
        return max(fraction, float(np.interp(-ratio, -falling, shares)))

    def more_than(self, fraction: float, multiple: int) -> float:
        """Return the next larger share that removes more: small networks have few to choose from."""
        removed = self.ranking.removal(fraction, multiple)
        while self.ranking.removal(fraction, multiple) == removed and fraction < LARGEST_SHARE:
            fraction = min(fraction + 2.0**-STEPS, LARGEST_SHARE)
        return fraction


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
    quiet: Quiet | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Find the fewest channels to remove so that the saved network meets `budget` here.

    All channels are ranked once. The share of the ranking that goes is bisected; every point is saved and
    timed against the original, once for each multiple of channels that vector units like. Of the points
    found, one for each multiple, the one that `judge` likes best is chosen; its share is enlarged until
    the whole interval of its time meets the goal.

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
        quiet: what the original takes while nobody else is on the machine; default: learnt here.
        ledger: measurements that it holds are read back.

    Returns:
        A Plan with every point that was measured.

    Raises:
        BudgetError: even removing nearly everything misses the goal; names the nearest point.

    Cost: about 18 measurements of a second or two, and up to four of six times as long.
    """
    method = method or TaylorConfig()
    with tempfile.TemporaryDirectory(prefix="wieldy-") as temporary:
        place = folder or Path(temporary)
        save(network, place / "original.wieldy")
        search = Search(
            network, ranking or rank(network, stats, method), budget, method, place, threads, batch,
            tier, ledger or Ledger(None), progress or Silent(), judge, finish, quiet or Quiet(),
        )  # fmt: skip
        try:
            return _chosen(search)
        finally:
            (place / "candidate.wieldy").unlink(missing_ok=True)


def _chosen(search: Search) -> Plan:
    if search.finish and search.meets(0.0, 1, surely=True):
        return _planned(search, (0.0, 1))
    total = STEPS + 1 + (STEPS_NEAR + 1) * (len(MULTIPLES) - 1)
    with search.progress.task("searching by measured milliseconds", total) as task:
        shares = dict(_near_enough(search, task))
    if not shares:
        raise BudgetError(_nearest(search))
    return _planned(search, _best(search, shares))


def _near_enough(search: Search, task: Task) -> Iterator[tuple[int, float]]:
    """Yield each multiple with the smallest share that meets the budget, as one process sees it."""
    first, *others = MULTIPLES
    start = search.bisect(task, 0.0, LARGEST_SHARE, first, STEPS)
    if start is not None:
        yield first, start
    for multiple in others:
        low, high = 0.0, LARGEST_SHARE
        if start is not None:
            low, high = (start, start + NEAR) if multiple > first else (start - NEAR, start)
        share = search.bisect(task, max(0.0, low), min(LARGEST_SHARE, high), multiple, STEPS_NEAR)
        if share is not None:
            yield multiple, share


def _best(search: Search, shares: dict[int, float]) -> tuple[float, int]:
    """Return the point that is judged best once it surely meets the budget: that may take a larger share.

    By how much one process promised too much is learnt from the point that is measured in several, and holds
    for the points of the other multiples.
    """
    judgement = cache(lambda multiple, share: judged(search, (share, multiple)))

    def best() -> int:
        return max(shares, key=lambda multiple: judgement(multiple, shares[multiple]))

    for _ in range(TRIES if search.budget.asks_time else 0):
        multiple = best()
        share = shares[multiple]
        if search.meets(share, multiple, surely=True):
            return share, multiple
        over = search.budget.time_over_goal(search.points[share, multiple].timing, surely=True)
        aim = AIM * search.seen[share, multiple] / max(over, 1.0)
        shares = {of: search.share_for(aim, known, of) for of, known in shares.items()}
        shares[multiple] = max(shares[multiple], search.more_than(share, multiple))
        for of, known in shares.items():
            if (known, of) not in search.points:
                search.meets(known, of)
    return shares[best()], best()


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
