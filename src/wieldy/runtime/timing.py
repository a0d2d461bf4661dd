"""The arithmetic of paired timing: rounds in, one ratio with an interval out.

Single times lie on a shared machine, and so does best-of-many. Two things are therefore run in turns, and
the figure is the median over rounds of the ratio within a round. A round is A B B A: each side follows the
other once and itself once. Whoever follows itself finds its memory in the caches (a network of 13 MB of
values was 1.3 times as fast so); ratios of AB and of BA are then two heaps, and a median over both lies
anywhere between them.
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wieldy.core.records import Interval

Run = Callable[[], object]
ROUNDS = 20
BLOCK_SECONDS = 0.008  # what one side runs within a round, at least
WARM_SECONDS = 0.12
RESAMPLES = 4000
FLOOR_MS = 0.4  # below this at batch 1 the cost of the call itself blurs the figure
BATCH_GOAL_MS = 2.0
LARGEST_BATCH = 1024


def time_pairs(first: Run, second: Run, rounds: int) -> NDArray[np.float64]:
    """Run both in rounds of A B B A and return (rounds, 2) milliseconds per call, means of a round."""
    sides = [(first, _repeats(first)), (second, _repeats(second))]
    times = np.zeros((rounds, 2))
    for index in range(rounds):
        for side in (0, 1, 1, 0):
            times[index, side] += _block(*sides[side]) / 2
    return times


def paired_ratio(times: NDArray[np.float64], seed: int = 0, level: float = 0.95) -> Interval:
    """Return the median of second over first, with a percentile bootstrap interval over rounds.

    Args:
        times: (rounds, 2), as `time_pairs` returns them.

    Example:
        >>> print(paired_ratio(np.array([[2.0, 1.0], [4.0, 2.0], [3.0, 1.5]])))
        0.5 [0.5, 0.5]
    """
    ratios = times[:, 1] / times[:, 0]
    draws = np.random.default_rng(seed).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=float(np.median(ratios)), low=float(low), high=float(high), level=level)


def choose_batch(time_at: Callable[[int], float]) -> int:
    """Return 1, or where one example is too quick to time, the smallest power of two that takes 2 ms.

    Example:
        >>> choose_batch(lambda batch: 0.1 * batch)
        32
    """
    if time_at(1) >= FLOOR_MS:
        return 1
    batch = 2
    while batch < LARGEST_BATCH and time_at(batch) < BATCH_GOAL_MS:
        batch *= 2
    return batch


def median_ms(run: Run, rounds: int = 9) -> float:
    """Return the median milliseconds of a call after warming up."""
    count = _repeats(run)
    return float(np.median([_block(run, count) for _ in range(rounds)]))


def _repeats(run: Run) -> int:
    """Warm up, and return how many calls fill a block."""
    run()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < WARM_SECONDS or calls < 3:
        run()
        calls += 1
    each = (time.perf_counter() - start) / calls
    return max(1, round(BLOCK_SECONDS / each))


def _block(run: Run, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) * 1e3 / count
