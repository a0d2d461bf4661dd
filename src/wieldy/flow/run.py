"""A run from a recipe, and the demo: the same steps on the embedded network. Either goes on after a crash."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from wieldy.core.config import Frozen
from wieldy.core.data import Data
from wieldy.core.errors import ConfigError
from wieldy.core.ledger import PARTIAL, Ledger
from wieldy.core.optional import need
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import RunRecord
from wieldy.flow.dry_run import Step, forecast
from wieldy.flow.recipe import Recipe, asking, read_recipe
from wieldy.flow.shrink import default_method, execute
from wieldy.flow.sources import load_data, load_model
from wieldy.flow.state import RECORD, Run
from wieldy.flow.together import begun
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import check_tier, current_tier
from wieldy.train.ranks import Ranks
from wieldy.train.watch import Log

DEMO = Recipe(
    model="wieldy.zoo.networks.residual:residual28",
    data="fashion-mnist-subset",
    budget={"latency": "50%", "max_drop_points": 1.0},
    recovery={"augment": True},
)
BEGUN = "begun"
FLUSH_SECONDS = 5  # of scalars, at most, are lost with a process that is killed


class Origin(Frozen):
    """How a run was begun, as its ledger tells it to whoever goes on with it.

    Attributes:
        recipe: as `Recipe`.
        folder: in which the recipe's files lie; None: it is the demo.
        title, command: for the page.
    """

    recipe: dict[str, Any]
    folder: str | None
    title: str
    command: str


def run_recipe(
    path: Path,
    out: Path,
    *,
    goals: Mapping[str, Any] | None = None,
    max_drop_points: float | None = None,
    replay: Path | None = None,
    progress: Progress | None = None,
) -> RunRecord:
    """Read a recipe, run it into `out` and return the record.

    Args:
        path, out: of the recipe, and the folder for what comes of it.
        goals, max_drop_points: instead of the recipe's.
        replay: the folder of an earlier run whose measurements are read back.

    Raises:
        InputError: the recipe, the model or the data cannot be used, or another run works in `out`.
        BudgetError: no share of removed channels, or no mix, reaches the budget.
    """
    origin = origin_of(path, out, goals or {}, max_drop_points)
    return follow(origin, *sources_of(origin), out, replay=replay, progress=progress)


def dry_run(
    path: Path, out: Path, *, goals: Mapping[str, Any] | None = None, max_drop_points: float | None = None
) -> tuple[str, tuple[Step, ...]]:
    """Return what is known of a recipe's network and data, and the steps of its run with their times.

    Arguments and errors are those of `run_recipe`; nothing is written.
    """
    origin = origin_of(path, out, goals or {}, max_drop_points)
    model, data = sources_of(origin)
    return forecast(run_of(origin, data, out, ledger=Ledger(None), progress=Silent()), model)


def origin_of(path: Path, out: Path, goals: Mapping[str, Any], max_drop_points: float | None) -> Origin:
    """Return how a recipe's run begins."""
    recipe = asking(read_recipe(path), goals, max_drop_points)
    command = f"wieldy run {path.name} --out {out.name}"
    command += "".join(f" --budget {key}={value}" for key, value in goals.items())
    command += "" if max_drop_points is None else f" --max-drop {max_drop_points:g}"
    folder = str(path.parent.resolve())
    return Origin(recipe=recipe.model_dump(), folder=folder, title=path.stem, command=command)


def sources_of(origin: Origin) -> tuple[nn.Module, Data]:
    """Return the model and the data that a recipe names."""
    recipe, folder = Recipe(**origin.recipe), Path(origin.folder or ".")
    return load_model(recipe.model, folder, recipe.weights), load_data(recipe.data, folder)


def demo(
    out: Path, *, threads: int | None = None, seed: int = 0, replay: Path | None = None,
    resumed: bool = False, progress: Progress | None = None,
) -> RunRecord:  # fmt: skip
    """Shrink the embedded network to half its milliseconds and return the record."""
    from wieldy.zoo.data import fashion
    from wieldy.zoo.networks.residual import residual28

    recipe = DEMO.model_copy(update={"threads": threads, "seed": seed})
    command = f"wieldy demo --out {out.name} --seed {seed}" + (f" --threads {threads}" if threads else "")
    title = "demo: a residual network on Fashion-MNIST"
    origin = Origin(recipe=recipe.model_dump(), folder=None, title=title, command=command)
    data = fashion.embedded()
    return follow(origin, residual28(), data, out, replay=replay, resumed=resumed, progress=progress)


def resume(out: Path, *, progress: Progress | None = None) -> RunRecord:
    """Go on with the run that was cut off in `out`, to the bytes in which it would have ended.

    What was measured is read back, and training goes on after its last epoch; all else is done again. A run
    that had ended is not repeated.

    Raises:
        ConfigError: there is no such run, another one works in `out`, or it was begun with another network,
            other data, settings or code, or on another machine.
    """
    if not (out / PARTIAL).is_file():
        if (out / RECORD).is_file():
            return RunRecord.from_json((out / RECORD).read_text(encoding="utf-8"))
        raise ConfigError(f"{out}: holds no run that was cut off. Name the folder that --out named.")
    found = [value for _, value in Ledger(out, unfinished=True).of_kind(BEGUN)]
    if not found:
        raise ConfigError(f"{out}: its run was cut off before it began anything. Begin it anew.")
    origin = Origin(**found[0])
    recipe = Recipe(**origin.recipe)
    if origin.folder is None:
        return demo(out, threads=recipe.threads, seed=recipe.seed, resumed=True, progress=progress)
    return follow(origin, *sources_of(origin), out, resumed=True, progress=progress)


@contextmanager
def tensorboard(folder: Path) -> Iterator[Log]:
    """Yield what writes scalars for TensorBoard into a folder; all are there when it ends, however it ends.

    Raises:
        DependencyError: tensorboard is not installed.
    """
    need("tensorboard", "tensorboard", "tensorboard: true")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), flush_secs=FLUSH_SECONDS) as writer:
        yield writer.add_scalar


def run_of(
    origin: Origin,
    data: Data,
    out: Path,
    *,
    ledger: Ledger,
    progress: Progress,
) -> Run:
    """Return a run as its recipe says."""
    recipe = Recipe(**origin.recipe)
    if recipe.tier is not None:
        check_tier(recipe.tier)
    return Run(
        folder=out,
        data=data,
        budget=recipe.budget_value(),
        method=recipe.method_value() or default_method(data, recipe.seed),
        recovery=recipe.recovery_value(),
        quantize=recipe.quantize_value(recipe.tier or current_tier()),
        planning=recipe.planning_value(),
        stages=recipe.stages(),
        checks=recipe.checks_value(),
        seed=recipe.seed,
        threads=recipe.threads or usable_cores(),
        tier=recipe.tier or current_tier(),
        batch=recipe.batch,
        title=origin.title,
        recipe=origin.recipe,
        reproduce=(origin.command, f"wieldy bench {out.name}/original.wieldy {out.name}/small.wieldy"),
        ledger=ledger,
        progress=progress,
    )


def follow(
    origin: Origin,
    model: nn.Module,
    data: Data,
    out: Path,
    *,
    replay: Path | None = None,
    resumed: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Run a recipe on a model and data that are already at hand."""
    with begun(out, replay=replay, resumed=resumed, progress=progress) as (folder, log, ledger):
        run = run_of(origin, data, folder, ledger=ledger, progress=log)
        if not resumed:
            run.ledger.note(BEGUN, {}, origin.model_dump())
        watched = run.recipe["tensorboard"] and Ranks().first
        with tensorboard(folder / "tensorboard") if watched else nullcontext() as run.watch:
            execute(run, model)
        return RunRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))
