"""How foreign an input looks, by its logits alone, and how well that tells outside from inside.

Every score is larger for what looks more foreign. Sources: largest softmax probability, Hendrycks, Gimpel,
ICLR 2017; energy, Liu, Wang, Owens, Li, NeurIPS 2020; largest logit, Hendrycks, Basart, Mazeika, Zou, Kwon,
Mostajabi, Steinhardt, Song, ICML 2022.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from wieldy.assure.statistics import RESAMPLES, probabilities
from wieldy.core import rng
from wieldy.core.records import Interval

Logits = NDArray[np.float32]
Floats = NDArray[np.float64]


def max_softmax(logits: Logits) -> Floats:
    """Return minus the largest softmax probability of (n, classes) logits, (n,)."""
    return np.asarray(-probabilities(logits).max(axis=1))


def energy(logits: Logits, temperature: float = 1.0) -> Floats:
    """Return -T log sum exp(logits / T) of (n, classes) logits, (n,).

    Example:
        >>> round(energy(np.zeros((1, 4), np.float32)).item(), 4)  # -log(4)
        -1.3863
    """
    wide = logits.astype(np.float64) / temperature
    return np.asarray(-temperature * special.logsumexp(wide, axis=1))


def max_logit(logits: Logits) -> Floats:
    """Return minus the largest of (n, classes) logits, (n,)."""
    return np.asarray(-logits.max(axis=1), np.float64)


SCORES: dict[str, Callable[[Logits], Floats]] = {
    "max softmax": max_softmax,
    "energy": energy,
    "max logit": max_logit,
}


def auroc(inside: Floats, outside: Floats) -> float:
    """Return P(outside > inside) + P(outside = inside) / 2: the area under the ROC curve.

    Args:
        inside, outside: (n,) and (m,) scores.

    Returns:
        1 where every outside score is above every inside one, 0.5 where they tell nothing.

    Cost: O((n + m) log(n + m)).

    Source: Mann, Whitney 1947; the rank sum with mean ranks for ties.

    Example:
        >>> auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        0.875
    """
    n, m = len(inside), len(outside)
    ranks = stats.rankdata(np.concatenate([inside, outside]))
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def auroc_change(
    before: tuple[Floats, Floats], after: tuple[Floats, Floats], seed: int = 0, level: float = 0.95
) -> Interval:
    """Return auroc(*after) - auroc(*before) with a percentile bootstrap interval.

    A resample draws inside and outside examples once for both networks. With counts u and v of how often
    each was drawn, and K the (n, m) matrix of 0, 1/2 and 1 that `auroc` averages, it is u (K' - K) v / nm.

    Args:
        before, after: (n,) inside and (m,) outside scores of the same examples.
        seed: of the resamples.
        level: of the interval.

    Cost: one product of (resamples, n) with (n, m).
    """
    change = _above(*after) - _above(*before)
    n, m = change.shape
    draw = rng.generator(seed, "auroc bootstrap")
    inside, outside = _counts(draw, n), _counts(draw, m)
    drawn = ((inside @ change) * outside).sum(axis=1, dtype=np.float64) / (n * m)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = auroc(*after) - auroc(*before)
    return Interval(value=value, low=float(low), high=float(high), level=level)


def _above(inside: Floats, outside: Floats) -> NDArray[np.float32]:
    """Return (n, m): 1 where the outside score is above the inside one, 1/2 where they are equal, else 0."""
    return (np.sign(outside[None, :] - inside[:, None]) / 2 + 0.5).astype(np.float32)


def _counts(draw: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Return (resamples, size): how often each of `size` examples is drawn when so many are."""
    drawn = draw.integers(0, size, (RESAMPLES, size)) + size * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * size)
    return counts.reshape(RESAMPLES, size).astype(np.float32)
