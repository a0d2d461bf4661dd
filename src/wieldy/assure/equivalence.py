"""Does the package still behave like the original? Saved files, in the runtime, on the test set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.assure.statistics import calibration_error, holm, mcnemar, paired_mean, proportion, reliability
from wieldy.core.data import ACCURACY, Data, Rows, Split, check_labels, count, each, joined
from wieldy.core.errors import ShapeError
from wieldy.core.records import Evidence, Interval
from wieldy.package.read import read
from wieldy.runtime.integers import stored_integers
from wieldy.runtime.session import open as open_package

Logits = NDArray[np.float32]
BATCH = 250
LOGIT_TOLERANCE = 1e-4  # relative: max|a - b| / max|b|
LEVEL_TOLERANCE = 0.05  # where values are rounded to 256 levels on both sides
NEAR = 0.1  # of the original's outputs, by length: what half of the examples must reach
WORST = 10


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
        Evidence on the metric and on the runtime itself, and in between, where targets are class labels, on
        predictions, classes and calibration; elsewhere on how near the outputs are to the original's.

    Raises:
        PackageError: a file is no sound package.
        ShapeError, DataError: the data does not fit the networks.

    Cost: one pass of both networks over the test set, and one of the package in torch.
    """
    digests = {"package": read(package).sha256, "original": read(original).sha256}
    before, targets = run_split(original, data.test)
    after, _ = run_split(package, data.test)
    shapes = [tuple(array.shape for array in each(side)) for side in (before, after)]
    if shapes[0] != shapes[1]:
        raise ShapeError(f"examine: both must yield the same shapes; got {shapes[0]} and {shapes[1]}.")
    found = [_metric(before, after, targets, data, max_drop_points, seed)]
    if data.metric.labels:
        found += _of_classes(before, after, targets, data)
    else:
        found.append(_outputs(read(package).program.outputs, before, after))
    found.append(_runtime(package, after, data.test, has_classes=data.metric.labels))
    return tuple(item.model_copy(update={"digests": digests}) for item in found)


def _of_classes(before: Rows, after: Rows, targets: Rows, data: Data) -> list[Evidence]:
    """Return what can be said where outputs are rows of class logits."""
    if isinstance(before, tuple) or isinstance(after, tuple) or before.ndim != 2:
        raise ShapeError(
            "examine: where targets are class labels, outputs must be (n, classes); got "
            f"{[array.shape for array in each(before)]}. Give Data a Metric with labels=False."
        )
    assert isinstance(targets, np.ndarray)
    check_labels(data.test.labels, before.shape[1], "test")
    return [
        _predictions(before, after, targets),
        _classes(before, after, targets, data.classes),
        _calibration(before, after, targets),
    ]


def run_split(path: str | Path, split: Split) -> tuple[Rows, Rows]:
    """Return a package's outputs on a split, in the runtime, and the targets."""
    session = open_package(path)
    return _collect(lambda x: session(*each(x)), split)


def _collect(run: Callable[[Rows], Rows], split: Split) -> tuple[Rows, Rows]:
    outputs, targets = zip(*((run(x), y) for x, y in split.batches(BATCH)), strict=True)
    return joined(outputs), joined(targets)


def _outputs(names: Sequence[str], before: Rows, after: Rows) -> Evidence:
    """Example by example: |package - original| / |original|, the cosine between both, and the worst."""
    rows: list[dict[str, Any]] = []
    for name, old, new in zip(names, each(before), each(after), strict=True):
        a, b = (side.reshape(len(side), -1).astype(np.float64) for side in (old, new))
        lengths = [np.maximum(np.linalg.norm(side, axis=1), np.finfo(np.float32).tiny) for side in (a, b)]
        apart = np.linalg.norm(b - a, axis=1) / lengths[0]
        cosine = (a * b).sum(axis=1) / (lengths[0] * lengths[1])
        worst = np.argsort(-apart, kind="stable")[:WORST]
        rows.append(
            {
                "output": name,
                "error": _quantiles(apart, (0.5, 0.95, 1.0)),
                "cosine": _quantiles(cosine, (0.5, 0.05, 0.0)),
                "worst": [{"index": int(i), "error": float(apart[i])} for i in worst],
            }
        )
    largest = max(row["error"][0] for row in rows)
    return Evidence(
        claim=f"half of the examples keep every output within {NEAR:.0%} of the original's",
        verdict="proved" if largest <= NEAR else "refuted",
        numbers={"examples": count(before), "outputs": rows},
        assumptions=("the length of the difference, as a share of the original output's length",),
    )


def _quantiles(values: NDArray[np.float64], shares: tuple[float, ...]) -> list[float]:
    return [float(value) for value in np.quantile(values, shares)]


def _metric(before: Rows, after: Rows, targets: Rows, data: Data, allowed: float, seed: int) -> Evidence:
    metric = data.metric
    old, new = metric.scores(before, targets), metric.scores(after, targets)
    sign = 100 / metric.scale if metric.higher_is_better else -100 / metric.scale
    drop = paired_mean(sign * (old - new), seed)
    numbers: dict[str, Any] = {
        "metric": metric.name,
        "examples": count(targets),
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


def _runtime(package: str | Path, after: Rows, split: Split, *, has_classes: bool) -> Evidence:
    """The saved file in torch against the saved file in the runtime."""
    from wieldy.compress.load import torch_outputs

    reference, _ = _collect(torch_outputs(package), split)
    in_levels = bool(stored_integers(read(package)))
    tolerance = LEVEL_TOLERANCE if in_levels else LOGIT_TOLERANCE
    kind = "logit" if has_classes else "output"
    pairs = list(zip(each(after), each(reference), strict=True))
    apart = np.concatenate([np.abs(one - other).ravel() for one, other in pairs])
    scale = max(*(float(np.abs(other).max()) for _, other in pairs), float(np.finfo(np.float32).tiny))
    numbers: dict[str, Any] = {
        "largest": float(apart.max()),
        "mean": float(apart.mean()),
        "largest_relative": float(apart.max()) / scale,
    }
    if has_classes:
        (one, other), *_ = pairs
        numbers["predictions_that_differ"] = int((one.argmax(axis=1) != other.argmax(axis=1)).sum())
    return Evidence(
        claim=f"runtime and torch agree to {tolerance:g} of the largest {kind}",
        verdict="proved" if float(apart.max()) <= tolerance * scale else "refuted",
        numbers=numbers,
        assumptions=(
            ("a number halfway between two levels may be rounded either way",)
            if in_levels
            else ("fp32 on both sides",)
        ),
    )
