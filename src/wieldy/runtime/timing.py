"""The arithmetic of paired timing: rounds of several processes in, one ratio with an interval out.

Single times lie on a shared machine, and so does best-of-many. Two things are therefore run in turns, and
the figure is the median over rounds of the ratio within a round. A round is A B B A: each side follows the
other once and itself once. Whoever follows itself finds its memory in the caches (a network of 13 MB of
values was 1.3 times as fast so); ratios of AB and of BA are then two heaps, and a median over both lies
anywhere between them.

Where buffers land differs from process to process, and so does who else was on the machine in those seconds.
Of fifteen pairs, each measured in twelve processes, the ratios of processes were 0.6 to 7 % apart (standard
deviation; most in eight bits), where the rounds within one promised 0.4 to 1.5 %. A figure is therefore the
median of several processes, and their least and largest are its interval.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wieldy.core.records import Interval

Run = Callable[[], object]
PROCESSES = 6  # the fewest whose least and largest hold the median in 95 of 100 cases
ROUNDS = 8  # in each
BLOCK_SECONDS = 0.008  # what one side runs within a round, at least
WARM_SECONDS = 0.12
RESAMPLES = 4000
FLOOR_MS = 0.4  # below this at batch 1 the cost of the call itself blurs the figure
BATCH_GOAL_MS = 2.0
LARGEST_BATCH = 1024


def time_pairs(first: Run, second: Run, rounds: int) -> NDArray[np.float64]:
    """Run both in rounds of A B B A and return (rounds, 2) milliseconds per call, means of a round."""
    return in_turns(
        partial(_block, first, _repeats(first)), partial(_block, second, _repeats(second)), rounds
    )


def in_turns(first: Callable[[], float], second: Callable[[], float], rounds: int) -> NDArray[np.float64]:
    """Do what `time_pairs` does with two that take their own times, in milliseconds per call."""
    sides = (first, second)
    times = np.zeros((rounds, 2))
    for index in range(rounds):
        for side in (0, 1, 1, 0):
            times[index, side] += sides[side]() / 2
    return times


def paired_ratio(times: NDArray[np.float64], seed: int = 0, level: float = 0.95) -> Interval:
    """Return the median of second over first in one process, with a bootstrap interval over its rounds.

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


def over_processes(ratios: Sequence[float]) -> Interval:
    """Return the median of what processes found, between the least and the largest of them.

    These hold the median of all processes in 1 - 2^(1 - n) of cases, however they are distributed (each is
    above it as often as below; the sign test).

    Example:
        >>> over_processes([0.52, 0.5, 0.49, 0.51, 0.53, 0.51])
        Interval(value=0.51, low=0.49, high=0.53, level=0.96875)
    """
    level = 1 - 2.0 ** (1 - len(ratios))
    return Interval(value=float(np.median(ratios)), low=min(ratios), high=max(ratios), level=level)


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
