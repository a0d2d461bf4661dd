"""Does the package still behave like the original? Saved files, in the runtime, on the test set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.assure.statistics import calibration_error, holm, mcnemar, paired_mean, proportion, reliability
from wieldy.core.data import ACCURACY, Data, Split, check_labels
from wieldy.core.errors import ShapeError
from wieldy.core.records import Evidence, Interval
from wieldy.package.read import read
from wieldy.runtime.session import open as open_package

Logits = NDArray[np.float32]
BATCH = 250
LOGIT_TOLERANCE = 1e-4  # relative: max|a - b| / max|b|


def examine(
    package: str | Path, original: str | Path, data: Data, *, max_drop_points: float = 1.0, seed: int = 0
) -> tuple[Evidence, ...]:
    """Compare a package with the one that it was made from, on `data.test`.

    Args:
        package, original: saved files; both run in the named runtime in fp32.
        data: its test set is read once; its metric judges.
        max_drop_points: how many points of the metric may be lost for "proved".
        seed: of the bootstrap.

    Returns:
        Evidence on accuracy, on predictions, on classes, on calibration and on the runtime itself.

    Raises:
        PackageError: a file is no sound package.
        ShapeError, DataError: the data does not fit the networks.

    Cost: one pass of both networks over the test set, and one of the package in torch.
    """
    digests = {"package": read(package).sha256, "original": read(original).sha256}
    before, targets = run_split(original, data.test)
    after, _ = run_split(package, data.test)
    if before.ndim != 2 or before.shape != after.shape:
        raise ShapeError(f"examine: both must yield (n, classes); got {before.shape} and {after.shape}.")
    check_labels(data.test.labels, before.shape[1], "test")
    found = [
        _metric(before, after, targets, data, max_drop_points, seed),
        _predictions(before, after, targets),
        _classes(before, after, targets, data.classes),
        _calibration(before, after, targets),
        _runtime(package, after, data.test),
    ]
    return tuple(item.model_copy(update={"digests": digests}) for item in found)


def run_split(path: str | Path, split: Split) -> tuple[Logits, NDArray[np.int64]]:
    """Return a package's outputs on a split, in the runtime, and the targets."""
    session = open_package(path)
    return _collect(lambda x: np.asarray(session(x)), split)


def _collect(run: Callable[[NDArray[np.float32]], Any], split: Split) -> tuple[Logits, NDArray[np.int64]]:
    outputs, targets = zip(*((run(x), y) for x, y in split.batches(BATCH)), strict=True)
    return np.concatenate(outputs), np.concatenate(targets)


def _metric(
    before: Logits, after: Logits, targets: NDArray[np.int64], data: Data, allowed: float, seed: int
) -> Evidence:
    metric = data.metric
    old, new = metric.scores(before, targets), metric.scores(after, targets)
    sign = 100 / metric.scale if metric.higher_is_better else -100 / metric.scale
    drop = paired_mean(sign * (old - new), seed)
    numbers: dict[str, Any] = {
        "metric": metric.name,
        "examples": len(targets),
        "original": _share(old, metric is ACCURACY, seed).model_dump(),
        "package": _share(new, metric is ACCURACY, seed).model_dump(),
        "drop_points": drop.model_dump(),
        "allowed_points": allowed,
    }
    return Evidence(
        claim=f"{metric.name} on the test set falls by at most {allowed:g} points",
        verdict="proved" if drop.value <= allowed else "refuted",
        numbers=numbers,
        assumptions=(
            "the test set is drawn as the inputs in use are",
            "the verdict is on the measured value",
        ),
    )


def _share(scores: NDArray[np.float64], shares: bool, seed: int) -> Interval:
    return proportion(int(scores.sum()), len(scores)) if shares else paired_mean(scores, seed)


def _predictions(before: Logits, after: Logits, targets: NDArray[np.int64]) -> Evidence:
    old, new = before.argmax(axis=1), after.argmax(axis=1)
    fixed = int(((old != targets) & (new == targets)).sum())
    broken = int(((old == targets) & (new != targets)).sum())
    flips = int((old != new).sum())
    flipped = np.flatnonzero(old != new)
    chance = mcnemar(fixed, broken)
    return Evidence(
        claim="as many predictions were fixed as broken (McNemar, exact, at 5 %)",
        verdict="proved" if chance >= 0.05 else "refuted",
        numbers={
            "fixed": fixed,
            "broken": broken,
            "flips": flips,
            "flip_share": proportion(flips, len(targets)).model_dump(),
            "p_value": chance,
            "first_flipped": [
                {"index": int(i), "target": int(targets[i]), "original": int(old[i]), "package": int(new[i])}
                for i in flipped[:50]
            ],
        },
        assumptions=("examples are independent",),
    )


def _classes(before: Logits, after: Logits, targets: NDArray[np.int64], names: tuple[str, ...]) -> Evidence:
    old, new = before.argmax(axis=1) == targets, after.argmax(axis=1) == targets
    rows: list[dict[str, Any]] = []
    for k in np.unique(targets).tolist():
        of_class = targets == k
        change = paired_mean(100 * (new[of_class].astype(float) - old[of_class].astype(float)), k)
        fixed, broken = int((new & ~old & of_class).sum()), int((old & ~new & of_class).sum())
        rows.append(
            {
                "class": names[k] if k < len(names) else str(k),
                "examples": int(of_class.sum()),
                "original": float(old[of_class].mean()),
                "package": float(new[of_class].mean()),
                "change_points": change.model_dump(),
                "p_value": mcnemar(fixed, broken),
            }
        )
    for row, adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_adjusted"] = adjusted
    worse = [row["class"] for row in rows if row["p_adjusted"] < 0.05 and row["change_points"]["value"] < 0]
    return Evidence(
        claim="no class got worse (McNemar by class, Holm over classes, at 5 %)",
        verdict="refuted" if worse else "proved",
        numbers={"classes": rows, "worse": worse},
        assumptions=("a small class can lose much before it shows",),
    )


def _calibration(before: Logits, after: Logits, targets: NDArray[np.int64]) -> Evidence:
    old, new = reliability(before, targets), reliability(after, targets)
    first, second = calibration_error(old), calibration_error(new)
    return Evidence(
        claim="the calibration error grows by at most 0.02",
        verdict="proved" if second - first <= 0.02 else "refuted",
        numbers={"original": first, "package": second, "bins_original": old, "bins_package": new},
        assumptions=("15 bins of equal width; outputs are logits",),
    )


def _runtime(package: str | Path, after: Logits, split: Split) -> Evidence:
    """The saved file in torch against the saved file in the runtime."""
    from wieldy.compress.load import torch_outputs

    reference, _ = _collect(torch_outputs(package), split)
    apart = np.abs(after - reference)
    scale = max(float(np.abs(reference).max()), float(np.finfo(np.float32).tiny))
    return Evidence(
        claim=f"runtime and torch agree to {LOGIT_TOLERANCE:g} of the largest logit",
        verdict="proved" if float(apart.max()) <= LOGIT_TOLERANCE * scale else "refuted",
        numbers={
            "largest": float(apart.max()),
            "mean": float(apart.mean()),
            "largest_relative": float(apart.max()) / scale,
            "predictions_that_differ": int((after.argmax(axis=1) != reference.argmax(axis=1)).sum()),
        },
        assumptions=("fp32 on both sides",),
    )
