"""Several methods in order, each with training after it: what the `steps` of a recipe do.

A step's goals are shares of the original, however small the network is by then. What earlier steps set to
zero stays zero, and from the second step on it is the original that teaches, not what the step begins with.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wieldy.compress.storage import smallest_formats
from wieldy.core.errors import ConfigError
from wieldy.core.records import Plan
from wieldy.flow.record import beside
from wieldy.flow.state import Account, Reduced, Run, Stage
from wieldy.graph.cost import total_macs
from wieldy.graph.network import GraphNetwork
from wieldy.methods.registry import METHODS, may_leave_zeros, settings_of
from wieldy.methods.share.unify import UnifyConfig
from wieldy.package.save import save
from wieldy.plan.budget import Budget
from wieldy.runtime.measure import Subject, measure

Reduce = Callable[[Run, GraphNetwork], Reduced]


def check_stages(stages: tuple[Stage, ...]) -> None:
    """Refuse an order that undoes itself.

    Raises:
        ConfigError: a method whose structure the training of a later one would undo is not the last.
    """
    for place, stage in enumerate(stages[:-1]):
        if isinstance(stage.method, UnifyConfig):
            raise ConfigError(
                f"steps: step {place + 1} is unify, whose shared numbers the training of later steps would "
                "pull apart. Make it the last.",
                ("steps", str(place)),
            )


def by_steps(run: Run, network: GraphNetwork, reduce: Reduce) -> Reduced:
    """Do what each step does with what the one before it left.

    Args:
        run: its stages are the steps.
        network: the original; not altered.
        reduce: does one step.

    Raises:
        BudgetError: a step cannot meet its own goals.
    """
    accounted: Account = ((), ())
    current, formats = network, dict[str, str]()
    for place, stage in enumerate(run.stages):
        name = METHODS[type(stage.method)].name
        recovery = stage.recovery.seeded(stage.recovery.fit.seed + place)  # examples come in another order
        recovery = recovery.model_copy(update={"rounded_epochs": 0})  # those come after the last stage
        run.progress.say(f"step {place + 1} of {len(run.stages)}: {name}")
        last = place == len(run.stages) - 1
        one = replace(
            run, method=stage.method, recovery=recovery, stages=(), teacher=network if place else None,
            budget=left_of(run, stage.budget, network, current), quantize=run.quantize if last else None,
            zeros_stay=any(may_leave_zeros(of.method) for of in run.stages[:place]),
        )  # fmt: skip
        done = reduce(one, current)
        accounted = beside(accounted, (*done.accounted[0], *done.accounted[1]))
        current, formats = done.network, dict(done.formats or smallest_formats(done.network))
        current.formats = formats
    method = {"name": "steps"} | {
        f"step {place}": settings_of(stage.method) for place, stage in enumerate(run.stages, 1)
    }
    plan = Plan(method=method, remove={}, budget=run.budget.model_dump())
    return Reduced(current, plan, accounted, formats or None)


def left_of(run: Run, budget: Budget, original: GraphNetwork, current: GraphNetwork) -> Budget:
    """Return a budget in shares of what a step begins with, instead of the original."""
    if current is original:
        return budget
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        files = [
            save(of, Path(folder) / f"{name}.wieldy") for name, of in (("first", original), ("now", current))
        ]
        shares = {
            "macs_ratio": total_macs(current.program) / total_macs(original.program),
            "bytes_ratio": files[1].stat().st_size / files[0].stat().st_size,
        }
        if budget.latency_ratio:
            timing = measure(*map(Subject, files), quiet=run.quiet, **run.settings)
            shares["latency_ratio"] = timing.ratio.value
    goals = {name: getattr(budget, name) for name in shares}
    return budget.model_copy(
        update={name: min(1.0, goal / shares[name]) for name, goal in goals.items() if goal}
    )
