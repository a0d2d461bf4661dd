"""Training what is left of a network to compute as the original does."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from wieldy.compress.apply import apply_plan
from wieldy.compress.quantize import first_examples
from wieldy.core.data import Data
from wieldy.core.first import First
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Plan
from wieldy.flow.state import Run
from wieldy.flow.together import training_threads
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import Hook
from wieldy.package.save import save
from wieldy.runtime.session import Session
from wieldy.runtime.session import open as open_package
from wieldy.train.augment import flip_and_shift
from wieldy.train.distill import Distill
from wieldy.train.features import exposing, stage_features
from wieldy.train.fit import evaluate, fit
from wieldy.train.mask import Mask
from wieldy.train.ranks import Ranks
from wieldy.train.recalibrate import recalibrate
from wieldy.train.rounding import Rounding
from wieldy.train.stop import EarlyStop
from wieldy.train.watch import Watch

ROUNDED_RATE = 0.1  # of the learning rate, with levels in place: weights that jump between levels are noise
Removed = Mapping[str, Sequence[int]]
Net = TypeVar("Net", bound=nn.Module)


def recovered(run: Run, network: GraphNetwork, remove: Removed, *more: Hook, **how: Any) -> GraphNetwork:
    """Remove channels, in as many rounds as the recovery says, and train what remains after each.

    Where much goes at once, what is left may be too far from the original to find back (Han et al. 2015,
    section 3.3: prune, train, and again); the epochs are the same in all.

    Args:
        remove: the units of each group of the original that go.
        more, how: for `trained`, in the last round.
    """
    rounds = min(run.recovery.rounds, run.epochs)
    small, gone = network, dict[str, tuple[int, ...]]()
    for done in range(1, rounds + 1):
        due = {name: tuple(units[: round(len(units) * done / rounds)]) for name, units in remove.items()}
        small = apply_plan(small, Plan(method={}, remove=_renumbered(due, gone)))
        epochs = [run.epochs * part // rounds for part in (done - 1, done)]
        last: dict[str, Any] = how if done == rounds else {}
        hooks = more if done == rounds else ()
        epochs_now = epochs[1] - epochs[0]
        small = trained(run, network, small, due, *hooks, epochs=epochs_now, before=done - 1, **last)
        gone = due
    return small


def _renumbered(due: Removed, gone: Removed) -> dict[str, tuple[int, ...]]:
    """Return the units that go now, as they are numbered once others are gone.

    Example:
        >>> _renumbered({"a": (1, 4, 5)}, {"a": (1,)})
        {'a': (3, 4)}
    """
    found = {}
    for name, units in due.items():
        before = set(gone.get(name, ()))
        new = [unit for unit in units if unit not in before]
        if new:
            found[name] = tuple(unit - sum(other < unit for other in before) for unit in new)
    return found


def trained(
    run: Run,
    network: GraphNetwork,
    small: GraphNetwork,
    removed: Removed,
    *more: Hook,
    epochs: int | None = None,
    features: bool = True,
    settling_rate: float | None = None,
    formed: float = 0.0,
    before: int = 0,
) -> GraphNetwork:
    """Train a small network to compute as the original does.

    Args:
        removed: units of the original that are gone.
        more: hooks beside distillation; what they need of `fit` goes before the recipe's settings.
        epochs: default: all that the recipe has before rounding.
        features: whether hidden values may be compared, which takes the original's nodes.
        settling_rate: over the recipe's learning rate, where a structure was found in training before.
        formed: the share of the epochs after which no more of the network goes; from there on training may
            end early, if the recovery says so.
        before: how many trainings came before this one, so that examples come in another order.

    Returns:
        The trained network; or, where a whole training with no more hooks left it worse on the validation
        set than it was before, that one.
    """
    recalibrate(small, run.data.train, seed=run.seed)
    how, views = run.recovery, None
    needs: dict[str, Any] = {"epochs": epochs or run.epochs, "seed": how.fit.seed + before}
    if settling_rate is not None:
        needs |= {"learning_rate": settling_rate * how.fit.learning_rate}
    if run.zeros_stay:
        more = (*more, Mask(tuple(small.program.weighted_layers())))
    for hook in more:
        needs |= hook.needs
    shape = next(iter(network.program.inputs.values())).shape
    if how.augment and len(shape) == 4 and len(network.program.inputs) == 1:
        views = flip_and_shift(int(shape[2] or 0), int(shape[3] or 0))
    hooks: list[Hook] = [*distillation(run, network, removed, features=features), *more]
    if how.early_stop:
        hooks.append(EarlyStop(how.early_stop, begin=math.ceil(formed * needs["epochs"])))
    if run.watch:
        hooks.append(Watch(run.watch, name="training" if settling_rate is None else "settling"))
    found = fit(
        small, run.data, *hooks, config=how.fit.model_copy(update=needs), augment=views,
        ledger=run.ledger, progress=run.progress, checkpoints=run.checkpoints,
    )  # fmt: skip
    return found if run.brief or more else unharmed(small, found, run.data, run.progress)


def settled_in_levels(run: Run, network: GraphNetwork, small: GraphNetwork) -> GraphNetwork:
    """Train a network that was rounded with its levels in place, where the recovery says so.

    What is zero stays zero. The network that was rounded is kept where training left it worse.
    """
    epochs = run.recovery.rounded_epochs
    if not epochs:
        return small
    hooks: list[Hook] = [Rounding(first_examples(run.data), run.quantize)]
    if not run.zeros_stay:
        hooks.append(Mask(tuple(small.program.weighted_layers())))
    found = trained(
        run, network, small, {}, *hooks, epochs=epochs, features=False, settling_rate=ROUNDED_RATE,
        before=run.recovery.rounds + 1,
    )  # fmt: skip
    return unharmed(small, found, run.data, run.progress)


def unharmed(before: Net, after: Net, data: Data, progress: Progress) -> Net:
    """Return the network after training, or that before it where it is better on the validation set."""
    ranks = Ranks()
    scores = [ranks.from_first(partial(evaluate, of, data.validate, data)) for of in (before, after)]
    if scores[0] == scores[1] or (scores[1] > scores[0]) == data.metric.higher_is_better:
        return after
    progress.say(
        f"training did harm: {data.metric.name} on validation was {scores[0]:.4f} before and {scores[1]:.4f} "
        "after; the network from before is kept. Lower learning_rate."
    )
    return before


def rehearsal(run: Run, examples: int, rate: float = 1.0, epochs: int = 1) -> Run:
    """Return a run whose trainings take short epochs of a few examples, and leave no trace.

    Args:
        examples: of an epoch.
        rate: a share of the recipe's learning rate.
        epochs: how many.
    """
    whole = run.data
    few = First(whole.train, examples)
    data = Data(few, whole.validate, whole.test, metric=whole.metric, classes=whole.classes)
    settings = run.recovery.fit
    brief = {"epochs": epochs, "learning_rate": rate * settings.learning_rate}
    fit_config = settings.model_copy(update=brief)
    how = run.recovery.model_copy(update={"fit": fit_config, "early_stop": None, "rounded_epochs": 0})
    return replace(
        run, data=data, recovery=how, ledger=Ledger(None), progress=Silent(), watch=None, brief=True
    )


def distillation(
    run: Run, network: GraphNetwork, removed: Removed, *, features: bool = True
) -> tuple[Distill, ...]:
    """Return the hook by which the original teaches, or none where the recovery asks for none."""
    how = run.recovery
    if how.distill_weight == 0:
        return ()
    features = features and run.teacher is None and how.feature_weight > 0
    hints = stage_features(network, removed) if features else None
    teaching = exposing(network, hints.names) if hints else run.teacher or network
    teacher = as_session(teaching, training_threads(run.threads))
    return (
        Distill(
            teacher, temperature=how.temperature, weight=how.distill_weight, features=hints,
            feature_weight=how.feature_weight,
        ),
    )  # fmt: skip


def as_session(network: GraphNetwork, threads: int) -> Session:
    """Return a network in the runtime, which answers in two thirds of torch's time (measured)."""
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        return open_package(save(network, Path(folder) / "teacher.wieldy"), threads=threads)
