"""Does the package still behave like the original? Saved files, in the runtime, on the test set."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from wieldy.assure import agreement, calibration, classes, corruptions
from wieldy.assure.attack import evidence as attacks
from wieldy.assure.bounds import evidence as bounds
from wieldy.assure.checks import Checks
from wieldy.assure.floors import judged
from wieldy.assure.pair import Pair, opened
from wieldy.assure.supervise import outside
from wieldy.core.data import Data, check_labels
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Evidence

LEFT_OUT = {
    "outside": "inputs from outside the distribution are told apart as before",
    "corruptions": "accuracy under corruptions is kept",
    "attacks": "accuracy under attacks is kept",
    "bounds": "as many predictions are certified as before",
}
Steps = Iterator[tuple[str, Callable[[], Evidence]]]


def examine(
    package: str | Path,
    original: str | Path,
    data: Data,
    *,
    max_drop_points: float = 1.0,
    checks: Checks | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Evidence, ...]:
    """Compare a package with the one that it was made from, on `data.test`.

    Args:
        package, original: saved files; both run in the named runtime in fp32.
        data: its test set is read once; its metric judges.
        max_drop_points: how many points of the metric may be lost for "proved".
        checks: how closely to look, and the floors that must hold.
        seed: of everything that is drawn.
        progress: is told of every step.

    Returns:
        Evidence on the metric first, then on predictions, classes, slices, calibration and confidence, where
        targets are class labels, elsewhere on how near the outputs are to the original's; on the runtime
        itself, on inputs from outside, under corruptions and attacks, and by bounds; the floors last. Of what
        could not be looked into, evidence says why.

    Raises:
        PackageError: a file is no sound package.
        ShapeError, DataError: the data does not fit the networks.

    Cost: one pass of both networks over the test set, one of the package in torch, and what `checks` asks.
    """
    checks, progress = checks or Checks(), progress or Silent()
    pair = opened(package, original, data, seed)
    if pair.are_classes:
        check_labels(data.test.labels, pair.logits()[0].shape[1], "test")
    digests = {"package": pair.package.sha256, "original": pair.original.sha256}
    found: list[Evidence] = []
    steps = list(_steps(pair, max_drop_points, checks))
    with progress.task("examining the saved files", len(steps)) as task:
        for name, step in steps:
            found.append(step())
            task.advance(1, name)
    found += judged(tuple(found), checks.limits())
    return tuple(item.model_copy(update={"digests": digests}) for item in found)


def _steps(pair: Pair, max_drop_points: float, checks: Checks) -> Steps:
    """Yield what is looked into, in order."""
    yield "metric", lambda: agreement.metric(pair, max_drop_points)
    if pair.are_classes:
        yield "predictions", lambda: classes.predictions(pair)
        yield "classes", lambda: classes.by_class(pair)
        yield "slices", lambda: classes.by_slice(pair)
        yield "calibration", lambda: calibration.calibration(pair)
        yield "confidence", lambda: calibration.confidence(pair)
    else:
        yield "outputs", lambda: agreement.outputs(pair)
        yield "slices", lambda: classes.by_slice(pair)
    yield "runtime", lambda: agreement.runtime(pair)
    closer: dict[str, tuple[int, Callable[[], Evidence]]] = {
        "outside": (checks.outside, lambda: outside.evidence(pair, checks.outside)),
        "corruptions": (checks.corruptions, lambda: corruptions.evidence(pair, checks.corruptions)),
        "attacks": (checks.attacks, lambda: attacks.evidence(pair, checks.attacks, checks.epsilons)),
        "bounds": (checks.bounds, lambda: bounds.evidence(pair, checks.bounds, checks.epsilons)),
    }
    for name, (most, step) in closer.items():
        yield name, step if most else partial(_left_out, name)


def _left_out(kind: str) -> Evidence:
    return Evidence.not_measured(kind, LEFT_OUT[kind], "left out: no examples were asked for")
