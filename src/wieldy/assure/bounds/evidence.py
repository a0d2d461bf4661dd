"""Are as many predictions certain as before? Bounds on both networks around the same examples.

Sources: of the bounds, enclosure.py; certified accuracy, Gowal et al. 2018 (arXiv 1810.12715), section 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wieldy.assure.bounds.enclosure import Around, Method, arounds, too_large
from wieldy.assure.bounds.steps import Steps, steps_of
from wieldy.assure.checks import EPSILONS
from wieldy.assure.pair import Pair
from wieldy.assure.pixels import Pixels, pixels_of
from wieldy.core import lock
from wieldy.core.data import Rows, count, part
from wieldy.core.errors import UnsupportedOpError
from wieldy.core.records import Evidence, Verdict

CLAIM = "as many predictions are certified as before"
MOST = 10  # examples by default
MOST_SPENT = 10**11  # multiply-adds of CROWN over all examples, after which no further one is begun
MOST_INTERVAL_MACS = 5 * 10**9  # of a network whose boxes are computed; in float64, and twice
SIDES = ("original", "package")
METHODS: tuple[Method, ...] = ("ibp", "crown", "both")
Ends = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass
class _Side:
    """One network: at how many radii each example is certified, and how wide its bounds are at the first."""

    steps: Steps
    reached: list[int] = field(default_factory=list)
    widths: list[dict[Method, float]] = field(default_factory=list)


def evidence(
    pair: Pair, most: int = MOST, epsilons: Sequence[float] = EPSILONS, *, most_spent: float = MOST_SPENT
) -> Evidence:
    """Return for which share of examples bounds prove that no input within a radius gets another class.

    An example is certified at a radius where its label's logit exceeds every other one for all inputs that
    are as near in every pixel (of which none leaves [0, 1]), or in every input where these are no pictures;
    at no radius beyond one at which it is not. Bounds are the better of intervals and CROWN on both networks,
    or intervals alone where either is too large for CROWN. Examples are taken until CROWN has spent
    `most_spent`.

    Proved where at no radius a smaller share is certified than of the original, refuted where at one;
    unknown where nothing at all is certified.

    Args:
        pair: opened.
        most: how many test examples are looked at, of those that were drawn.
        epsilons: radii, ascending; of pixels in [0, 1], or in the inputs' own units.
        most_spent: multiply-adds of CROWN, over all examples.

    Returns:
        Evidence of kind "bounds"; not measured where outputs are no class logits, or a network has an
        operator without bounds.

    Cost: as `enclose`, for each example of each network at each radius up to the first where it fails.
    """
    try:
        sides = tuple(_Side(steps_of(side.program, side.tensors)) for side in (pair.original, pair.package))
        reason = _why_not(pair, sides)
    except UnsupportedOpError as error:
        reason = str(error).removeprefix("bounds: ")
    if reason:
        return Evidence.not_measured("bounds", CLAIM, reason)
    of, sample = pixels_of(pair), pair.sample(most)
    no_crown = next(filter(None, (too_large(side.steps) for side in sides)), "")
    methods, spent = METHODS[:1] if no_crown else METHODS, 0
    for index, label in enumerate(np.asarray(sample.targets)):
        example = part(sample.inputs, slice(index, index + 1))
        boxes = [box_around(example, of, epsilon) for epsilon in epsilons]
        with lock.working():  # one example at a time: whoever waits to measure gets a turn
            spent += sum(_look(side, boxes, int(label), methods) for side in sides)
        if spent > most_spent:
            break
    rows = [_row(epsilon, reached, sides) for reached, epsilon in enumerate(epsilons)]
    return Evidence(
        kind="bounds",
        claim=CLAIM,
        verdict=_verdict(rows),
        numbers={
            "examples": len(sides[1].reached),
            "rows": rows,
            "mean_width": {method: _mean_width(sides[1], method) for method in METHODS},
            "epsilon": epsilons[0],
        },
        assumptions=_assumptions(of, no_crown, len(sides[1].reached), count(sample.inputs)),
    )


def box_around(inputs: Rows, of: Pixels | str, epsilon: float) -> Ends:
    """Return the ends of a ball around examples, as the network takes them, rounded outwards.

    Args:
        inputs: (n, ...) as the network takes them.
        of: how they become pixels, or why they are no pictures.
        epsilon: radius of pixels, or of inputs where these are no pictures.

    Example:
        >>> of = Pixels(np.float32([0.5]), np.float32([0.25]), "")
        >>> low, high = box_around(np.float32([[[[1.5]]]]), of, 0.25)
        >>> round(low.item(), 9), round(high.item(), 9)
        (0.5, 2.0)
    """
    x = np.asarray(inputs, np.float64)
    if isinstance(of, str):
        low, high = x - epsilon, x + epsilon
    else:
        mean, std = (side.astype(np.float64)[:, None, None] for side in (of.mean, of.std))
        low = np.maximum(x - epsilon / std, -mean / std)
        high = np.minimum(x + epsilon / std, (1 - mean) / std)
    low, high = np.minimum(low, x), np.maximum(high, x)  # the example itself, wherever it lies
    return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)


def _why_not(pair: Pair, sides: tuple[_Side, ...]) -> str:
    if not pair.are_classes:
        return "targets are no class labels"
    if pair.logits()[0].shape[1] == 1:
        return "a single class cannot be mistaken for another"
    if len(pair.original.program.inputs) > 1:
        return f"the network takes {len(pair.original.program.inputs)} inputs, and a radius is of one"
    largest = max(side.steps.macs[side.steps.output] for side in sides)
    if largest > MOST_INTERVAL_MACS:
        return f"at most {MOST_INTERVAL_MACS:.0e} multiply-adds are bounded; the network has {largest:.1e}"
    return ""


def _look(side: _Side, boxes: Sequence[Ends], label: int, methods: Sequence[Method]) -> int:
    """Note what is known of one network around one example, and return what CROWN spent."""
    found = [arounds(side.steps, *box)[0] for box in boxes]
    widths = {method: _width(found[0], method) for method in methods}
    widths.setdefault("both", widths["ibp"])
    side.widths.append(widths)
    reached = 0
    while reached < len(found) and _is_certified(found[reached], label, methods):
        reached += 1
    side.reached.append(reached)
    return sum(around.spent for around in found)


def _is_certified(around: Around, label: int, methods: Sequence[Method]) -> bool:
    """Whether a margin is certain by any method, the cheapest first."""
    return any(around.margins(label, method).min() > 0 for method in methods if method != "both")


def _width(around: Around, method: Method) -> float:
    box = around.output(method)
    return float((box.high - box.low).mean())


def _row(epsilon: float, reached: int, sides: Sequence[_Side]) -> dict[str, float]:
    """The shares certified at one radius: of those that reached further than the radii before it."""
    shares = (float(np.mean([of > reached for of in side.reached])) for side in sides)
    return {"epsilon": epsilon, **dict(zip(SIDES, shares, strict=True))}


def _mean_width(side: _Side, method: Method) -> float | None:
    """The mean over examples; None where it was not computed, or is beyond float64."""
    found = [widths[method] for widths in side.widths if method in widths]
    return float(np.mean(found)) if found and np.isfinite(found).all() else None


def _verdict(rows: Sequence[dict[str, float]]) -> Verdict:
    if any(row["package"] < row["original"] for row in rows):
        return "refuted"
    return "proved" if any(row["package"] > 0 for row in rows) else "unknown"


def _assumptions(of: Pixels | str, no_crown: str, looked_at: int, most: int) -> tuple[str, ...]:
    return (
        of.assumption if isinstance(of, Pixels) else f"radii are in the inputs' own units: {of}",
        f"bounds are by intervals alone: {no_crown}"
        if no_crown
        else "bounds are the better of IBP and CROWN",
        "an example that is not certified may be safe all the same",
        "bounds are of the network in real arithmetic, rounded outwards in float64: how far the float32 of a "
        "runtime is from that is measured elsewhere",
        *([f"{looked_at} of {most} examples: CROWN had spent what it may"] if looked_at < most else []),
    )
