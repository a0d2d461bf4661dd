"""Training what is left of a network to compute as the original does."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wieldy.flow.state import Run
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import Hook
from wieldy.package.save import save
from wieldy.runtime.session import Session
from wieldy.runtime.session import open as open_package
from wieldy.train.augment import flip_and_shift
from wieldy.train.distill import Distill
from wieldy.train.features import exposing, stage_features
from wieldy.train.fit import fit
from wieldy.train.recalibrate import recalibrate
from wieldy.train.stop import EarlyStop
from wieldy.train.watch import Watch

Removed = Mapping[str, Sequence[int]]


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
) -> GraphNetwork:
    """Train a small network to compute as the original does.

    Args:
        removed: units of the original that are gone.
        more: hooks beside distillation; what they need of `fit` goes before the recipe's settings.
        epochs: default: all that the recipe has.
        features: whether hidden values may be compared, which takes the original's nodes.
        settling_rate: over the recipe's learning rate, where the network was trained before; the order of
            examples is then another one.
        formed: the share of the epochs after which no more of the network goes; from there on training may
            end early, if the recovery says so.
    """
    recalibrate(small, run.data.train, seed=run.seed)
    how, views = run.recovery, None
    needs: dict[str, Any] = {"epochs": epochs or how.fit.epochs}
    if settling_rate is not None:
        needs |= {"seed": how.fit.seed + 1, "learning_rate": settling_rate * how.fit.learning_rate}
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
    return fit(
        small, run.data, *hooks, config=how.fit.model_copy(update=needs), augment=views,
        ledger=run.ledger, progress=run.progress, checkpoints=run.checkpoints,
    )  # fmt: skip


def distillation(
    run: Run, network: GraphNetwork, removed: Removed, *, features: bool = True
) -> tuple[Distill, ...]:
    """Return the hook by which the original teaches, or none where the recovery asks for none."""
    how = run.recovery
    if how.distill_weight == 0:
        return ()
    hints = stage_features(network, removed) if features and how.feature_weight > 0 else None
    teacher = as_session(exposing(network, hints.names) if hints else network, run.threads)
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
