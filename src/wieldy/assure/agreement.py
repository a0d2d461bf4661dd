"""How much is lost: by the metric, by the outputs themselves, and between the runtime and torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.assure.pair import BATCH, Pair
from wieldy.assure.statistics import paired_mean, proportion
from wieldy.core.data import ACCURACY, Rows, count, each, joined
from wieldy.core.records import Evidence, Interval
from wieldy.runtime.integers import stored_integers

LOGIT_TOLERANCE = 1e-4  # relative: max|a - b| / max|b|
LEVEL_TOLERANCE = 0.05  # where values are rounded to 256 levels on both sides
NEAR = 0.1  # of the original's outputs, by length: what half of the examples must reach
WORST = 10


def metric(pair: Pair, allowed_points: float) -> Evidence:
    """Return what the metric says of both, and how many points are lost."""
    of = pair.data.metric
    old, new = of.scores(pair.before, pair.targets), of.scores(pair.after, pair.targets)
    sign = 100 / of.scale if of.higher_is_better else -100 / of.scale
    drop = paired_mean(sign * (old - new), pair.seed)
    numbers: dict[str, Any] = {
        "metric": of.name,
        "examples": count(pair.targets),
        "original": _share(old, of is ACCURACY, pair.seed).model_dump(),
        "package": _share(new, of is ACCURACY, pair.seed).model_dump(),
        "drop_points": drop.model_dump(),
        "allowed_points": allowed_points,
    }
    return Evidence(
        kind="metric",
        claim=f"{of.name} on the test set falls by at most {allowed_points:g} points",
        verdict="proved" if drop.value <= allowed_points else "refuted",
        numbers=numbers,
        assumptions=(
            "the test set is drawn as the inputs in use are",
            "the verdict is on the measured value",
        ),
    )


def _share(scores: NDArray[np.float64], shares: bool, seed: int) -> Interval:
    return proportion(int(scores.sum()), len(scores)) if shares else paired_mean(scores, seed)


def outputs(pair: Pair) -> Evidence:
    """Example by example: |package - original| / |original|, the cosine between both, and the worst."""
    rows = [
        _output(name, old, new)
        for name, old, new in zip(
            pair.package.program.outputs, each(pair.before), each(pair.after), strict=True
        )
    ]
    largest = max(row["error"][0] for row in rows)
    return Evidence(
        kind="outputs",
        claim=f"half of the examples keep every output within {NEAR:.0%} of the original's",
        verdict="proved" if largest <= NEAR else "refuted",
        numbers={"examples": count(pair.before), "outputs": rows},
        assumptions=("the length of the difference, as a share of the original output's length",),
    )


def _output(name: str, old: NDArray[Any], new: NDArray[Any]) -> dict[str, Any]:
    a, b = (side.reshape(len(side), -1).astype(np.float64) for side in (old, new))
    lengths = [np.maximum(np.linalg.norm(side, axis=1), np.finfo(np.float32).tiny) for side in (a, b)]
    apart = np.linalg.norm(b - a, axis=1) / lengths[0]
    cosine = (a * b).sum(axis=1) / (lengths[0] * lengths[1])
    worst = np.argsort(-apart, kind="stable")[:WORST]
    return {
        "output": name,
        "error": _quantiles(apart, (0.5, 0.95, 1.0)),
        "cosine": _quantiles(cosine, (0.5, 0.05, 0.0)),
        "worst": [{"index": int(i), "error": float(apart[i])} for i in worst],
    }


def _quantiles(values: NDArray[np.float64], shares: Sequence[float]) -> list[float]:
    return [float(value) for value in np.quantile(values, shares)]


def runtime(pair: Pair) -> Evidence:
    """The saved file in torch against the saved file in the runtime."""
    in_levels = bool(stored_integers(pair.package))
    tolerance = LEVEL_TOLERANCE if in_levels else LOGIT_TOLERANCE
    kind = "logit" if pair.are_classes else "output"
    pairs = list(zip(each(pair.after), each(_in_torch(pair)), strict=True))
    apart = np.concatenate([np.abs(one - other).ravel() for one, other in pairs])
    scale = max(*(float(np.abs(other).max()) for _, other in pairs), float(np.finfo(np.float32).tiny))
    numbers: dict[str, Any] = {
        "largest": float(apart.max()),
        "mean": float(apart.mean()),
        "largest_relative": float(apart.max()) / scale,
    }
    if pair.are_classes:
        (one, other), *_ = pairs
        numbers["predictions_that_differ"] = int((one.argmax(axis=1) != other.argmax(axis=1)).sum())
    return Evidence(
        kind="runtime",
        claim=f"runtime and torch agree to {tolerance:g} of the largest {kind}",
        verdict="proved" if float(apart.max()) <= tolerance * scale else "refuted",
        numbers=numbers,
        assumptions=(
            ("a number halfway between two levels may be rounded either way",)
            if in_levels
            else ("fp32 on both sides",)
        ),
    )


def _in_torch(pair: Pair) -> Rows:
    from wieldy.compress.load import torch_outputs

    run = torch_outputs(pair.package.path)
    return joined([run(inputs) for inputs, _ in pair.data.test.batches(BATCH)])
