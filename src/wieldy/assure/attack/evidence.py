"""Is the package as hard to deceive as the original? FGSM, PGD and APGD-CE on both, each on its own twin.

Sources: of the attacks, gradient.py; of what makes them doubtful, search.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wieldy.assure.attack.search import LIMIT, Effort, Outcome, Subject, attacked
from wieldy.assure.attack.twin import Twin, twin_of
from wieldy.assure.checks import EPSILONS
from wieldy.assure.pair import Mask, Pair
from wieldy.assure.pixels import Pixels, pixels_of
from wieldy.assure.statistics import paired_mean, proportion
from wieldy.core import lock
from wieldy.core.data import part
from wieldy.core.records import Evidence, Interval, Verdict
from wieldy.graph.fake_quantize import roundings
from wieldy.graph.tensors import tensors

ALLOWED_POINTS = 1.0
MOST = 50  # examples by default
AGREEMENT = 0.999  # share of pictures on which twin and saved file must give the same answer
STRONGEST = "apgd"
CHANCE = 0.05  # that a package as hard to deceive is refuted, over all radii
LEFT = 0.05  # share of the examples that may stand at radius 0.5
SIDES = ("original", "package")
EFFORT = Effort()
Key = tuple[str, float]  # attack and radius


def evidence(
    pair: Pair,
    most: int = MOST,
    epsilons: Sequence[float] = EPSILONS,
    *,
    effort: Effort = EFFORT,
    max_drop_points: float = ALLOWED_POINTS,
) -> Evidence:
    """Return the robust accuracy of both networks: how often each is right, in the runtime, under attack.

    Both are attacked on the same pictures from the same random points, each on its own twin. The verdict goes
    by the drop under APGD at each radius: proved where no measured drop is above `max_drop_points`, refuted
    where the paired bootstrap interval of one, widened for the number of radii, lies wholly above it. It is
    unknown between the two, where a twin and its saved file differ on more than one answer in a thousand, and
    where gradients do no better than noise.

    Args:
        pair: opened.
        most: how many test examples are attacked, of those that were drawn.
        epsilons: radii, of pixels in [0, 1], ascending.
        effort: how long attacks go on.
        max_drop_points: how many points of robust accuracy may be lost.

    Returns:
        Evidence of kind "attacks"; not measured where targets are no labels or inputs no pictures.

    Cost: of each network, for each attacked example at each radius, at most 17 gradients with the default
    effort, fewer where it falls before; and one forward pass in torch over the examples that were drawn.
    """
    claim = f"robust accuracy falls by at most {max_drop_points:g} points at any radius"
    reason = _why_not(pair)
    of = pixels_of(pair)
    if reason or isinstance(of, str):
        return Evidence.not_measured("attacks", claim, reason or str(of))
    before, after = _outcomes(pair, of, most, epsilons, effort)
    rows = [_row(before, after, key, pair.seed) for key in before.attacked]
    doubts = _doubts(before, after, epsilons[-1])
    level = 1 - CHANCE / len(epsilons)
    drops = [_drop(before, after, (STRONGEST, epsilon), pair.seed, level) for epsilon in epsilons]
    return Evidence(
        kind="attacks",
        claim=claim,
        verdict="unknown" if doubts else _verdict(drops, max_drop_points),
        numbers={
            "examples": len(before.clean),
            "norm": "linf",
            "steps": effort.apgd,
            "effort": {"pgd": effort.pgd, "apgd": effort.apgd, "restarts": effort.restarts},
            "clean": _shares(before.clean, after.clean),
            "rows": rows,
            "twin": {
                name: proportion(side.equal, side.judged).model_dump()
                for name, side in zip(SIDES, (before, after), strict=True)
            },
            "noise": {"epsilon": epsilons[-1], **_shares(before.noise, after.noise)},
            "limit": {"epsilon": max(LIMIT, epsilons[-1]), **_shares(before.limit, after.limit)},
        },
        assumptions=(*doubts, *_assumptions(pair, of, level)),
    )


def _outcomes(
    pair: Pair, of: Pixels, most: int, epsilons: Sequence[float], effort: Effort
) -> tuple[Outcome, Outcome]:
    """Attack the original and the package on the same examples; twins are compared on all that were drawn."""
    sample = pair.sample(most)
    pixels = torch.from_numpy(of.from_inputs(np.asarray(sample.inputs)))
    labels = torch.from_numpy(np.asarray(sample.targets))
    logits = pair.logits()[:2]
    found = []
    with lock.working():
        for package, run, side in zip((pair.original, pair.package), pair.run, logits, strict=True):
            twin = twin_of(package, of)
            outcome = attacked(Subject(twin, run, of, pixels, labels), epsilons, effort, pair.seed)
            found.append(_compared_on_the_rest(outcome, twin, pair, side, most))
    return found[0], found[1]


def _compared_on_the_rest(
    outcome: Outcome, twin: Twin, pair: Pair, logits: NDArray[np.float32], most: int
) -> Outcome:
    """Compare a twin with its saved file on what was drawn and not attacked, too."""
    rest = pair.drawn[most:]
    if not len(rest):
        return outcome
    (inputs,) = tensors(part(pair.inputs, slice(most, None)))
    equal = int((twin.answers(inputs).numpy() == logits[rest].argmax(axis=1)).sum())
    return replace(outcome, equal=outcome.equal + equal, judged=outcome.judged + len(rest))


def _why_not(pair: Pair) -> str:
    if not pair.are_classes:
        return "targets are no class labels"
    return "" if pair.logits()[0].shape[1] > 1 else "a single class cannot be mistaken for another"


def _row(before: Outcome, after: Outcome, key: Key, seed: int) -> dict[str, Any]:
    shares = _shares(before.attacked[key], after.attacked[key])
    drop = _drop(before, after, key, seed).model_dump()
    return {"attack": key[0], "epsilon": key[1], **shares, "drop_points": drop}


def _drop(before: Outcome, after: Outcome, key: Key, seed: int, level: float = 1 - CHANCE) -> Interval:
    old, new = (side.attacked[key].astype(np.float64) for side in (before, after))
    return paired_mean(100 * (old - new), seed, level)


def _shares(before: Mask, after: Mask) -> dict[str, float]:
    return {name: float(side.mean()) for name, side in zip(SIDES, (before, after), strict=True)}


def _verdict(drops: Sequence[Interval], allowed: float) -> Verdict:
    if all(drop.value <= allowed for drop in drops):
        return "proved"
    return "refuted" if any(drop.low > allowed for drop in drops) else "unknown"


def _doubts(before: Outcome, after: Outcome, epsilon: float) -> list[str]:
    """Return why the figures may be too high, where they may."""
    found = []
    for name, side in zip(SIDES, (before, after), strict=True):
        if side.equal < AGREEMENT * side.judged:
            found.append(
                f"unknown, since the twin of the {name} differs from the saved file on "
                f"{side.judged - side.equal} of {side.judged} answers: attacks on it say little of the file"
            )
        if side.noise.sum() < side.attacked["fgsm", epsilon].sum():
            found.append(f"unknown, since noise deceives the {name} more often than one step of its gradient")
        if side.limit.mean() > LEFT:
            found.append(
                f"unknown, since {side.limit.mean():.0%} of the examples stand on the {name} though any "
                "picture may turn grey: its gradients may be hidden"
            )
    return found


def _assumptions(pair: Pair, of: Pixels, level: float) -> list[str]:
    found = [
        of.assumption,
        "attacks find what they come by, not the worst there is: true robust accuracy may be lower",
        "what misleads a network's twin is judged by its saved file in the runtime",
        f"the verdict goes by {STRONGEST.upper()} alone, and by intervals at {level:.2%}, for several radii",
    ]
    if any(roundings(side.program) for side in (pair.original, pair.package)):
        found.append("gradients pass through roundings as though these were not there")
    return found
