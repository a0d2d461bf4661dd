"""Which predictions changed, and for whom: over all classes, by class, and on slices of the user's own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wieldy.assure.pair import Mask, Pair
from wieldy.assure.pictures import data_uri
from wieldy.assure.pixels import Pixels, pixels_of
from wieldy.assure.statistics import holm, mcnemar, paired_mean, proportion
from wieldy.core.records import Evidence

LEVEL = 0.05
MOST_NAMED = 50
SLICES = "no slice got worse, and on none do more predictions flip than elsewhere (Holm over slices, at 5 %)"


def predictions(pair: Pair) -> Evidence:
    """Return how many predictions were fixed, broken or changed at all, and the first of them."""
    before, after, targets = pair.logits()
    old, new = before.argmax(axis=1), after.argmax(axis=1)
    fixed = int(((old != targets) & (new == targets)).sum())
    broken = int(((old == targets) & (new != targets)).sum())
    flipped = np.flatnonzero(old != new)
    chance = mcnemar(fixed, broken)
    pixels = pixels_of(pair)
    return Evidence(
        kind="predictions",
        claim="as many predictions were fixed as broken (McNemar, exact, at 5 %)",
        verdict="proved" if chance >= LEVEL else "refuted",
        numbers={
            "fixed": fixed,
            "broken": broken,
            "flips": len(flipped),
            "flip_share": proportion(len(flipped), len(targets)).model_dump(),
            "p_value": chance,
            "first_flipped": [
                {"index": int(i), "target": int(targets[i]), "original": int(old[i]), "package": int(new[i])}
                | _picture(pair.flipped.get(int(i)), pixels)
                for i in flipped[:MOST_NAMED]
            ],
        },
        assumptions=("examples are independent",),
    )


def _picture(inputs: NDArray[Any] | None, pixels: Pixels | str) -> dict[str, str]:
    if inputs is None or isinstance(pixels, str):
        return {}
    return {"picture": data_uri(pixels.from_inputs(inputs[None])[0])}


def by_class(pair: Pair) -> Evidence:
    """Return the accuracy of both on every class, and which of them got worse beyond chance."""
    before, after, targets = pair.logits()
    names = pair.data.classes
    old, new = before.argmax(axis=1) == targets, after.argmax(axis=1) == targets
    rows: list[dict[str, Any]] = []
    for k in np.unique(targets).tolist():
        row = {"class": names[k] if k < len(names) else str(k)}
        rows.append(row | _group(old, new, targets == k, seed=k))
    _adjust(rows, "p_value", "p_adjusted")
    worse = [row["class"] for row in rows if _is_worse(row)]
    return Evidence(
        kind="classes",
        claim="no class got worse (McNemar by class, Holm over classes, at 5 %)",
        verdict="refuted" if worse else "proved",
        numbers={"classes": rows, "worse": worse},
        assumptions=("a small class can lose much before it shows",),
    )


def by_slice(pair: Pair) -> Evidence:
    """Return the same on every slice that the data names, and where more predictions flip than elsewhere.

    A planted trigger shows as flips on the slice of stamped inputs; flips are compared with those outside
    the slice by Fisher's exact test, one-sided.
    """
    if not pair.slices:
        reason = "the data names no slices: neither groups nor triggers were looked for"
        return Evidence.not_measured("slices", SLICES, reason)
    rows = _labelled_slices(pair) if pair.are_classes else _scored_slices(pair)
    _adjust(rows, "p_value", "p_adjusted")
    _adjust(rows, "flips_p_value", "flips_p_adjusted")
    worse = [row["slice"] for row in rows if _is_worse(row) or row["flips_p_adjusted"] < LEVEL]
    return Evidence(
        kind="slices",
        claim=SLICES,
        verdict="refuted" if worse else "proved",
        numbers={"slices": rows, "worse": worse},
        assumptions=(
            "slices were named before the package was seen",
            "only what the data names as a slice was looked at: other groups and triggers were not",
        ),
    )


def _labelled_slices(pair: Pair) -> list[dict[str, Any]]:
    before, after, targets = pair.logits()
    old, new = before.argmax(axis=1), after.argmax(axis=1)
    rows = []
    for index, (name, mask) in enumerate(pair.slices.items()):
        flips = proportion(int((old != new)[mask].sum()), int(mask.sum()))
        row = {
            "slice": name,
            "flip_share": flips.model_dump(),
            "flips_p_value": _more_often(old != new, mask),
        }
        rows.append(row | _group(old == targets, new == targets, mask, seed=index))
    return rows


def _scored_slices(pair: Pair) -> list[dict[str, Any]]:
    """Judge slices by the user's own metric: points, with a paired t-test; nothing flips."""
    of = pair.data.metric
    scale = 100 / of.scale if of.higher_is_better else -100 / of.scale
    old, new = of.scores(pair.before, pair.targets), of.scores(pair.after, pair.targets)
    rows = []
    for index, (name, mask) in enumerate(pair.slices.items()):
        points = scale * (new - old)[mask]
        moved = len(points) > 1 and bool(points.any())
        row: dict[str, Any] = {
            "slice": name,
            "flip_share": None,
            "flips_p_value": 1.0,
            "examples": int(mask.sum()),
        }
        row |= {"original": float(old[mask].mean()), "package": float(new[mask].mean())}
        row |= {"change_points": paired_mean(points, index).model_dump()}
        rows.append(row | {"p_value": float(stats.ttest_1samp(points, 0).pvalue) if moved else 1.0})
    return rows


def _group(old: Mask, new: Mask, mask: Mask, seed: int) -> dict[str, Any]:
    """What became of the accuracy on some examples; `old` and `new` say which are right."""
    change = paired_mean(100 * (new[mask].astype(float) - old[mask].astype(float)), seed)
    return {
        "examples": int(mask.sum()),
        "original": float(old[mask].mean()),
        "package": float(new[mask].mean()),
        "change_points": change.model_dump(),
        "p_value": mcnemar(int((new & ~old & mask).sum()), int((old & ~new & mask).sum())),
    }


def _more_often(flips: Mask, mask: Mask) -> float:
    """Return the one-sided p-value that flips are no more frequent inside a mask than outside."""
    table = [[int((flips & side).sum()), int((~flips & side).sum())] for side in (mask, ~mask)]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def _adjust(rows: list[dict[str, Any]], of: str, adjusted: str) -> None:
    for row, value in zip(rows, holm([row[of] for row in rows]), strict=True):
        row[adjusted] = value


def _is_worse(row: dict[str, Any]) -> bool:
    return bool(row["p_adjusted"] < LEVEL and row["change_points"]["value"] < 0)
