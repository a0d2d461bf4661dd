"""Whether a network is as sure as it is right: calibration before and after temperature, and how sure it is.

Sources: ECE, Naeini, Cooper, Hauskrecht, AAAI 2015; score, Brier 1950; temperature, Guo, Pleiss, Sun,
Weinberger, ICML 2017, section 4.2.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from wieldy.assure.pair import BATCH, MOST_SAMPLED, Pair
from wieldy.assure.statistics import (
    calibration_change,
    calibration_error,
    paired_mean,
    probabilities,
    reliability,
)
from wieldy.core.data import count, joined
from wieldy.core.records import Evidence, Interval

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]
Floats = NDArray[np.float64]
ALLOWED = 0.02  # growth of the calibration error, and shift of the mean confidence
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of confidence that are told


def calibration(pair: Pair) -> Evidence:
    """Return the expected calibration error and the Brier score of both, and what a temperature mends."""
    before, after, targets = pair.logits()
    sides = {"original": before, "package": after}
    bins = {name: reliability(logits, targets) for name, logits in sides.items()}
    errors = {name: calibration_error(rows) for name, rows in bins.items()}
    numbers: dict[str, Any] = {
        **errors,
        **{f"bins_{name}": rows for name, rows in bins.items()},
        "change": calibration_change(before, after, targets, pair.seed).model_dump(),
        "brier": _brier(before, after, targets, pair.seed),
        "temperature": _cooled(pair, sides, targets),
    }
    return Evidence(
        kind="calibration",
        claim=f"the calibration error grows by at most {ALLOWED:g}",
        verdict="proved" if errors["package"] - errors["original"] <= ALLOWED else "refuted",
        numbers=numbers,
        assumptions=("15 bins of equal width; outputs are logits", "no temperature was applied"),
    )


def confidence(pair: Pair) -> Evidence:
    """Return how sure both are, and how far the package is from the original."""
    before, after, _ = pair.logits()
    old, new = (probabilities(logits).max(axis=1) for logits in (before, after))
    shift = paired_mean(new - old, pair.seed)
    quantiles = {
        name: [float(value) for value in np.quantile(side, SHARES)]
        for name, side in (("original", old), ("package", new))
    }
    return Evidence(
        kind="confidence",
        claim=f"the mean confidence shifts by at most {ALLOWED:g}",
        verdict="proved" if abs(shift.value) <= ALLOWED else "refuted",
        numbers={
            "original": paired_mean(old, pair.seed).model_dump(),
            "package": paired_mean(new, pair.seed).model_dump(),
            "shift": shift.model_dump(),
            "moved": float(np.abs(new - old).mean()),
            "quantiles": {"shares": list(SHARES), **quantiles},
        },
        assumptions=("confidence is the largest softmax probability",),
    )


def brier_scores(logits: Logits, targets: Labels) -> Floats:
    """Return |p - onehot(y)|^2 of (n, classes) logits, (n,): 0 where sure and right, 2 where sure and wrong.

    Example:
        >>> brier_scores(np.float32([[1000, 0], [1000, 0]]), np.array([0, 1])).tolist()
        [0.0, 2.0]
    """
    chances = probabilities(logits)
    chances[np.arange(len(targets)), targets] -= 1
    return np.asarray((chances**2).sum(axis=1))


def fitted_temperature(logits: Logits, targets: Labels) -> float:
    """Return the T between 0.05 and 20 at which softmax(logits / T) makes the targets most likely.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(size=(20000, 3)).astype(np.float32)
        >>> targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from the softmax
        >>> abs(fitted_temperature(5 * logits, targets) - 5) < 0.3
        True
    """
    wide = logits.astype(np.float64)
    own = wide[np.arange(len(targets)), targets]

    def loss(log_temperature: float) -> float:
        cold = np.exp(-log_temperature)
        return float((special.logsumexp(wide * cold, axis=1) - own * cold).mean())

    ends = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    return float(np.exp(optimize.minimize_scalar(loss, bounds=ends, method="bounded").x))


def _brier(before: Logits, after: Logits, targets: Labels, seed: int) -> dict[str, Any]:
    old, new = (brier_scores(logits, targets) for logits in (before, after))
    found: dict[str, Interval] = {
        "original": paired_mean(old, seed),
        "package": paired_mean(new, seed),
        "change": paired_mean(new - old, seed),
    }
    return {name: value.model_dump() for name, value in found.items()}


def _cooled(pair: Pair, sides: dict[str, Logits], targets: Labels) -> dict[str, Any]:
    """Fit a temperature for each network on validation examples, and judge it on the test set."""
    found: dict[str, Any] = {}
    inputs, labels = _validation(pair)
    for run, (name, logits) in zip(pair.run, sides.items(), strict=True):
        held_out = run(inputs)
        assert isinstance(held_out, np.ndarray)
        temperature = fitted_temperature(held_out, labels)
        bins = reliability((logits / temperature).astype(np.float32), targets)
        found[name] = temperature
        found |= {f"ece_{name}": calibration_error(bins), f"bins_{name}": bins}
    return found | {"fitted_on": f"{len(labels):,} validation examples"}


def _validation(pair: Pair) -> tuple[Any, Labels]:
    """Return the first validation examples, as many as are looked at closely elsewhere."""
    kept, labels, size = [], [], 0
    for inputs, targets in pair.data.validate.batches(BATCH):
        kept.append(inputs)
        labels.append(targets)
        size += count(inputs)
        if size >= MOST_SAMPLED:
            break
    return joined(kept), np.asarray(joined(labels))
