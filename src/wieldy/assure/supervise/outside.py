"""Are inputs from elsewhere still told from the network's own? AUROC of three scores, for both networks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.assure.pair import Pair
from wieldy.assure.supervise.scores import SCORES, auroc, auroc_change
from wieldy.core import rng
from wieldy.core.data import Arrays, Rows, check_fit, count, each, part
from wieldy.core.records import Evidence, Interval, Verdict

ALLOWED = 0.02
CLAIM = f"no AUROC of inputs from elsewhere falls by more than {ALLOWED:g}"
GIVEN = "outside sets are what the data names: a network may do otherwise on others"
MADE = (
    "the data names no outside sets: noise and shuffled inputs were made from test inputs; they are far from "
    "these, and say little of near ones"
)


def evidence(pair: Pair, most: int) -> Evidence:
    """Return, for each outside set, how well each network's scores tell it from test examples.

    Outside sets are those of the data. Where it names none and inputs are float32, two are made: "noise",
    normal with the mean and the deviation that each channel has over the sample, and "shuffled", the sample
    with its positions permuted, in each example and channel anew.

    Proved where no measured AUROC falls by more than 0.02; refuted where the interval of one fall lies wholly
    beyond that; unknown between the two. Intervals are not widened for their number.

    Args:
        pair: opened.
        most: how many examples of the test set, and of each outside set, are looked at.

    Returns:
        Evidence of kind "outside"; not measured where targets are no labels, or where there is no set.

    Raises:
        ShapeError: an outside set does not fit the networks.

    Cost: one run of both networks on each outside example.
    """
    if not pair.are_classes:
        return Evidence.not_measured("outside", CLAIM, "targets are no class labels")
    before, after, _ = pair.logits()
    given = _given(pair, before.shape[1], most)
    sets = given or made(pair.sample(most).inputs, pair.seed)
    if not sets:
        reason = "the data names no outside sets, and none can be made from inputs that are not float32"
        return Evidence.not_measured("outside", CLAIM, reason)
    chosen = pair.drawn[:most]
    inside = (before[chosen], after[chosen])
    rows, changes = [], []
    for name, inputs in sets.items():
        outside = [np.asarray(run(inputs)) for run in pair.run]
        found = {score: _judged(score, inside, outside, pair.seed) for score in SCORES}
        changes += [change for _, change in found.values()]
        rows.append({"set": name, "examples": count(inputs), "scores": [row for row, _ in found.values()]})
    return Evidence(
        kind="outside",
        claim=CLAIM,
        verdict=_verdict(changes),
        numbers={"sets": rows},
        assumptions=(GIVEN if given else MADE, f"{len(chosen):,} test examples stand for the inside"),
    )


def made(inputs: Rows, seed: int) -> dict[str, Rows]:
    """Return "noise" and "shuffled" inputs, as many as there are; none where an input is not float32.

    Where inputs are rows of features, (n, features), the features are what is shuffled.
    """
    arrays = each(inputs)
    if any(array.dtype != np.float32 or array.ndim < 2 for array in arrays):
        return {}
    makers = {"noise": _noise, "shuffled": _shuffled}
    found = {}
    for name, maker in makers.items():
        draw = rng.generator(seed, "outside", name)
        several = tuple(maker(array, draw).astype(np.float32) for array in arrays)
        found[name] = several if isinstance(inputs, tuple) else several[0]
    return found


def _noise(array: NDArray[Any], draw: np.random.Generator) -> NDArray[Any]:
    axes = (0, *range(2, array.ndim))
    mean, deviation = array.mean(axis=axes, keepdims=True), array.std(axis=axes, keepdims=True)
    return np.asarray(mean + deviation * draw.standard_normal(array.shape))


def _shuffled(array: NDArray[Any], draw: np.random.Generator) -> NDArray[Any]:
    channels = array.shape[1] if array.ndim > 2 else 1
    places = array.reshape(len(array), channels, -1)
    return draw.permuted(places, axis=2).reshape(array.shape)


def _given(pair: Pair, classes: int, most: int) -> Mapping[str, Rows]:
    """Return what the data names, at most so many of each set, drawn."""
    cards = pair.original.manifest.inputs
    found = {}
    for name, inputs in pair.data.outside.items():
        split = Arrays(inputs, np.zeros(len(inputs), np.int64))
        check_fit(
            split, [card.shape for card in cards], classes, f"outside {name!r}", [c.dtype for c in cards]
        )
        order = rng.generator(pair.seed, "outside", name).permutation(len(inputs))
        found[name] = part(inputs, order[:most])
    return found


def _judged(
    score: str, inside: tuple[NDArray[Any], NDArray[Any]], outside: list[NDArray[Any]], seed: int
) -> tuple[dict[str, Any], Interval]:
    of = SCORES[score]
    before, after = ((of(own), of(other)) for own, other in zip(inside, outside, strict=True))
    change = auroc_change(before, after, seed)
    row = {"score": score, "original": auroc(*before), "package": auroc(*after)}
    return row | {"change": change.model_dump()}, change


def _verdict(changes: list[Interval]) -> Verdict:
    if all(change.value >= -ALLOWED for change in changes):
        return "proved"
    return "refuted" if any(change.high < -ALLOWED for change in changes) else "unknown"
