"""Intervals and error rates that evidence is made of."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wieldy.core import rng
from wieldy.core.records import Interval

Floats = NDArray[np.float64]
RESAMPLES = 2000
DRAWN_AT_ONCE = 200_000  # numbers: they stay in the cache


def proportion(successes: int, total: int, level: float = 0.95) -> Interval:
    """Return a share with its Wilson score interval.

    Example:
        >>> print(proportion(90, 100))
        0.9 [0.8256, 0.9448]
    """
    found = stats.binomtest(successes, total).proportion_ci(level, method="wilson")
    return Interval(value=successes / total, low=float(found.low), high=float(found.high), level=level)


def resamples(size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield `RESAMPLES` draws with replacement of all of so many examples, (some, size) at a time."""
    draw = rng.generator(seed, "paired bootstrap")
    at_once = max(1, DRAWN_AT_ONCE // size)
    for start in range(0, RESAMPLES, at_once):
        yield draw.integers(0, size, (min(at_once, RESAMPLES - start), size))


def paired_mean(differences: Floats, seed: int = 0, level: float = 0.95) -> Interval:
    """Return the mean of paired differences with a percentile bootstrap interval over examples."""
    means = np.concatenate([differences[drawn].mean(axis=1) for drawn in resamples(len(differences), seed)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=float(differences.mean()), low=float(low), high=float(high), level=level)


def mcnemar(fixed: int, broken: int) -> float:
    """Return the exact two-sided p-value that as many predictions were fixed as broken.

    Source: McNemar 1947; the exact form is a binomial test on the discordant pairs.

    Example:
        >>> mcnemar(5, 5)
        1.0
    """
    return float(stats.binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0


def holm(p_values: list[float]) -> list[float]:
    """Return p-values adjusted for testing several at once (Holm 1979).

    Example:
        >>> holm([0.01, 0.5])
        [0.02, 0.5]
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(np.argsort(p_values).tolist()):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def probabilities(logits: NDArray[np.float32]) -> Floats:
    """Return the softmax of (n, classes) logits in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def reliability(
    logits: NDArray[np.float32], targets: NDArray[np.int64], bins: int = 15
) -> list[dict[str, float]]:
    """Return, for bins of equal width in confidence, how many fell there, their confidence and accuracy."""
    chances = probabilities(logits)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == targets
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for k in range(bins):
        inside = place == k
        if inside.any():
            row = {"count": int(inside.sum()), "confidence": float(confidence[inside].mean())}
            rows.append(row | {"accuracy": float(right[inside].mean())})
    return rows


def calibration_change(
    before: NDArray[np.float32], after: NDArray[np.float32], targets: NDArray[np.int64], seed: int = 0,
    bins: int = 15, level: float = 0.95,
) -> Interval:  # fmt: skip
    """Return how much the calibration error grows from one to the other, with a paired bootstrap interval.

    In a bin, (share of examples) * |accuracy - confidence| is |sum of (right - confidence)| / n: one product
    of the counts of a resample with these sums gives all bins.
    """
    sums = []
    for logits in (before, after):
        chances = probabilities(logits)
        sure = chances.max(axis=1)
        place = np.minimum((sure * bins).astype(int), bins - 1)
        gaps = np.zeros((len(targets), bins))
        gaps[np.arange(len(targets)), place] = (chances.argmax(axis=1) == targets) - sure
        sums.append(gaps)
    n = len(targets)

    def change(counts: NDArray[Any]) -> float:
        old, new = (float(np.abs(counts @ gaps).sum()) / n for gaps in sums)
        return new - old

    resampled = [
        change(np.bincount(row, minlength=n).astype(float)) for drawn in resamples(n, seed) for row in drawn
    ]
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=change(np.ones(n)), low=float(low), high=float(high), level=level)


def calibration_error(rows: list[dict[str, float]]) -> float:
    """Return the expected calibration error of `reliability`'s rows.

    ECE = sum over bins of (share of examples) * |accuracy - confidence|.
    Source: Naeini, Cooper, Hauskrecht, AAAI 2015.
    """
    total = sum(row["count"] for row in rows)
    return float(sum(row["count"] / total * abs(row["accuracy"] - row["confidence"]) for row in rows))
